"""A follower hands on every event of its topics, in order and at least once, whoever dies on the way."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from sqlalchemy import select

from application.errors import StoreUnavailable
from application.feeding import TOPICS, SuppressionFeeder
from application.ports import Clock, Recorded
from application.suppressions import Suppressions
from domain import events as e
from domain.answer import RecipientReport
from infrastructure.database.engines import Database
from infrastructure.database.follower_positions import FOLLOWERS
from infrastructure.follower import Follower, Handler
from tests.fakes import MemoryLedger
from tests.samples import LEASE, NOW, queued, stamp, taken

QUEUED = (e.EmailQueued.TYPE,)


def clock() -> datetime:
    return datetime.now(UTC)


class Seen:
    """A handler that remembers what it was given, and fails where it is told to."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.fails_at: int | None = None
        self.more = asyncio.Event()

    async def __call__(self, page: Sequence[Recorded]) -> None:
        if any(recorded.position == self.fails_at for recorded in page):
            self.more.set()
            raise ValueError("ada@example.com broke it")
        self.positions += [recorded.position for recorded in page]
        self.more.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.positions) < count:
                self.more.clear()
                await self.more.wait()


def follower(
    ledger: MemoryLedger,
    database: Database,
    handle: Handler,
    page: int = 2,
    topics: Sequence[str] = QUEUED,
    clock: Clock = clock,
) -> Follower:
    return Follower("test", topics, handle, ledger, database, clock, key=77, page=page)


async def write(ledger: MemoryLedger, emails: int, *, started: bool = False) -> None:
    """Emails, each followed by an event of another topic if it is `started`."""
    for _ in range(emails):
        email = queued()
        if started:
            email.start_delivery("main", "default", LEASE, stamp())
        await ledger.append(email.collect_events())


def stands(database: Database) -> tuple[int, str | None]:
    with database.read() as connection:
        row = connection.execute(select(FOLLOWERS)).one()
    return row.position, row.error


def on(url: str, scenario: Callable[[Database], Coroutine[None, None, None]]) -> None:
    database = Database.open(url)
    try:
        asyncio.run(scenario(database))
    finally:
        database.close()


class Running:
    """A follower as a task."""

    def __init__(self, following: Follower) -> None:
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(following.run(self.stopping))

    async def stop(self) -> None:
        self.stopping.set()
        await self.task


