"""What is used up of limits: one contract for the tables, on both databases, and for the stand-in in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from application.ports import Limits, Rate, Refusal, Want
from application.rates import PARTS
from infrastructure import limits as tables
from infrastructure.database.engines import Database
from infrastructure.limits import SqlLimits
from tests.fakes import FakeLimits
from tests.samples import NOW

SECOND, LEASE = timedelta(seconds=1), timedelta(seconds=60)
FIVE = Want("provider:main", rate=Rate(5, SECOND))
TWO_SLOTS = Want("provider:main", slots=2)
Scenario = Callable[[Limits], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlLimits]:
    """As one process has them."""
    database = Database.open(url)
    limits = SqlLimits(database)
    await limits.prepare()
    try:
        yield limits
    finally:
        await limits.close()
        database.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    async def on(scenario: Scenario) -> None:
        if request.param == "memory":
            return await scenario(FakeLimits())
        name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
        async with opened(request.getfixturevalue(name)) as limits:
            await scenario(limits)

    return lambda scenario: asyncio.run(on(scenario))


Play = Callable[[Scenario], None]


async def take(limits: Limits, *wants: Want, at: datetime = NOW, holder: UUID | None = None) -> Refusal | None:
    return await limits.take(holder or uuid4(), wants, at, at + LEASE)


def test_a_rate_gives_what_it_has_and_says_when_there_is_more(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        answers = await asyncio.gather(*(take(limits, FIVE) for _ in range(8)))
        assert answers[:5] == [None] * 5
        assert {(refusal.key, refusal.until) for refusal in answers if refusal} == {
            ("provider:main", NOW + SECOND * (PARTS + 1) / PARTS)
        }
        later = answers[-1].until if answers[-1] else NOW
        assert await take(limits, FIVE, at=later - SECOND / PARTS) is not None
        assert await take(limits, FIVE, at=later) is None

    play(scenario)


def test_two_rates_of_a_key_both_count(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        day = Want("provider:main", rate=Rate(7, timedelta(days=1)))
        assert [await take(limits, FIVE, day) for _ in range(5)] == [None] * 5
        refusal = await take(limits, FIVE, day, at=NOW + 2 * SECOND)
        assert refusal is None
        assert await take(limits, FIVE, day, at=NOW + 2 * SECOND) is None
        refusal = await take(limits, FIVE, day, at=NOW + 2 * SECOND)
        assert refusal is not None
        assert refusal.until > NOW + timedelta(days=1)

    play(scenario)


def test_of_one_rate_some_may_take_more_than_others(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        all_of_it = Want("provider:main", rate=Rate(6, SECOND))
        assert [await take(limits, FIVE) for _ in range(5)] == [None] * 5
        assert await take(limits, FIVE) is not None
        assert await take(limits, all_of_it) is None
        assert await take(limits, all_of_it) is not None

    play(scenario)


def test_all_or_nothing_is_used_up(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        shop = Want("tenant:shop", rate=Rate(1, timedelta(days=1)))
        assert await take(limits, FIVE, shop, TWO_SLOTS) is None
        for _ in range(9):
            refusal = await take(limits, FIVE, shop, TWO_SLOTS)
            assert refusal is not None
            assert refusal.key == "tenant:shop"
        assert [await take(limits, FIVE) for _ in range(4)] == [None] * 4
        assert await take(limits, TWO_SLOTS) is None

    play(scenario)


def test_more_than_a_rate_ever_has_room_for_is_refused_for_ever(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        many = Want("tenant:shop", 6, Rate(5, SECOND))
        refusal = await take(limits, many)
        assert refusal == Refusal("tenant:shop", NOW + SECOND)
        assert await take(limits, many, at=NOW + timedelta(days=1)) is not None

    play(scenario)


def test_slots_are_given_back_and_a_holder_keeps_its_own(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        ada, bob, eve = uuid4(), uuid4(), uuid4()
        assert await take(limits, TWO_SLOTS, holder=ada) is None
        assert await take(limits, TWO_SLOTS, holder=bob) is None
        refusal = await take(limits, TWO_SLOTS, holder=eve)
        assert refusal is not None
        assert NOW < refusal.until < NOW + SECOND  # somebody may be done with it at any moment
        assert await take(limits, TWO_SLOTS, holder=ada) is None
        await limits.give_back(eve)
        assert await take(limits, TWO_SLOTS, holder=eve) is not None
        await limits.give_back(ada)
        await limits.give_back(ada)
        assert await take(limits, TWO_SLOTS, holder=eve) is None
        assert await take(limits, TWO_SLOTS, holder=ada) is not None

    play(scenario)


def test_the_slots_of_a_holder_that_crashed_are_free_when_its_time_is_up(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        crashed, alive, third, fourth = uuid4(), uuid4(), uuid4(), uuid4()
        assert await take(limits, TWO_SLOTS, holder=crashed) is None
        assert await take(limits, TWO_SLOTS, holder=alive) is None
        await limits.keep([alive], NOW + 2 * LEASE)
        assert await take(limits, TWO_SLOTS, holder=third, at=NOW + LEASE - SECOND) is not None
        assert await take(limits, TWO_SLOTS, holder=third, at=NOW + LEASE) is None
        assert await take(limits, TWO_SLOTS, holder=fourth, at=NOW + LEASE) is not None
        await limits.keep([crashed], NOW + 9 * LEASE)  # too late: it is somebody else's
        assert await take(limits, TWO_SLOTS, holder=fourth, at=NOW + 2 * LEASE) is None

    play(scenario)


def test_what_is_kept_is_never_kept_for_less_long(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        ada = uuid4()
        assert await take(limits, Want("probe:main", slots=1), holder=ada) is None
        await limits.keep([ada], NOW + SECOND)
        assert await take(limits, Want("probe:main", slots=1), at=NOW + 2 * SECOND) is not None

    play(scenario)


def test_a_pause_refuses_everybody_its_key_and_is_never_shortened(play: Play) -> None:
    async def scenario(limits: Limits) -> None:
        plain = Want("provider:main")
        assert await take(limits, plain) is None
        await limits.pause("provider:main", NOW + LEASE)
        await limits.pause("provider:main", NOW + SECOND)
        assert await take(limits, plain) == Refusal("provider:main", NOW + LEASE)
        assert await take(limits, FIVE, TWO_SLOTS) == Refusal("provider:main", NOW + LEASE)
        assert await take(limits, Want("provider:backup")) is None
        assert await take(limits, plain, at=NOW + LEASE) is None
        assert [await take(limits, FIVE, at=NOW + LEASE) for _ in range(5)] == [None] * 5  # a refusal used up nothing

    play(scenario)


def test_other_processes_hear_of_a_pause_within_a_second(database_url: str) -> None:
    async def scenario() -> None:
        async with opened(database_url) as one, opened(database_url) as other:
            assert await take(other, Want("provider:main")) is None
            await one.pause("provider:main", NOW + LEASE)
            assert await take(other, Want("provider:main"), at=NOW + SECOND) is not None

    asyncio.run(scenario())


def test_where_nothing_is_limited_the_database_is_not_asked(sqlite_url: str) -> None:
    async def scenario() -> None:
        database = Database.open(sqlite_url)
        limits, ada = SqlLimits(database), uuid4()
        await limits.prepare()
        assert await take(limits, Want("provider:main"), holder=ada) is None
        database.close()  # whatever asked it now would fail
        for milliseconds in range(1000):
            assert await take(limits, Want("provider:main"), at=NOW + milliseconds * SECOND / 1000, holder=ada) is None
        await limits.keep([ada], NOW + LEASE)
        await limits.give_back(ada)
        await limits.close()

    asyncio.run(scenario())


def test_processes_together_never_take_more_than_there_is(database_url: str) -> None:
    async def scenario() -> None:
        async with opened(database_url) as one, opened(database_url) as other:
            shop = Want("tenant:shop", rate=Rate(90, timedelta(days=1)))
            wants = [Want("provider:main", rate=Rate(70, SECOND)), shop, Want("domain:x", slots=40)]
            takes = (take(limits, *wants[n % 3 :], *wants[: n % 3]) for n in range(100) for limits in (one, other))
            answers = await asyncio.gather(*takes)
            assert answers.count(None) == 40
            assert await take(one, *wants[:2]) is None

    asyncio.run(scenario())


def test_while_time_goes_by_processes_together_keep_to_a_rate(database_url: str) -> None:
    period, end = timedelta(seconds=0.2), timedelta(seconds=0.9)
    want = Want("provider:main", rate=Rate(10, period))
    late = [timedelta(0)]  # how old a time was when it was settled: what came before it may be forgotten by then

    async def work(limits: SqlLimits, begun: datetime, taken: list[datetime]) -> None:
        while (now := datetime.now(UTC)) < begun + end:
            if (refusal := await take(limits, want, at=now)) is None:
                taken.append(now)
                late.append(datetime.now(UTC) - now)
            else:
                await asyncio.sleep(max(0.0, (refusal.until - datetime.now(UTC)).total_seconds()))

    async def scenario() -> None:
        async with opened(database_url) as one, opened(database_url) as other:
            begun, taken = datetime.now(UTC), list[datetime]()
            await asyncio.gather(*(work(limits, begun, taken) for limits in (one, other) * 8))
            sure = period - max(late)
            assert all(sum(first <= at < first + sure for at in taken) <= 10 for first in taken)
            assert len(taken) > 10  # it goes on

    asyncio.run(scenario())


def test_processes_that_take_and_give_back_all_at_once_never_wait_in_a_circle(postgres_url: str) -> None:
    async def work(limits: SqlLimits, keys: list[str], under_way: dict[str, int], most: dict[str, int]) -> int:
        gone = 0
        for turn in range(30):
            holder, mine = uuid4(), [keys[turn % 3], keys[(turn + 1) % 3]]
            if await take(limits, *(Want(key, slots=3) for key in mine), holder=holder) is None:
                for key in mine:
                    under_way[key] += 1
                    most[key] = max(most[key], under_way[key])
                await limits.keep([holder], NOW + 2 * LEASE)
                for key in mine:
                    under_way[key] -= 1
                await limits.give_back(holder)
                gone += 1
        return gone

    async def scenario() -> None:
        async with opened(postgres_url) as one, opened(postgres_url) as other, opened(postgres_url) as third:
            keys = ["a", "b", "c"]
            under_way, most = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
            workers = [
                work(limits, keys[n % 3 :] + keys[: n % 3], under_way, most)
                for n, limits in enumerate((one, other, third) * 3)
            ]
            assert sum(await asyncio.gather(*workers)) > 0
            assert max(most.values()) <= 3
            assert [await take(one, Want(key, slots=1)) for key in keys] == [None] * 3  # nobody left any behind

    asyncio.run(scenario())


def test_what_no_longer_counts_is_deleted(database_url: str) -> None:
    async def rows(limits: SqlLimits) -> int:
        counts = [select(func.count()).select_from(table) for table in tables._META.sorted_tables]
        return sum([int(await limits._database.ask(lambda c, q=q: c.scalar(q) or 0)) for q in counts])  # type: ignore[misc]

    async def scenario() -> None:
        async with opened(database_url) as limits:
            for n in range(20):
                await take(limits, Want(f"domain:{n}", rate=Rate(1, SECOND)), Want(f"provider:{n}", slots=1))
            await limits.pause("provider:1", NOW + LEASE)
            await take(limits, FIVE, at=NOW + SECOND)
            assert await rows(limits) == 1 + 20 + 20 + 20 + 1
            await take(limits, FIVE, at=NOW + timedelta(hours=1))
            assert await rows(limits) == 1

    asyncio.run(scenario())
