"""Many writing processes and a follower on PostgreSQL: nothing is missed, nothing is out of order."""

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg

from infrastructure.database.notifications import Wakeups
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from tests.ledger.conftest import open_ledger
from tests.ledger.writers import cheap_events

PROCESSES, WRITERS, ROUNDS, SIZE = 4, 4, 25, 501
EVENTS = PROCESSES * WRITERS * ROUNDS * SIZE
PAGE = 5_000


@contextmanager
def python(module: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of our own, gone at the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def follow(ledger: EventLedger, count: int) -> tuple[list[int], dict[UUID, list[int]]]:
    """Read as a projection does, until `count` events were seen: all positions, and each stream's versions."""
    positions: list[int] = []
    versions: defaultdict[UUID, list[int]] = defaultdict(list)
    while len(positions) < count:
        after = positions[-1] if positions else 0
        page = await ledger.read(after, PAGE)
        for recorded in page:
            positions.append(recorded.position)
            versions[recorded.event.originator_id].append(recorded.event.originator_version)
        if not page:
            await ledger.wait(after, 1.0)
    return positions, versions


def test_a_follower_of_sixteen_writers_misses_nothing_over_200_000_events(postgres_url: str) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(postgres_url)
        wakeups.start()
        ledger = EventLedger(PostgresEventStore(postgres_url), wakeups.events)
        positions, versions = await asyncio.wait_for(follow(ledger, EVENTS), 120)
        assert positions == sorted(set(positions))
        assert len(versions) == PROCESSES * WRITERS
        assert all(seen == list(range(1, ROUNDS * SIZE + 1)) for seen in versions.values())
        assert await ledger.read(positions[-1], 10) == []
        await wakeups.stop()
        await ledger.close()

    assert EVENTS >= 200_000
    arguments = (postgres_url, WRITERS, ROUNDS, SIZE)
    writers = [python("tests.ledger.writers", *arguments) for _ in range(PROCESSES)]
    with writers[0] as a, writers[1] as b, writers[2] as c, writers[3] as d:
        asyncio.run(scenario())
        assert [process.wait(60) for process in (a, b, c, d)] == [0] * PROCESSES


def test_ten_processes_may_start_together_on_an_empty_database(postgres_url: str) -> None:
    arguments = (postgres_url, 1, 1, 3)
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.ledger.writers", *map(str, arguments)]) for _ in range(10)
    ]
    assert [process.wait(120) for process in processes] == [0] * 10
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (30,)


def test_an_append_in_one_process_wakes_a_follower_in_another_without_waiting_for_the_poll(postgres_url: str) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(postgres_url)
        silence = wakeups.events.mark()
        wakeups.start()
        await wakeups.events.wait_since(silence, 60)  # it rings once when it begins to listen
        ledger = EventLedger(PostgresEventStore(postgres_url), wakeups.events)
        await ledger.append(cheap_events(UUID(int=1), 1, 1))
        with python("tests.ledger.writers", postgres_url, 1, 1, 1):
            await asyncio.wait_for(woken(ledger), 60)
        await wakeups.stop()
        await ledger.close()

    async def woken(ledger: EventLedger) -> None:
        while await ledger.position() < 2:
            await ledger.wait(1, 3600)

    asyncio.run(scenario())


def test_of_many_writers_of_the_same_version_exactly_one_wins(postgres_url: str) -> None:
    streams, racers, versions = [UUID(int=n) for n in range(5)], 8, 10

    async def race(ledger: EventLedger) -> int:
        wins = 0
        for version in range(1, versions + 1):
            wishes = (ledger.append(cheap_events(stream, version, 1)) for stream in streams)
            results = await asyncio.gather(*wishes, return_exceptions=True)
            wins += sum(isinstance(result, int) for result in results)
        return wins

    async def scenario() -> None:
        ledgers = [open_ledger(postgres_url) for _ in range(racers)]
        wins = await asyncio.gather(*map(race, ledgers))
        assert sum(wins) == len(streams) * versions
        for stream in streams:
            history = await ledgers[0].load(stream)
            assert [recorded.event.originator_version for recorded in history] == list(range(1, versions + 1))
        for ledger in ledgers:
            await ledger.close()

    asyncio.run(scenario())
