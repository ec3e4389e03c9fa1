"""One leads, by a lease; whoever holds it and stands still, dies or gives up is followed by another."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text

from application.errors import StoreUnavailable
from infrastructure.database import follower_positions, positions, read_models
from infrastructure.database.engines import Database
from infrastructure.database.leadership import Leadership
from infrastructure.database.standstill import end_blockers
from projections import emails

KEY = 4711
NOW = datetime(2026, 3, 1, tzinfo=UTC)
GIVE_UP = 30.0


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database.open(postgres_url)
    yield database
    database.close()


@pytest.fixture
def candidate(database: Database) -> Iterator[Callable[..., Leadership]]:
    made: list[Leadership] = []

    def make(key: int = KEY) -> Leadership:
        made.append(Leadership(database, key, lease=30))
        return made[-1]

    yield make
    for each in made:
        each.give_up()


Candidate = Callable[..., Leadership]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + GIVE_UP
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def tell(database: Database, statement: bytes) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(statement)


def test_one_leads_and_goes_on_to(candidate: Candidate) -> None:
    first, second = candidate(), candidate()
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
    assert (first.sure, second.sure) == (True, False)


def test_each_key_has_a_leader_of_its_own(candidate: Candidate) -> None:
    assert candidate(1).hold()
    assert candidate(2).hold()


def test_of_many_who_ask_at_once_one_leads(candidate: Candidate) -> None:
    many = [candidate() for _ in range(12)]
    with ThreadPoolExecutor(len(many)) as threads:
        for _ in range(5):
            assert sum(threads.map(Leadership.hold, many)) == 1


def test_what_is_given_up_is_free_at_once(candidate: Candidate) -> None:
    first, second = candidate(), candidate()
    assert first.hold()
    first.give_up()
    assert (first.sure, second.hold(), first.hold()) == (False, True, False)


def test_who_does_not_lead_gives_nothing_up(candidate: Candidate) -> None:
    first, second = candidate(), candidate()
    assert first.hold()
    second.hold()
    second.give_up()
    assert not candidate().hold()


def test_who_stands_still_past_the_lease_has_lost_it(candidate: Candidate, database: Database) -> None:
    first, second = candidate(), candidate()
    assert first.hold()
    tell(database, b"UPDATE leaders SET until = clock_timestamp()")
    assert second.hold()
    assert (first.hold(), first.sure) == (False, False)


def test_who_renews_it_keeps_it_for_longer_than_a_lease(candidate: Candidate, database: Database) -> None:
    first, second = candidate(), candidate()
    assert first.hold()
    tell(database, b"UPDATE leaders SET until = clock_timestamp() + interval '50 milliseconds'")
    assert first.hold()
    tell(database, b"SELECT pg_sleep(0.06)")
    assert not second.hold()


def test_a_clock_that_was_set_back_keeps_nobody_from_leading(candidate: Candidate, database: Database) -> None:
    first, second = candidate(), candidate()
    assert first.hold()
    tell(database, b"UPDATE leaders SET until = until + interval '1 hour'")
    assert second.hold()


def test_who_loses_the_database_is_not_sure_and_leads_again_when_it_is_back(
    candidate: Candidate, database: Database
) -> None:
    leader = candidate()
    assert leader.hold()
    tell(database, b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert (leader.hold(), leader.sure) == (False, False)
    assert leader.hold()


def test_a_server_that_has_become_read_only_is_an_outage_until_it_is_not(
    candidate: Candidate, database: Database, postgres_url: str
) -> None:
    leader, name = candidate(), make_url(postgres_url).database
    assert leader.hold()
    leader.give_up()

    def write(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE IF NOT EXISTS written (at integer)"))

    tell(database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    with pytest.raises(StoreUnavailable):
        asyncio.run(database.tell(write))
    assert not leader.hold()
    undo = f'ALTER DATABASE "{name}" RESET default_transaction_read_only'
    tell(database, f"BEGIN READ WRITE; {undo}; COMMIT".encode())
    asyncio.run(database.tell(write))
    assert leader.hold()


def test_on_sqlite_everybody_leads(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    assert Leadership(database, KEY).hold()
    assert Leadership(database, KEY).hold()
    database.close()


@pytest.mark.parametrize("copying", [False, True])
def test_who_holds_others_up_and_says_nothing_loses_the_connection(database: Database, copying: bool) -> None:
    """As a process that is stopped in the middle of a transaction, or of what it copies."""
    url = database.url
    with (
        closing(psycopg.connect(url)) as stopped,
        closing(psycopg.connect(url)) as idle,
        psycopg.connect(url, autocommit=True) as us,
    ):
        us.execute("CREATE TABLE busy (number int)")
        idle.execute("SELECT * FROM busy")
        stopped.execute("LOCK TABLE busy IN EXCLUSIVE MODE")
        if copying:
            stopped.pgconn.exec_(b"COPY busy FROM STDIN")
        waiting = threading.Thread(target=tell, args=(database, b"INSERT INTO busy VALUES (1)"))
        waiting.start()
        assert end_blockers(us, after=GIVE_UP) == 0
        until(lambda: end_blockers(us, after=0.1))
        waiting.join(GIVE_UP)
        assert us.execute("SELECT number FROM busy").fetchall() == [(1,)]
        idle.execute("SELECT 1")  # in the middle of a transaction as well, but in nobody's way


def test_of_many_who_believe_to_lead_one_moves_a_follower(database_url: str) -> None:
    database = Database.open(database_url)
    with database.write() as connection:
        follower_positions.create(connection, "test")

    async def race(step: int) -> list[bool]:
        moves = [database.tell(follower_positions.advance, "test", step, step + 1, NOW) for _ in range(6)]
        return list(await asyncio.gather(*moves))

    async def scenario() -> None:
        for step in range(5):
            assert sum(await race(step)) == 1

    asyncio.run(scenario())
    database.close()


def test_of_many_who_believe_to_lead_one_moves_a_read_model(database_url: str) -> None:
    database = Database.open(database_url)
    with database.write() as connection:
        read_models.prepare(connection, [emails.PROJECTION], 0, NOW)

    async def race(step: int) -> list[BaseException | None]:
        moves = [database.tell(positions.advance, emails.PROJECTION, step, step + 1, NOW) for _ in range(6)]
        return await asyncio.gather(*moves, return_exceptions=True)

    async def scenario() -> None:
        for step in range(5):
            ends = await race(step)
            assert [end for end in ends if not isinstance(end, positions.Overtaken)] == [None]

    asyncio.run(scenario())
    database.close()
