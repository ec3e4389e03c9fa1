"""A process to be killed: appends emails for ever and prints the id of each once its append has returned."""

import asyncio
import sys

from infrastructure.ledger.ledger import EventLedger
from tests.ledger.conftest import open_ledger
from tests.samples import queued, stored_content


async def write(ledger: EventLedger) -> None:
    while True:
        email = queued()
        await ledger.append(email.collect_events(), [stored_content(email)])
        print(email.id, flush=True)  # noqa: T201 - this is how the test learns what was acknowledged


async def main(url: str) -> None:
    ledger = open_ledger(url)
    await asyncio.gather(*(write(ledger) for _ in range(16)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
