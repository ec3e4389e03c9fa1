"""Verification tells right from wrong at one position, whoever goes on meanwhile, and leaves nothing behind."""

import asyncio
import subprocess
import sys
from random import Random
from threading import Event as Flag

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, delete, inspect, text, update

from application.errors import StoreUnavailable
from infrastructure.builder import Builder
from infrastructure.database.builds import BUILDS
from infrastructure.database.engines import Database, libpq_url
from infrastructure.database.notifications import Wakeups
from infrastructure.database.positions import POSITIONS
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.verification.copies import NotThere, Replaced
from infrastructure.verification.reader import LogReader
from infrastructure.verification.sampling import pick
from infrastructure.verification.verify import build_check, check_sample, verify
from projections import dispatch_queue, emails, statistics, suppressions
from projections.emails import COUNTS, EMAILS
from tests.fakes import MemoryLedger
from tests.postgres import PostgresServer
from tests.projections.spoiling import EVERY, LOG, long_log
from tests.projections.test_repair import World, world
from tests.projections.test_runner import Running, clock
from tests.strategies import chances, history

SOME = (emails.PROJECTION, dispatch_queue.PROJECTION, suppressions.PROJECTION, statistics.PROJECTION)
FEW = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> object:
    """Of the module, and emptied by whoever uses it."""
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('verify')}/postledger.db"
    url = sqlite if request.param == "sqlite" else postgres_server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    if url != sqlite:
        postgres_server.drop_database(url)


def empty(connection: Connection) -> None:
    if inspect(connection).has_table(POSITIONS.name):
        for table in (POSITIONS, *(table for projection in EVERY for table in projection.tables(""))):
            connection.execute(delete(table))


@given(chance=chances)
@FEW
def test_what_runners_fold_is_right_however_the_log_is_cut(database: Database, chance: Random) -> None:
    async def scenario() -> None:
        ledger, log = MemoryLedger(), long_log(chance.getrandbits(32), emails=chance.randrange(1, 6))
        for event in log:
            await ledger.append([event])
        await database.tell(empty)
        page = chance.choice((3, 20, 1000))
        runner = ProjectionRunner(ledger, database, EVERY, Wakeups(database.url), clock, page=page, alone=True)
        await runner.prepare()
        await runner.catch_up()
        report = await verify(ledger, database, EVERY, page=chance.choice((7, 100, 1000)))
        assert report.right, report
        assert {verdict.position for verdict in report.verdicts} == {len(log)}
        sampled = await verify(ledger, database, EVERY, sample=chance.choice((1, 8)))
        assert sampled.right, sampled

    asyncio.run(scenario())


def test_under_load_nothing_is_ever_told_to_differ(database_url: str) -> None:
    async def scenario(world: World) -> None:
        running = Running(world.runner)

        async def load() -> None:
            for event in LOG:
                await world.ledger.append([event])
                await world.runner.wait_for(await world.ledger.position() - 10, 60)

        loading, positions = asyncio.create_task(load()), set[int]()
        while not loading.done():
            report = await verify(world.ledger, world.database, SOME, page=40)
            assert report.right, report
            positions |= {verdict.position for verdict in report.verdicts}
            assert (await verify(world.ledger, world.database, SOME, sample=5)).right
        await loading
        await running.stop()
        assert len(positions) > 1

    world(database_url, scenario, log=(), models=SOME)


# -- samples ---------------------------------------------------------------------------------------------------------


def test_a_sample_finds_what_is_wrong_with_its_streams_and_can_be_repeated(database_url: str) -> None:
    async def scenario(world: World) -> None:
        ids = {event.originator_id for event in LOG}
        wrong = update(EMAILS).values(status="wrong").where(EMAILS.c.queued_position % 2 == 0)
        await world.database.tell(lambda connection: connection.execute(wrong))
        everything = (await world.verdicts(*SOME))["emails"].wrong
        reports = [await verify(world.ledger, world.database, SOME, sample=10, seed=3) for _ in range(2)]
        assert reports[0].streams == 10
        assert reports[0].verdicts == reports[1].verdicts
        found = [verdict for verdict in reports[0].verdicts if not verdict.right]
        assert [(verdict.name, verdict.left_out) for verdict in found] == [("emails", (COUNTS.name,))]
        assert set(found[0].wrong) <= set(everything)
        whole = await verify(world.ledger, world.database, SOME, sample=1000)
        assert whole.streams == len(ids)
        assert {id for verdict in whole.verdicts for id in verdict.wrong} == set(everything)

    world(database_url, scenario, models=SOME)


def test_streams_are_picked_evenly_however_long_they_are() -> None:
    async def scenario() -> None:
        ledger, counts = MemoryLedger(), {event.originator_id: 0 for event in LOG}
        for event in LOG:
            await ledger.append([event])
        loop = asyncio.get_running_loop()

        def picked() -> None:
            log = LogReader(ledger, loop, 100)
            for seed in range(150):
                for id in pick(log, Random(seed), 10, len(LOG)):
                    counts[id] += 1

        await asyncio.to_thread(picked)
        expected = 1500 / len(counts)
        assert min(counts.values()) > expected / 3
        assert max(counts.values()) < expected * 2

    asyncio.run(scenario())


# -- builds ----------------------------------------------------------------------------------------------------------


