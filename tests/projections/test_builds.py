"""A build ends in what the live read models hold, disturbs nobody on the way, and outlives its process."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, update

from application.errors import ReadModelBuilding
from application.ports import Ledger
from infrastructure.builder import Builder, BuildFailed
from infrastructure.database import builds, positions
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.projection_runner import ProjectionRunner
from projections import activity, emails
from projections.dispatch_queue import QUEUE
from projections.email_list import counts_by_status
from projections.emails import EMAILS
from projections.projection import Events, Projection, Tables
from tests.fakes import MemoryLedger
from tests.projections.reading import ALL, numbered, rows, scratch
from tests.projections.test_runner import LOG, Running, clock, expected, filled, folded, on
from tests.samples import queued
from tests.strategies import history, listed, woven

NAMES = [projection.name for projection in ALL]


def nothing(done: int, total: int) -> None:
    pass


def spoil(connection: Connection) -> None:
    connection.execute(update(EMAILS).values(status="wrong"))


def tables(connection: Connection) -> list[str]:
    return sorted(name for name in inspect(connection).get_table_names() if "__" in name)


async def caught_up(ledger: Any, database: Database, wakeups: Wakeups) -> ProjectionRunner:
    runner = ProjectionRunner(ledger, database, ALL, wakeups, clock)
    await runner.prepare()
    await runner.catch_up()
    return runner


@pytest.mark.parametrize("parts", [1, 3])
def test_a_rebuild_mends_what_was_spoilt_and_can_be_repeated(database_url: str, parts: int) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = await filled(), expected(database)
        runner = await caught_up(ledger, database, wakeups)
        builder = Builder(ledger, database, ALL, wakeups, clock, page=50)
        seen: list[tuple[int, int]] = []
        for _ in range(2):
            await database.tell(spoil)
            assert await builder.rebuild(NAMES, lambda done, total: seen.append((done, total)), parts) == len(LOG)
            assert seen[-1] == (len(LOG), len(LOG))
            assert folded(database) == truth
        kept = {name.rpartition("__")[0] for name in await database.ask(tables)}
        assert kept == {table.name for projection in ALL for table in projection.tables("")}  # the previous ones, once
        assert {p.position for p in await runner.positions()} == {len(LOG)}
        assert await builder.parts() == []

    on(database_url, scenario)


@pytest.mark.parametrize("seed", range(2))
def test_however_it_is_cut_a_build_holds_what_one_fold_of_the_whole_log_does(database_url: str, seed: int) -> None:
    chance = Random(seed)
    log = woven(chance, [*history(chance, emails=12, steps=12), *listed(chance, steps=8)])

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        with scratch(database) as connection:
            for projection in ALL:
                projection.fold(connection, projection.tables(""), numbered(log))
            truth = rows(connection)
        ledger = MemoryLedger()
        for event in log:
            await ledger.append([event])
        await caught_up(ledger, database, wakeups)
        for parts in (1, 5):
            await database.tell(spoil)
            builder = Builder(ledger, database, ALL, wakeups, clock, page=chance.choice((17, 60, 5000)))
            await builder.rebuild(NAMES, nothing, parts)
            assert folded(database) == truth

    on(database_url, scenario)


def test_processes_that_build_the_same_do_nothing_twice(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger, truth = await filled(), expected(database)
        await caught_up(ledger, database, wakeups)
        await database.tell(spoil)
        builders = [Builder(ledger, database, ALL, wakeups, clock, page=50) for _ in range(3)]
        await asyncio.gather(*(builder.rebuild(NAMES, nothing, 2) for builder in builders))
        assert folded(database) == truth
        assert await builders[0].parts() == []

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

        loading, chance = asyncio.create_task(load()), Random(1)
        builder = Builder(ledger, database, ALL, wakeups, clock, page=25)
        while not loading.done():
            name = chance.choice(NAMES)
            await builder.rebuild([name], nothing, chance.choice((1, 2)))
            if chance.random() < 0.3:
                await builder.roll_back(name)
        await loading
        assert await runner.wait_for(len(LOG), 60)
        await running.stop()
        assert folded(database) == truth

    on(database_url, scenario)


class Killed(BaseException):
    """The process is gone."""


class Mortal(Database):
    """Dies before, or right after, the commit of a transaction that it was not to survive."""

    def __init__(self, inner: Database) -> None:
        self.__dict__.update(inner.__dict__)
        self.left = -1
        self.after = False

    async def tell(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left != 0:
            return await super().tell(change, *args, **kwargs)
        if self.after:
            await super().tell(change, *args, **kwargs)
            raise Killed

        def killed(connection: Connection, *args: Any, **kwargs: Any) -> None:
            change(connection, *args, **kwargs)
            raise Killed

        await super().tell(killed, *args, **kwargs)


@pytest.mark.parametrize(("seed", "parts"), [(1, 1), (2, 2)])
def test_killed_anywhere_it_goes_on_and_the_live_tables_are_a_pure_fold_at_any_moment(
    database_url: str, seed: int, parts: int
) -> None:
    some = ["emails", "dispatch_queue", "suppressions"]

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        chance, ledger, truth = Random(seed), await filled(), expected(database)
        await caught_up(ledger, database, wakeups)
        mortal, over = Mortal(database), 0
        while over < 2:
            mortal.left, mortal.after = chance.randrange(1, 40), chance.random() < 0.5
            builder = Builder(ledger, mortal, ALL, wakeups, clock, page=100)
            try:
                if over == 0:
                    await builder.rebuild(some, nothing, parts)
                else:
                    await _rolled_back(builder)
                over += 1
            except Killed:
                pass
            assert folded(database) == truth
        assert await Builder(ledger, database, ALL, wakeups, clock).parts() == []

    async def _rolled_back(builder: Builder) -> None:
        for part in await builder.parts():
            await builder.finish(part.name)
        await builder.roll_back("emails")

    on(database_url, scenario)


def test_a_rollback_brings_the_previous_tables_back_caught_up(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        runner = await caught_up(ledger, database, wakeups)
        bad = replace(emails.PROJECTION, fold=_forgetful)
        await Builder(ledger, database, [bad], wakeups, clock).rebuild(["emails"], nothing)
        assert sum((await database.ask(counts_by_status, "acme")).values()) == 0
        await ledger.append(queued(tenant="acme").collect_events())
        await runner.catch_up()
        builder = Builder(ledger, database, ALL, wakeups, clock)
        assert await builder.roll_back("emails") == len(LOG) + 1
        assert sum((await database.ask(counts_by_status, "acme")).values()) > 1
        with pytest.raises(BuildFailed):
            await builder.roll_back("recipients")

    on(database_url, scenario)


def _forgetful(connection: Connection, tables: Tables, events: Events) -> None:
    """Folds nothing."""


def test_a_cancelled_build_leaves_nothing(database_url: str) -> None:
    class Interrupted(Exception):
        """The operator pressed a key."""

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        await caught_up(ledger, database, wakeups)
        before = folded(database)
        builder = Builder(ledger, database, ALL, wakeups, clock, page=40)

        def interrupt(done: int, total: int) -> None:
            raise Interrupted

        with pytest.raises(Interrupted):
            await builder.rebuild(NAMES, interrupt, 2)
        assert {part.name for part in await builder.parts()} == set(NAMES)
        assert folded(database) == before
        assert sorted(await builder.cancel(NAMES)) == sorted(NAMES)
        assert await database.ask(tables) == []
        assert await builder.cancel(NAMES) == []
        assert folded(database) == before

    on(database_url, scenario)


def test_a_build_that_parks_more_than_the_live_read_model_is_not_swapped_in(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        await caught_up(ledger, database, wakeups)
        before = folded(database)

        def fold(connection: Connection, tables: Tables, events: Events) -> None:
            emails.fold(connection, tables, events)
            if any(each.event.originator_id == LOG[0].originator_id for each in events):
                raise ValueError("ada@example.com broke it")

        worse = replace(emails.PROJECTION, fold=fold)
        with pytest.raises(BuildFailed, match="parked 1 streams"):
            await Builder(ledger, database, [worse], wakeups, clock).rebuild(["emails"], nothing)
        (part,) = await Builder(ledger, database, ALL, wakeups, clock).parts()
        assert part.error is not None
        assert folded(database) == before
        builder = Builder(ledger, database, ALL, wakeups, clock, check=_wrong)
        await builder.cancel(["emails"])
        with pytest.raises(BuildFailed, match="three rows are wrong"):
            await builder.rebuild(["emails"], nothing)

    async def _wrong(projection: Projection, suffix: str) -> str | None:
        return "three rows are wrong"

    on(database_url, scenario)


def test_a_rebuild_keeps_the_leases_of_the_workers(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        await caught_up(ledger, database, wakeups)
        await database.tell(_lease)
        before = folded(database)
        await Builder(ledger, database, ALL, wakeups, clock).rebuild(["dispatch_queue"], nothing)
        assert folded(database) == before

    def _lease(connection: Connection) -> None:
        connection.execute(update(QUEUE).values(lease_owner="worker", claimable_at=clock()))

    on(database_url, scenario)


def newer() -> Projection:
    """The next version of a read model, with tables of its own."""

    return replace(activity.PROJECTION, version=2, tables=lambda suffix: activity.tables(f"_next{suffix}"))


def test_a_raised_version_is_built_by_the_workers_beside_the_old_one(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = await filled()
        old = await caught_up(ledger, database, wakeups)
        before = folded(database)
        projections = [newer() if p.name == "activity" else p for p in ALL]
        runner = ProjectionRunner(ledger, database, projections, wakeups, clock)
        await asyncio.gather(*(runner.prepare() for _ in range(3)))
        await runner.catch_up()
        assert "activity" not in {p.name for p in await runner.positions() if p.state == "live"}
        assert not await runner.wait_for(1, 0, ["activity"])
        with pytest.raises(ReadModelBuilding):
            await database.ask(_read_new)
        await ledger.append(queued().collect_events())
        await old.catch_up()  # a process with the old code goes on with the old tables
        builder, stop = Builder(ledger, database, projections, wakeups, clock, page=30), asyncio.Event()

        async def leads() -> bool:
            return True

        building = asyncio.create_task(builder.run(leads, stop))
        assert await runner.wait_for(len(LOG), 60, ["activity"])
        stop.set()
        await building
        await runner.catch_up()
        assert {p.position for p in await runner.positions()} == {len(LOG) + 1}
        after = folded(database)
        assert after.keys() == before.keys()
        old_rows, new_rows = [await database.ask(_content, p) for p in (activity.PROJECTION, newer())]
        assert old_rows == new_rows

    def _read_new(connection: Connection) -> None:
        connection.execute(newer().tables("")[0].select())

    def _content(connection: Connection, projection: Projection) -> list[list[Any]]:
        return [sorted(map(repr, connection.execute(t.select()))) for t in projection.tables("")]

    on(database_url, scenario)


def test_a_new_read_model_is_live_at_once_on_a_short_log_and_built_on_a_long_one(database_url: str) -> None:
    class Long(MemoryLedger):
        async def position(self) -> int:
            return 20_000

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledgers: list[Ledger] = [MemoryLedger(), Long()]
        projections = [emails.PROJECTION, activity.PROJECTION]
        for ledger, projection in zip(ledgers, projections, strict=True):
            await ProjectionRunner(ledger, database, [projection], wakeups, clock).prepare()  # type: ignore[arg-type]
        assert await database.ask(positions.positions, projections) == {"emails": 0}
        assert [(p.name, p.auto) for p in await database.ask(builds.under_way)] == [("activity", True)]

    on(database_url, scenario)
