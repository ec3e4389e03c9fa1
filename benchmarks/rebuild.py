"""Rebuilding all read models, against only reading and decoding the log; and whether its memory grows with the log.

Each measurement has a process of its own (`python -m benchmarks.rebuild fold|decode|… URL`), for a true peak of memory.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory, PostgresTrackingRecorder
from eventsourcing.projection import Projection
from eventsourcing.projection import ProjectionRunner as LibraryRunner
from psycopg.conninfo import conninfo_to_dict

from application.ports import StoredContent
from benchmarks.result import Result
from benchmarks.servers import durable_postgres
from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.email import Email
from domain.ids import uuid7
from infrastructure.bootstrap import PROJECTIONS, now, tune_garbage_collection
from infrastructure.builder import Builder
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.mapper import EventMapper
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.ledger.store import Append, EventStore
from infrastructure.projection_runner import ProjectionRunner
from tests.samples import content, draft, stamp, taken

PAGE = 5_000
NAMES = [projection.name for projection in PROJECTIONS]
SMALL = 10_000  # events
BACKLOG = 40_000  # events that live tables are behind, indexes and all
EVENTS_EACH = 4  # queued, started, dispatched, delivered


def measure(quick: bool) -> list[Result]:
    with durable_postgres() as postgres:
        return _compared("PostgreSQL", postgres.fresh_database, *((40_000, 1) if quick else (1_000_000, 3)))


def measure_large(quick: bool) -> list[Result]:
    """Once, for it takes an hour and 20 GB."""
    with durable_postgres() as postgres:
        return _compared("PostgreSQL", postgres.fresh_database, 40_000 if quick else 10_000_000, 1)


def measure_sqlite(quick: bool) -> list[Result]:
    """Not in two processes, for SQLite has one writer at a time; nor the library's runner, which cannot follow it."""
    with TemporaryDirectory() as folder:
        urls = (f"sqlite:///{folder}/{number}.db" for number in count())
        return _compared("SQLite", lambda: next(urls), *((40_000, 1) if quick else (1_000_000, 1)))


def _compared(kind: str, fresh: Callable[[], str], large: int, runs: int) -> list[Result]:
    """`fresh` makes an empty database and gives its URL."""
    small_url, large_url, live_url = (fresh() for _ in range(3))
    _fill(small_url, SMALL)
    _fill(large_url, large)
    asyncio.run(_prepare(live_url))
    _fill(live_url, BACKLOG)
    small = _child("fold", small_url)
    postgres = kind == "PostgreSQL"
    whats = ("decode", "fold", "halves") if postgres else ("decode", "fold")
    rounds = [{what: _child(what, large_url) for what in whats} for _ in range(runs)]
    libraries = [_child("library", small_url)] if postgres else []
    live = _child("catch_up", live_url)
    floor, fold, *halves = (median(each[what]["rate"] for each in rounds) for what in whats)
    growth = median(each["fold"]["peak_mb"] for each in rounds) - small["peak_mb"]
    what = f"{kind}: rebuild of all {len(PROJECTIONS)} read models, {large:,} events"
    by_two = f"{what}, two processes / reading and decoding in one"
    by_library = f"{kind}: rebuild / the library's own projection runner, which writes no rows but its position"
    note = f"the library over {SMALL:,} events"
    return [
        Result(f"{what}, one process / reading and decoding", "events/s", fold, floor, "ratio >= 0.5"),
        *(Result(by_two, "events/s", rate, floor, "ratio >= 0.8") for rate in halves),
        *(Result(by_library, "events/s", fold, library["rate"], "ratio >= 20", note) for library in libraries),
        Result(
            f"{kind}: live read models that are {BACKLOG:,} events behind / reading and decoding",
            "events/s",
            live["rate"],
            floor,
        ),
        Result(
            f"{kind}: peak memory of a rebuild, {large:,} events over {SMALL:,}",
            "MB more",
            growth,
            aim="flat",
            note=f"{small['peak_mb']:.0f} MB with {SMALL:,} events",
        ),
    ]