def test_a_build_is_checked_before_it_is_swapped_in(database_url: str) -> None:
    async def scenario(world: World) -> None:
        chosen = ["emails", "suppressions"]
        builder = Builder(world.ledger, world.database, SOME, Wakeups(database_url), clock)
        await builder.begin(chosen)
        await builder.replay(chosen, lambda done, total: None)
        with world.database.read() as connection:
            builds = {row.name: row.suffix for row in connection.execute(BUILDS.select())}
        check = build_check(world.ledger, world.database, streams=15)
        assert await check(emails.PROJECTION, builds["emails"]) is None
        spoil = text(f"UPDATE {EMAILS.name}{builds['emails']} SET status = 'wrong'")
        await world.database.tell(lambda connection: connection.execute(spoil))
        sentence = await check(emails.PROJECTION, builds["emails"])
        assert sentence is not None
        assert sentence.startswith("of 15 streams picked by seed")
        assert await check(suppressions.PROJECTION, builds["suppressions"]) is None
        with pytest.raises(NotThere):
            await check_sample(world.ledger, world.database, [suppressions.PROJECTION], build="__none")
        assert await check(suppressions.PROJECTION, "__none") is None

    world(database_url, scenario, models=SOME)


def test_a_read_model_that_is_put_back_meanwhile_is_not_judged(database_url: str) -> None:
    async def scenario(world: World) -> None:
        def put_back(doing: str, done: int, total: int) -> None:
            if doing == "Folding" and done == total:
                with world.database.write() as connection:
                    connection.execute(update(POSITIONS).values(position=1))

        with pytest.raises(Replaced):
            await verify(world.ledger, world.database, SOME, progress=put_back)

    world(database_url, scenario, models=SOME)


def test_tables_are_exchanged_after_a_comparison_and_nobody_else_waits(postgres_url: str) -> None:
    async def scenario(world: World) -> None:
        loop, comparing, go_on = asyncio.get_running_loop(), asyncio.Event(), Flag()

        def told(doing: str, done: int, total: int) -> None:
            if doing == "Comparing":
                loop.call_soon_threadsafe(comparing.set)
                go_on.wait(30)

        verifying = asyncio.create_task(verify(world.ledger, world.database, SOME, progress=told))
        await comparing.wait()
        builder = Builder(world.ledger, world.database, SOME, Wakeups(postgres_url), clock)
        rebuilding = asyncio.create_task(builder.rebuild(["emails"], lambda done, total: None))
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not await world.database.ask(lambda connection: connection.execute(waiting).scalar_one()):
            await asyncio.sleep(0.01)
        await world.database.ask(lambda connection: connection.execute(EMAILS.select()).all())
        for event in history(Random(2), emails=1, steps=9)[0].events:
            await world.ledger.append([event])
        await world.runner.catch_up()
        assert not rebuilding.done()
        go_on.set()
        assert (await verifying).right
        await rebuilding
        assert (await verify(world.ledger, world.database, SOME)).right

    world(postgres_url, scenario, models=SOME)


# -- what is left of it ----------------------------------------------------------------------------------------------


async def remains(world: World) -> list[str]:
    """Tables of a verification, other people's temporary ones included; the server needs a moment to drop those."""
    for _ in range(100):
        with world.database.read() as connection:
            every = "SELECT relname FROM pg_class" if world.database.kind == "postgresql" else _SQLITE
            found = [name for name in connection.execute(text(every)).scalars() if "__v" in name]
        if not found:
            break
        await asyncio.sleep(0.05)
    return found


_SQLITE = "SELECT name FROM sqlite_master UNION SELECT name FROM sqlite_temp_master"


def test_nothing_is_left_of_one_that_is_broken_off(database_url: str) -> None:
    async def scenario(world: World) -> None:
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def told(doing: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(begun.set)

        verifying = asyncio.create_task(verify(world.ledger, world.database, SOME, page=5, progress=told))
        await begun.wait()
        verifying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await verifying
        assert await remains(world) == []
        assert (await verify(world.ledger, world.database, SOME)).right

    world(database_url, scenario, models=SOME)


def test_a_lost_connection_ends_it_and_leaves_nothing(postgres_url: str) -> None:
    async def scenario(world: World) -> None:
        def cut(doing: str, done: int, total: int) -> None:
            with psycopg.connect(libpq_url(postgres_url), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"
                )

        with pytest.raises(StoreUnavailable):
            await verify(world.ledger, world.database, SOME, page=20, progress=cut)
        assert await remains(world) == []
        assert (await verify(world.ledger, world.database, SOME)).right

    world(postgres_url, scenario, models=SOME)


_KILLED = """
import asyncio, sys
from infrastructure.database.engines import Database
from infrastructure.verification.verify import verify
from projections import emails
from tests.fakes import MemoryLedger
from tests.projections.spoiling import LOG

def told(doing, done, total):
    if doing == "Comparing":  # while it holds everything it ever holds
        print("now", flush=True)
        sys.stdin.read()

async def main():
    ledger = MemoryLedger()
    for event in LOG:
        await ledger.append([event])
    await verify(ledger, Database.open(sys.argv[1]), [emails.PROJECTION], progress=told)

asyncio.run(main())
"""


def test_one_that_is_killed_leaves_nothing_and_holds_nobody_up(database_url: str) -> None:
    async def scenario(world: World) -> None:
        command = [sys.executable, "-c", _KILLED, database_url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "now\n"
            for event in history(Random(2), emails=1, steps=9)[0].events:
                await world.ledger.append([event])
            await world.runner.catch_up()  # while it compares, others write
            process.kill()
        assert await remains(world) == []
        assert (await verify(world.ledger, world.database, SOME)).right

    world(database_url, scenario, models=SOME)
