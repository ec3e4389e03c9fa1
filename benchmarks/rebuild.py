"""Rebuilding all read models, against only reading and decoding the log; and whether its memory grows with the log.

Each measurement has a process of its own (`python -m benchmarks.rebuild fold|decode URL`), for a true peak of memory.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from statistics import median

from application.ports import StoredContent
from benchmarks.result import Result
from benchmarks.servers import durable_postgres
from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.email import Email
from domain.ids import uuid7
from infrastructure.bootstrap import PROJECTIONS, now, tune_garbage_collection
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.mapper import EventMapper
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.store import Append
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.rebuild import Rebuild
from tests.samples import content, draft, stamp, taken

PAGE = 5_000
SMALL = 10_000  # events
EVENTS_EACH = 4  # queued, started, dispatched, delivered


def measure(quick: bool) -> list[Result]:
    large, runs = (40_000, 1) if quick else (1_000_000, 3)
    with durable_postgres() as postgres:
        small_url, large_url = postgres.fresh_database(), postgres.fresh_database()
        _fill(small_url, SMALL)
        _fill(large_url, large)
        small = _child("fold", small_url)
        pairs = [(_child("decode", large_url), _child("fold", large_url)) for _ in range(runs)]
    floors, folds = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    growth = median(fold["peak_mb"] for fold in folds) - small["peak_mb"]
    return [
        Result(
            f"rebuild of all read models, {large:,} events, one process",
            "events/s",
            median(fold["rate"] for fold in folds),
            median(floor["rate"] for floor in floors),
            "ratio >= 0.4",
        ),
        Result(
            f"peak memory of a rebuild, {large:,} events over {SMALL:,}",
            "MB more",
            growth,
            aim="flat",
            note=f"{small['peak_mb']:.0f} MB with {SMALL:,} events",
        ),
    ]


def _child(what: str, url: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rebuild", what, url], stdout=subprocess.PIPE, check=True, timeout=1800
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _fill(url: str, count: int) -> None:
    """Write so many events of delivered emails."""
    store, mapper = PostgresEventStore(url), EventMapper()
    waiting: list[Append] = []
    for email in _delivered(count // EVENTS_EACH):
        stored = [mapper.to_stored_event(event) for event in email.collect_events()]
        waiting.append(Append(stored, [StoredContent(email.id, content().encode())]))
        if len(waiting) == 500:
            store.commit(waiting)
            waiting = []
    if waiting:
        store.commit(waiting)
    store.close()


def _delivered(count: int) -> Iterator[Email]:
    for number in range(count):
        at = now()
        id = uuid7(at)
        tags = (e.Tag(name="kind", value="invoice"),)
        email = Email.queue(id, "default", draft(id, f"customer{number}@example.com", tags=tags), stamp(at))
        attempt = email.start_delivery("smtp", "the only provider", timedelta(seconds=60), stamp(at))
        (recipient,) = email.standing.recipients
        report = RecipientReport(e.EmailRecipientDelivered, recipient, "smtp", at)
        answer = taken(email)
        email.conclude(attempt, Answer(messages=answer.messages), stamp(at), chance=0.0)
        email.report(report, stamp(at))
        yield email


async def _decode(ledger: EventLedger, url: str) -> int:
    position = count = 0
    while page := await ledger.read(position, PAGE):
        position, count = page[-1].position, count + len(page)
    return count


async def _fold(ledger: EventLedger, url: str) -> int:
    database, wakeups = Database.open(url), Wakeups(url)
    await ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now).prepare()
    position = await Rebuild(ledger, database, PROJECTIONS, wakeups, now, page=PAGE).run(lambda done, total: None)
    database.close()
    return position


async def _measured(work: Callable[[EventLedger, str], Awaitable[int]], url: str) -> dict[str, float]:
    ledger = EventLedger(PostgresEventStore(url), Wakeups(url).events)
    await ledger.position()
    started = time.perf_counter()
    count = await work(ledger, url)
    rate = count / (time.perf_counter() - started)
    await ledger.close()
    return {"rate": rate, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    tune_garbage_collection()
    print(json.dumps(asyncio.run(_measured({"decode": _decode, "fold": _fold}[sys.argv[1]], sys.argv[2]))))