def _child(what: str, url: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rebuild", what, url], stdout=subprocess.PIPE, check=True, timeout=7200
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _store(url: str) -> EventStore:
    if url.startswith("sqlite"):
        return SqliteEventStore(Path(url.removeprefix("sqlite:///")))
    return PostgresEventStore(url)


def _fill(url: str, events: int) -> None:
    """Write so many events of delivered emails."""
    store, mapper = _store(url), EventMapper()
    waiting: list[Append] = []
    for email in _delivered(events // EVENTS_EACH):
        stored = [mapper.to_stored_event(event) for event in email.collect_events()]
        waiting.append(Append(stored, [StoredContent(email.id, content().encode())]))
        if len(waiting) == 500:
            store.commit(waiting)
            waiting = []
    if waiting:
        store.commit(waiting)
    store.close()


def _delivered(emails: int) -> Iterator[Email]:
    for number in range(emails):
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
    position = events = 0
    while page := await ledger.read(position, PAGE):
        position, events = page[-1].position, events + len(page)
    return events


def _silent(done: int, total: int) -> None:
    pass


async def _built(ledger: EventLedger, url: str, work: Callable[[Builder], Awaitable[int]]) -> int:
    database, wakeups = Database.open(url), Wakeups(url)
    await ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now).prepare()
    builder = Builder(ledger, database, PROJECTIONS, wakeups, now, page=PAGE)
    await builder.cancel(NAMES)  # what begins by itself where there are many events
    position = await work(builder)
    database.close()
    return position


async def _fold(ledger: EventLedger, url: str) -> int:
    return await _built(ledger, url, lambda builder: builder.rebuild(NAMES, _silent))


async def _prepare(url: str) -> None:
    """Empty read models, live from the start."""
    wakeups, database = Wakeups(url), Database.open(url)
    ledger = EventLedger(_store(url), wakeups.events)
    await ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now).prepare()
    database.close()
    await ledger.close()


async def _catch_up(ledger: EventLedger, url: str) -> int:
    """As workers do after a pause: smaller pages than a rebuild has, into tables that have their indexes."""
    database = Database.open(url)
    await ProjectionRunner(ledger, database, PROJECTIONS, Wakeups(url), now).catch_up()
    database.close()
    return await ledger.position()


async def _halves(ledger: EventLedger, url: str) -> int:
    """Two processes of their own fold half of the streams each; this one puts the halves together."""

    async def work(builder: Builder) -> int:
        await builder.begin(NAMES, 2)
        commands = [[sys.executable, "-m", "benchmarks.rebuild", f"part{n}", url] for n in (0, 1)]
        children = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        for child in children:
            assert await asyncio.to_thread(child.wait) == 0
        return await builder.rebuild(NAMES, _silent)

    return await _built(ledger, url, work)


def _part(number: int) -> Callable[[EventLedger, str], Awaitable[int]]:
    async def part(ledger: EventLedger, url: str) -> int:
        database, wakeups = Database.open(url), Wakeups(url)
        builder = Builder(ledger, database, PROJECTIONS, wakeups, now, page=PAGE)
        await builder.replay(NAMES, _silent, only=number)
        database.close()
        return 1

    return part


async def _library(ledger: EventLedger, url: str) -> int:
    """The library's runner over the same events, with a projection that does nothing but keep its position."""
    end = await ledger.position()
    info = {"port": "5432", **conninfo_to_dict(url)}
    names = {"DBNAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    env = {f"POSTGRES_{key}": str(info.get(name, "")) for key, name in names.items()}
    env["PERSISTENCE_MODULE"] = "eventsourcing.postgres"
    runner = LibraryRunner(
        application_class=_OurLog, projection_class=_Nothing, view_class=PostgresTrackingRecorder, env=env
    )
    with runner:
        await asyncio.to_thread(runner.wait, end, 300)
    return end


class _OurLog(Application[UUID]):
    """Our events table, read by the library with our mapper."""

    name = "ours"

    def construct_recorder(self) -> PostgresApplicationRecorder:
        factory = self.factory
        assert isinstance(factory, PostgresFactory)
        return PostgresApplicationRecorder(factory.datastore, events_table_name="events")

    def construct_mapper(self) -> EventMapper:
        return EventMapper()


class _Nothing(Projection[PostgresTrackingRecorder]):
    """Takes note of each event."""

    name = "nothing"

    def process_event(self, domain_event: object, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)


async def _measured(work: Callable[[EventLedger, str], Awaitable[int]], url: str) -> dict[str, float]:
    ledger = EventLedger(_store(url), Wakeups(url).events)
    await ledger.position()
    started = time.perf_counter()
    events = await work(ledger, url)
    rate = events / (time.perf_counter() - started)
    await ledger.close()
    return {"rate": rate, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


_WORK: Mapping[str, Callable[[EventLedger, str], Awaitable[int]]] = {
    "decode": _decode,
    "fold": _fold,
    "halves": _halves,
    "catch_up": _catch_up,
    "part0": _part(0),
    "part1": _part(1),
    "library": _library,
}

if __name__ == "__main__":
    tune_garbage_collection()
    print(json.dumps(asyncio.run(_measured(_WORK[sys.argv[1]], sys.argv[2]))))