def test_it_goes_on_where_it_was(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = MemoryLedger(), Seen()
        first = follower(ledger, database, seen)
        await first.prepare()
        await write(ledger, 5)
        await first.catch_up()
        await write(ledger, 2)
        await follower(ledger, database, seen).catch_up()
        assert (seen.positions, stands(database)) == ([1, 2, 3, 4, 5, 6, 7], (7, None))

    on(database_url, scenario)


def test_what_is_of_other_topics_is_not_read_again_after_a_restart(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = MemoryLedger(), Seen()
        await write(ledger, 3, started=True)
        following = follower(ledger, database, seen)
        await following.prepare()
        await following.catch_up()
        assert (seen.positions, stands(database)) == ([1, 3, 5], (6, None))

    on(database_url, scenario)


def test_a_running_follower_sees_what_comes_and_stores_where_it_stands(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = MemoryLedger(), Seen()
        following = follower(ledger, database, seen)
        await following.prepare()
        running = Running(following)
        await write(ledger, 3)
        await seen.until(3)
        await write(ledger, 3, started=True)
        await seen.until(6)
        await running.stop()
        assert seen.positions == [1, 2, 3, 4, 6, 8]
        assert stands(database)[0] >= 8

    on(database_url, scenario)


def test_whoever_dies_before_the_position_is_stored_handles_the_page_again(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = MemoryLedger(), Seen()
        await write(ledger, 3)

        def dies() -> datetime:
            raise KeyboardInterrupt

        following = follower(ledger, database, seen, page=5, clock=dies)
        await following.prepare()
        with pytest.raises(KeyboardInterrupt):
            await following.catch_up()
        assert stands(database) == (0, None)
        await follower(ledger, database, seen).catch_up()
        assert (seen.positions, stands(database)) == ([1, 2, 3, 1, 2, 3], (3, None))

    on(database_url, scenario)


def test_whoever_was_overtaken_goes_on_from_there(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, slow, quick = MemoryLedger(), Seen(), Seen()
        await write(ledger, 4)
        behind = follower(ledger, database, slow)
        await behind.prepare()
        other = follower(ledger, database, quick)
        handled = await behind._advance()
        await other.catch_up()
        await behind._store()
        await write(ledger, 1)
        await behind.catch_up()
        assert (handled, slow.positions, quick.positions) == (2, [1, 2, 5], [1, 2, 3, 4])
        assert stands(database) == (5, None)

    on(database_url, scenario)


def test_a_handler_that_fails_is_told_of_once_and_asked_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = MemoryLedger(), Seen()
        seen.fails_at = 2
        following = follower(ledger, database, seen, page=1)
        await following.prepare()
        await write(ledger, 3)
        running = Running(following)
        async with asyncio.timeout(30):
            while stands(database) != (1, "ValueError after position 1"):
                seen.more.clear()
                await seen.more.wait()
        for _ in range(2):
            seen.more.clear()
            await seen.more.wait()
        seen.fails_at = None
        await seen.until(3)
        await running.stop()
        assert (seen.positions, stands(database)) == ([1, 2, 3], (3, None))

    with caplog.at_level(logging.WARNING):
        on(database_url, scenario)
    (told,) = caplog.records
    assert "ValueError" in told.getMessage()
    assert "example.com" not in told.getMessage()


class Outage(MemoryLedger):
    """A ledger that is away for its first few readers."""

    away = 3

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        self.away -= 1
        if self.away >= 0:
            raise StoreUnavailable
        return await super().read(after, limit, topics)


def test_an_outage_is_waited_out(sqlite_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen = Outage(), Seen()
        await write(ledger, 2)
        following = follower(ledger, database, seen)
        await following.prepare()
        running = Running(following)
        await seen.until(2)
        await running.stop()
        assert seen.positions == [1, 2]

    on(sqlite_url, scenario)


def test_one_leads_and_another_takes_over(postgres_url: str) -> None:
    async def scenario(database: Database) -> None:
        ledger, seen, other = MemoryLedger(), Seen(), Seen()
        leader = follower(ledger, database, seen)
        await leader.prepare()
        await write(ledger, 1)
        leading = Running(leader)
        await seen.until(1)
        heir = Running(follower(ledger, database, other))
        await write(ledger, 3)
        await seen.until(4)
        leading.task.cancel()
        await asyncio.gather(leading.task, return_exceptions=True)
        before = len(seen.positions)
        await write(ledger, 2)
        async with asyncio.timeout(30):
            while 6 not in other.positions:
                other.more.clear()
                await other.more.wait()
        await heir.stop()
        assert seen.positions[:4] == [1, 2, 3, 4]
        assert before == len(seen.positions)
        assert {5, 6} <= set(other.positions) <= {3, 4, 5, 6}  # the page whose position was not stored comes again

    on(postgres_url, scenario)


@pytest.mark.parametrize("processes", [10])
def test_many_may_create_the_table_at_once(database_url: str, processes: int) -> None:
    async def scenario(_: Database) -> None:
        databases = [Database.open(database_url) for _ in range(processes)]
        await asyncio.gather(*(follower(MemoryLedger(), database, Seen()).prepare() for database in databases))
        for database in databases:
            database.close()

    on(database_url, scenario)


@pytest.mark.parametrize("seed", range(5))
def test_the_suppression_list_does_not_mind_a_feeder_that_dies_anywhere(sqlite_url: str, seed: int) -> None:
    """Each life ends after handling a page, before its position is stored, or in the middle of the handling."""

    async def scenario(database: Database) -> None:
        chance, ledger = Random(seed), MemoryLedger()
        people = [f"{number}@example.com" for number in range(6)]
        for person in people:
            await _misfortune(ledger, chance, person)
        suppressions = Suppressions(ledger, lambda: NOW)
        feed = SuppressionFeeder(ledger, suppressions, lambda: NOW)

        async def mortal(page: Sequence[Recorded]) -> None:
            await feed(page[: chance.randrange(len(page) + 1)])
            if chance.random() < 0.5:
                raise KeyboardInterrupt
            await feed(page)

        following = follower(ledger, database, mortal, page=3, topics=TOPICS)
        await following.prepare()
        while stands(database)[0] < await ledger.position():
            try:
                await follower(ledger, database, mortal, page=3, topics=TOPICS).catch_up()
            except KeyboardInterrupt:
                continue
        for person in people:
            entries = await suppressions.entries("default", person)
            assert [entry.rule for entry in entries] == ["hard_bounce", "complaint"]
        assert (await ledger.read(0, 1000, [e.SuppressionRemoved.TYPE])) == []
        assert len(await ledger.read(0, 1000, [e.SuppressionAdded.TYPE])) == 2 * len(people)

    on(sqlite_url, scenario)


async def _misfortune(ledger: MemoryLedger, chance: Random, person: str) -> None:
    email = queued(person)
    email.conclude(email.start_delivery("main", "default", LEASE, stamp()), taken(email), stamp(), chance=0)
    (id,) = email.standing.recipients
    details = {"bounce_class": "hard", "add_to_suppression": True}
    email.report(RecipientReport(e.EmailRecipientDeliveryFailed, id, "main", NOW, details=details), stamp())
    email.report(RecipientReport(e.EmailRecipientComplained, id, "main", NOW), stamp())
    for event in email.collect_events():
        await ledger.append([event])
