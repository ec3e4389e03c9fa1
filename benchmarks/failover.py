"""An outage of the preferred provider under load: how soon the backup delivers, and at what rate."""

import asyncio
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.result import Result
from benchmarks.servers import durable_postgres, free_port, process, service
from benchmarks.worker import accept
from domain.events import EmailDeliveryUnconfirmed, EmailDispatched
from infrastructure.bootstrap import now
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore


def measure(quick: bool) -> list[Result]:
    count = 1_500 if quick else 8_000
    main, backup = free_port(), free_port()
    providers = ",".join(
        f"{n}=smtp://127.0.0.1:{p}?starttls=off&pool=10" for n, p in (("main", main), ("backup", backup))
    )
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.sink", str(backup)):
        url = postgres.fresh_database()
        asyncio.run(accept(url, count))
        with (
            process("-m", "benchmarks.sink", str(main)) as preferred,
            service("worker", url, Path(home), POSTLEDGER_PROVIDERS=providers),
        ):
            asyncio.run(_until(url, count // 3))
            preferred.kill()
            outage = now()
            asyncio.run(_until(url, count))
        log = asyncio.run(_dispatched(url))
    before = [at for provider, at in log if provider == "main"]
    after = [at for provider, at in log if provider == "backup"]
    first = (after[0] - outage).total_seconds() * 1000
    gap = max((later - earlier).total_seconds() * 1000 for earlier, later in pairwise(at for _, at in log))
    return [
        Result(
            "failover: from the outage to the first delivery by the backup",
            "ms",
            first,
            note=f"longest gap {gap:.0f} ms",
        ),
        Result("throughput during the outage / before", "emails/s", _rate(after), _rate(before)),
    ]


def _rate(times: list[datetime]) -> float:
    return len(times) / (times[-1] - times[0]).total_seconds()


async def _until(url: str, dispatched: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        # What was under way when the connection broke is in doubt, and settled long after this.
        if len(await _dispatched(url)) + await _in_doubt(url) >= dispatched:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{dispatched} emails were not dispatched in time")


async def _in_doubt(url: str) -> int:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    try:
        return len(await ledger.read(0, 5_000, [EmailDeliveryUnconfirmed.TYPE]))
    finally:
        await ledger.close()


async def _dispatched(url: str) -> list[tuple[str, datetime]]:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    try:
        log, after = [], 0
        while page := await ledger.read(after, 5_000, [EmailDispatched.TYPE]):
            after = page[-1].position
            log += [(r.event.provider, r.event.occurred_at) for r in page if isinstance(r.event, EmailDispatched)]
        return log
    finally:
        await ledger.close()
