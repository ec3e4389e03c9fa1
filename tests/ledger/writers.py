"""A process of its own that writes to the ledger: `python -m tests.ledger.writers URL WRITERS ROUNDS SIZE`."""

import asyncio
import sys
from uuid import UUID, uuid4

from domain.events import EmailCancelled
from infrastructure.ledger.ledger import EventLedger
from tests.ledger.conftest import open_ledger
from tests.samples import NOW


def cheap_events(stream: UUID, first: int, count: int) -> list[EmailCancelled]:
    """The smallest events there are; what they say is of no interest here."""
    return [
        EmailCancelled.model_construct(
            originator_id=stream,
            originator_version=version,
            event_id=uuid4(),
            occurred_at=NOW,
            tenant="default",
            actor="test",
            correlation_id=stream,
        )
        for version in range(first, first + count)
    ]


async def write(url: str, rounds: int, size: int) -> None:
    """One writer with a ledger of its own: `rounds` appends of `size` events to one stream."""
    ledger: EventLedger = open_ledger(url)
    stream = uuid4()
    for turn in range(rounds):
        await ledger.append(cheap_events(stream, turn * size + 1, size))
    await ledger.close()


async def main(url: str, writers: int, rounds: int, size: int) -> None:
    await asyncio.gather(*(write(url, rounds, size) for _ in range(writers)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
