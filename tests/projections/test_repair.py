"""Whatever is done to the tables is found, named by its stream, and put right again; and nothing else is touched."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text, update

from infrastructure.cli.verify import report_json
from infrastructure.database import parked
from infrastructure.database.engines import Database
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.verification import report
from infrastructure.verification.repair import repair
from infrastructure.verification.verify import verify
from projections import dispatch_queue, emails, statistics
from projections.dispatch_queue import QUEUE
from projections.emails import COUNTS, EMAILS, TERMS
from projections.projection import Projection, told
from tests.fakes import MemoryLedger
from tests.projections.reading import numbered
from tests.projections.spoiling import EVERY, LOG, Rows, spoil, stated
from tests.projections.test_parking import Illegible, Poisoned
from tests.projections.test_runner import Running, clock, opened
from tests.samples import queued, stamp

SOME = (emails.PROJECTION, dispatch_queue.PROJECTION)


@dataclass
class World:
    """A log, and read models that have followed it."""

    ledger: MemoryLedger
    database: Database
    runner: ProjectionRunner

    def stated(self, projections: Sequence[Projection] = EVERY) -> dict[str, Rows]:
        with self.database.read() as connection:
            return stated(connection, projections)

    async def verdicts(self, *projections: Projection, **options: Any) -> dict[str, report.Verdict]:
        found = await verify(self.ledger, self.database, projections or EVERY, **options)
        return {verdict.name: verdict for verdict in found.verdicts}


def world(
    url: str,
    scenario: Callable[[World], Awaitable[None]],
    *,
    log: Any = LOG,
    models: Any = EVERY,
    ledger: Callable[[], MemoryLedger] = MemoryLedger,
) -> None:
    async def run() -> None:
        async with opened(url) as (database, wakeups):
            made = World(ledger(), database, ProjectionRunner(MemoryLedger(), database, models, wakeups, clock))
            for event in log:
                await made.ledger.append([event])
            made.runner = ProjectionRunner(made.ledger, database, models, wakeups, clock, page=60)
            await made.runner.prepare()
            await made.runner.catch_up()
            await scenario(made)

    asyncio.run(run())


def test_every_kind_of_spoiling_is_found_named_and_repaired(database_url: str) -> None:
    async def scenario(world: World) -> None:
        truth = world.stated()
        for projection in EVERY:
            done = await world.database.tell(spoil, projection, LOG)
            repaired = await repair(world.ledger, world.database, [projection], shown=10_000)
            (before,) = repaired.before.verdicts
            assert not before.right
            assert set(before.wrong) == done.streams
            changed = {(d.table, d.stream_id, d.columns) for d in before.differences if d.kind == "different"}
            assert changed == done.columns
            assert sum(d.kind == "sum" for d in before.differences) == done.sums
            assert repaired.right, projection.name
            assert world.stated() == truth
            assert "@" not in repr(repaired)  # nobody asked for the values
            assert "@" not in json.dumps(report_json(repaired.before, show_values=False), default=str)

    world(database_url, scenario)


def test_what_no_event_tells_does_not_count_and_stays(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.database.tell(lambda c: c.execute(update(QUEUE).values(lease_owner="worker", lane="main")))
        assert (await world.verdicts(*SOME))["dispatch_queue"].right
        await world.database.tell(lambda c: c.execute(update(QUEUE).values(tenant="somebody's")))
        assert (await repair(world.ledger, world.database, SOME)).right
        leases = select(QUEUE.c.lease_owner, QUEUE.c.lane).distinct()
        with world.database.read() as connection:
            assert [tuple(row) for row in connection.execute(leases)] == [("worker", "main")]

    world(database_url, scenario, models=SOME)


def run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


@pytest.mark.parametrize("value", ["'x'", "x'00'", "4711"])
def test_what_no_column_may_hold_is_found_and_mended(sqlite_url: str, value: str) -> None:
    """SQLite takes anything."""

    async def scenario(world: World) -> None:
        truth = world.stated(SOME)
        for table in (EMAILS, TERMS, QUEUE):
            rows = f"(SELECT rowid FROM {table.name} ORDER BY rowid LIMIT 1 OFFSET"
            for place, column in enumerate(told(table)):
                await world.database.tell(
                    run, f"UPDATE {table.name} SET {column} = {value} WHERE rowid = {rows} {place})"
                )
            repaired = await repair(world.ledger, world.database, SOME)
            assert sum(v.counts.total() for v in repaired.before.verdicts) >= len(told(table))
            assert repaired.right
            assert world.stated(SOME) == truth

    world(sqlite_url, scenario, models=SOME)


def test_a_dry_run_changes_nothing(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.database.tell(spoil, emails.PROJECTION, LOG)
        before = world.stated(SOME)
        dry = await repair(world.ledger, world.database, SOME, dry=True)
        assert (dry.right, dry.mended, dry.after) == (False, [], None)
        assert world.stated(SOME) == before

    world(database_url, scenario, models=SOME)


def test_rows_are_spoilt_and_mended_while_a_runner_goes_on(database_url: str) -> None:
    """What is folded into a wrong row meanwhile makes sums wrong too; both come out right."""

    async def scenario(world: World) -> None:
        running, half = Running(world.runner), len(LOG) // 2

        async def load() -> None:
            for event in LOG[half:]:
                await world.ledger.append([event])
                await world.runner.wait_for(await world.ledger.position() - 10, 60)

        loading = asyncio.create_task(load())
        wrong = update(EMAILS).values(status="wrong").where(EMAILS.c.queued_position % 5 == 0)
        while not loading.done():
            await world.database.tell(lambda c: c.execute(wrong))
            await repair(world.ledger, world.database, [emails.PROJECTION])
        await loading
        assert await world.runner.wait_for(len(LOG), 60)
        await running.stop()
        await repair(world.ledger, world.database, SOME)
        assert (await verify(world.ledger, world.database, SOME)).right

    world(database_url, scenario, models=SOME, log=LOG[: len(LOG) // 2])


def test_parked_streams_are_left_out_and_followed_again_once_they_can_be(database_url: str) -> None:
    models = [Poisoned(projection, set()) for projection in (emails.PROJECTION, statistics.PROJECTION)]
    chosen = Random(0).sample(LOG, 8)
    for model in models:
        model.poison |= {event.event_id for event in chosen}
    projections = [model.projection for model in models]

    async def scenario(world: World) -> None:
        held = {each.stream_id for each in await world.database.ask(parked.everything)}
        assert held
        verdicts = await world.verdicts(*projections)
        assert all(verdict.right for verdict in verdicts.values())
        assert {id for verdict in verdicts.values() for id in verdict.parked} == held
        still = await repair(world.ledger, world.database, projections)
        assert not still.right
        assert {id for each in still.mended for id in each.still_parked} == held
        for model in models:
            model.poison.clear()
        repaired = await repair(world.ledger, world.database, projections)
        assert repaired.right
        assert {id for verdict in repaired.before.verdicts for id in verdict.parked} == held
        assert await world.database.ask(parked.everything) == []
        with world.database.write() as connection:
            mended = stated(connection, projections)
            for projection in projections:
                for table in projection.tables(""):
                    connection.execute(table.delete())
                projection.fold(connection, projection.tables(""), numbered(LOG))
            assert stated(connection, projections) == mended
            connection.rollback()

    world(database_url, scenario, models=projections)


def test_what_comes_before_an_event_that_cannot_be_read_is_there(database_url: str) -> None:
    email = queued(tenant="acme")
    email.reschedule(clock(), stamp())
    email.cancel(stamp())

    def illegible() -> Illegible:
        ledger = Illegible()
        ledger.bad = {3}
        return ledger

    async def scenario(world: World) -> None:
        verdicts = await world.verdicts(*SOME)
        assert all(verdict.right and set(verdict.parked) == {email.id} for verdict in verdicts.values())
        with world.database.read() as connection:
            assert connection.execute(select(EMAILS.c.status)).scalars().all() == ["scheduled"]
        assert isinstance(world.ledger, Illegible)
        world.ledger.bad = set()
        assert (await repair(world.ledger, world.database, SOME)).right
        with world.database.read() as connection:
            assert connection.execute(select(EMAILS.c.status)).scalars().all() == ["cancelled"]

    world(database_url, scenario, models=SOME, log=email.collect_events(), ledger=illegible)


def test_where_very_much_differs_nothing_is_changed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_MOST", 5)

    async def scenario(world: World) -> None:
        await world.database.tell(lambda c: c.execute(update(EMAILS).values(status="wrong")))
        repaired = await repair(world.ledger, world.database, EVERY)
        assert (repaired.right, repaired.mended) == (False, [])
        (verdict,) = [verdict for verdict in repaired.before.verdicts if not verdict.right]
        assert verdict.too_many
        assert verdict.counts[EMAILS.name, "different"] > 5

    world(sqlite_url, scenario)


def test_a_stream_that_cannot_be_folded_now_is_named_and_left_alone(database_url: str) -> None:
    poisoned = Poisoned(emails.PROJECTION, set())

    async def scenario(world: World) -> None:
        before = world.stated(SOME)
        poisoned.poison.add(LOG[0].event_id)
        repaired = await repair(world.ledger, world.database, [poisoned.projection])
        (verdict,) = repaired.before.verdicts
        assert dict(verdict.unfolded) == {LOG[0].originator_id: "ValueError"}
        assert verdict.left_out == (COUNTS.name,)
        assert not repaired.right
        assert world.stated(SOME) == before

    world(database_url, scenario, models=SOME)


def test_a_row_of_no_stream_goes(database_url: str) -> None:
    async def scenario(world: World) -> None:
        row = {"tenant": "acme", "term": "t:nothing", "queued_position": 987_654}
        await world.database.tell(lambda c: c.execute(TERMS.insert().values(row)))
        (difference,) = (await world.verdicts(*SOME))["emails"].differences
        assert (difference.kind, difference.stream_id) == ("extra", None)
        assert difference.key == {"tenant": "acme", "queued_position": 987_654}
        assert (await repair(world.ledger, world.database, SOME)).right
        with world.database.read() as connection:
            lost = select(func.count()).select_from(TERMS).where(TERMS.c.queued_position == 987_654)
            assert connection.execute(lost).scalar_one() == 0

    world(database_url, scenario, models=SOME)
