"""A rebuild ends in what the live read models hold, and disturbs nobody on the way."""

import asyncio

import pytest
from sqlalchemy import Connection, inspect, update

from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.rebuild import Rebuild
from projections.dispatch_queue import QUEUE
from projections.emails import EMAILS
from tests.fakes import MemoryLedger
from tests.projections.reading import ALL
from tests.projections.test_runner import LOG, Running, clock, expected, filled, folded, on

NAMES = [projection.name for projection in ALL]


def spoil(connection: Connection) -> None:
    connection.execute(update(EMAILS).values(status="wrong"))


def names(connection: Connection) -> list[str]:
    inspector = inspect(connection)
    indexes = [index["name"] for table in ALL for t in table.tables("") for index in inspector.get_indexes(t.name)]
    return sorted([*inspector.get_table_names(), *(str(name).partition("__")[0] for name in indexes)])


def test_a_rebuild_mends_what_was_spoilt_and_can_be_repeated(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = await filled(), expected(database)
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock)
        await runner.prepare()
        await runner.catch_up()
        tables = await database.ask(names)
        seen: list[tuple[int, int]] = []
        for _ in range(3):
            await database.tell(spoil)
            assert await runner.rebuild(NAMES, lambda done, total: seen.append((done, total))) == len(LOG)
            assert seen[-1] == (len(LOG), len(LOG))
            assert folded(database) == truth
        assert len(await database.ask(names)) == len(tables)
        assert {p.position for p in await runner.positions()} == {len(LOG)}

    on(database_url, scenario)


def test_a_rebuild_under_load_ends_with_every_event_folded_once(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = MemoryLedger(), expected(database)
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock, page=10)
        await runner.prepare()
        running = Running(runner)

        async def load() -> None:
            for event in LOG:
                await ledger.append([event])
                await runner.wait_for(await ledger.position() - 20, 60)

        loading = asyncio.create_task(load())
        while not loading.done():
            await Rebuild(ledger, database, ALL, wakeups, clock, page=25).run(lambda done, total: None)
        await loading
        assert await runner.wait_for(len(LOG), 60)
        await running.stop()
        assert folded(database) == truth

    on(database_url, scenario)


class Interrupted(Exception):
    """The operator pressed a key."""


def test_an_interrupted_rebuild_leaves_the_live_tables_alone(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock)
        await runner.prepare()
        await runner.catch_up()
        before, tables = folded(database), await database.ask(names)

        def interrupt(done: int, total: int) -> None:
            raise Interrupted

        with pytest.raises(Interrupted):
            await runner.rebuild(NAMES, interrupt)
        assert folded(database) == before
        assert await database.ask(names) == tables

    on(database_url, scenario)


def test_a_rebuild_keeps_the_leases_of_the_workers(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        runner = ProjectionRunner(ledger, database, ALL, wakeups, clock)
        await runner.prepare()
        await runner.catch_up()
        await database.tell(_lease)
        before = folded(database)
        await runner.rebuild(["dispatch_queue"], lambda done, total: None)
        assert folded(database) == before

    def _lease(connection: Connection) -> None:
        connection.execute(update(QUEUE).values(lease_owner="worker", claimable_at=clock()))

    on(database_url, scenario)
