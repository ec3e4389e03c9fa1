"""The runner keeps read models and their positions together, whoever else runs, dies or fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import psycopg
import pytest
from sqlalchemy import Connection

from application.errors import StoreUnavailable
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.projection_runner import ProjectionRunner
from projections import activity, emails
from projections.email_list import counts_by_status
from projections.projection import Events, Tables
from tests.fakes import MemoryLedger
from tests.projections.reading import ALL, numbered, rows, scratch
from tests.samples import queued
from tests.strategies import history, listed, woven

LOG = woven(Random(7), [*history(Random(7), emails=40, steps=14), *listed(Random(7), steps=14)])


def clock() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, Wakeups]]:
    database, wakeups = Database.open(url), Wakeups(url)
    wakeups.start()
    try:
        yield database, wakeups
    finally:
        await wakeups.stop()
        database.close()


async def filled() -> MemoryLedger:
    ledger = MemoryLedger()
    for event in LOG:
        await ledger.append([event])
    return ledger


def folded(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as connection:
        return rows(connection)


def expected(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """The same log folded in one batch, in a transaction that leaves nothing."""
    with scratch(database) as connection:
        for projection in ALL:
            projection.fold(connection, projection.tables(""), numbered(LOG))
        return rows(connection)


class Running:
    """A runner as a task."""

    def __init__(self, runner: ProjectionRunner) -> None:
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(runner.run(self.stopping))

    async def stop(self) -> None:
        self.stopping.set()
        await self.task


def on(url: str, scenario: Callable[[Database, Wakeups], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with opened(url) as (database, wakeups):
            await scenario(database, wakeups)

    asyncio.run(run())


def test_a_runner_keeps_up_with_what_is_appended(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = MemoryLedger(), expected(database)
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock, page=50)
        await runner.prepare()
        running = Running(runner)
        for event in LOG:
            await ledger.append([event])
        assert await runner.wait_for(len(LOG), 60)
        await running.stop()
        assert folded(database) == truth
        assert {(p.position, p.lag, p.error) for p in await runner.positions()} == {(len(LOG), 0, None)}

    on(database_url, scenario)


def test_runners_that_race_never_fold_an_event_twice(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = await filled(), expected(database)
        runners = [ProjectionRunner(ledger, database, ALL, wakeups, clock, page=7, alone=True) for _ in range(4)]
        await asyncio.gather(*(runner.prepare() for runner in runners))
        await asyncio.gather(*(runner.catch_up() for runner in runners))
        assert folded(database) == truth

    on(database_url, scenario)


@pytest.mark.parametrize("processes", [1, 2])
def test_another_takes_over_from_one_that_dies(postgres_url: str, processes: int) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = MemoryLedger(), expected(database)
        runners = [
            ProjectionRunner(ledger, database, ALL, wakeups, clock, page=20, processes=processes) for _ in range(2)
        ]
        await runners[0].prepare()
        first, second = (Running(runner) for runner in runners)
        half = len(LOG) // 2
        for event in LOG[:half]:
            await ledger.append([event])
        assert await runners[0].wait_for(half, 60)
        first.task.cancel()
        await asyncio.gather(first.task, return_exceptions=True)
        for event in LOG[half:]:
            await ledger.append([event])
        assert await runners[1].wait_for(len(LOG), 60)
        await second.stop()
        assert folded(database) == truth

    on(postgres_url, scenario)


def test_a_lost_server_connection_is_survived(postgres_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = MemoryLedger(), expected(database)
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock, page=20)
        await runner.prepare()
        running = Running(runner)
        for number, event in enumerate(LOG):
            await ledger.append([event])
            if number % 60 == 0:
                _cut_all_connections(postgres_url)
        assert await _patiently(runner, len(LOG))
        await running.stop()
        assert folded(database) == truth

    on(postgres_url, scenario)


async def _patiently(runner: ProjectionRunner, position: int) -> bool:
    for _ in range(20):
        try:
            return await runner.wait_for(position, 60)
        except StoreUnavailable:
            continue
    return False


def _cut_all_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_fold_that_fails_everywhere_holds_its_read_model_and_no_other(database_url: str) -> None:
    class Broken:
        mended = False

        def fold(self, connection: Connection, tables: Tables, events: Events) -> None:
            if not self.mended:
                raise ValueError("ada@example.com broke it")
            emails.fold(connection, tables, events)

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, broken = MemoryLedger(), Broken()
        for _ in range(30):
            await ledger.append(queued(tenant="acme").collect_events())
        projections = (replace(emails.PROJECTION, fold=broken.fold), activity.PROJECTION)
        runner = ProjectionRunner(ledger, database, projections, wakeups, clock)
        await runner.prepare()
        running = Running(runner)
        assert await runner.wait_for(30, 60, ["activity"])
        while (held := {p.name: p for p in await runner.positions()}["emails"]).error is None:
            await asyncio.sleep(0.01)
        reason = "ValueError in more than 20 streams between positions 1 and 30"
        assert (held.position, held.lag, held.error, held.parked) == (0, 30, reason, 0)
        broken.mended = True
        assert await runner.wait_for(30, 60)
        await running.stop()
        assert {p.error for p in await runner.positions()} == {None}
        assert sum((await database.ask(counts_by_status, "acme")).values()) == 30

    on(database_url, scenario)


def test_waiting_for_a_position_that_does_not_come_ends(sqlite_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        runner = ProjectionRunner(MemoryLedger(), database, ALL, wakeups, clock)
        await runner.prepare()
        assert await runner.wait_for(0, 0)
        assert not await runner.wait_for(1, 0.01)

    on(sqlite_url, scenario)


@pytest.mark.parametrize("processes", [10])
def test_many_may_create_the_tables_at_once(database_url: str, processes: int) -> None:
    async def scenario(_: Database, wakeups: Wakeups) -> None:
        databases = [Database.open(database_url) for _ in range(processes)]
        runners = [ProjectionRunner(MemoryLedger(), database, ALL, wakeups, clock) for database in databases]
        await asyncio.gather(*(runner.prepare() for runner in runners))
        for database in databases:
            database.close()

    on(database_url, scenario)
