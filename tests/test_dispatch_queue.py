"""The dispatch queue gives each due email to one worker, the most urgent first. On SQL, and in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from application.ports import Claim, DispatchQueue, Recorded, Room, Wanted
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email
from domain.events import Priority
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from projections import dispatch_queue
from tests.memory_queue import MemoryDispatchQueue
from tests.projections.reading import numbered
from tests.samples import NOW, queued, stamp, taken

LEASE = timedelta(seconds=60)
MEMORY = "memory"
Fold = Callable[[Sequence[Recorded]], Awaitable[None]]
Scenario = Callable[[DispatchQueue, Fold], Coroutine[None, None, None]]


@pytest.fixture(params=[MEMORY, "sqlite", "postgresql"])
def kept_in(request: pytest.FixtureRequest) -> str:
    """Where the queue is: the URL of an empty database, or `memory`."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}.get(request.param)
    return str(request.getfixturevalue(fixture)) if fixture else MEMORY


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[DispatchQueue, Fold]]:
    if url == MEMORY:
        queue = MemoryDispatchQueue()
        yield queue, queue.follow
        return
    database = Database.open(url)
    try:
        await database.tell(dispatch_queue.QUEUE.metadata.create_all)

        async def fold(events: Sequence[Recorded]) -> None:
            await database.tell(dispatch_queue.fold, (dispatch_queue.QUEUE,), events)

        yield SqlDispatchQueue(database, Wakeups(url)), fold
    finally:
        database.close()


def on(url: str, scenario: Scenario) -> None:
    async def run() -> None:
        async with opened(url) as (queue, fold):
            await scenario(queue, fold)

    asyncio.run(run())


async def enqueue(fold: Fold, *emails: Email) -> None:
    await fold(numbered([event for email in emails for event in email.collect_events()]))


async def claimed(queue: DispatchQueue, worker: str, limit: int = 100, later: float = 0) -> list[UUID]:
    return [claim.email_id for claim in await claims(queue, worker, limit, later)]


async def claims(
    queue: DispatchQueue, worker: str, limit: int = 100, later: float = 0, room: Room = lambda lane, tenant: 1_000_000
) -> list[Claim]:
    wanted = Wanted(worker, limit, LEASE, tuple(Priority), room)
    return await queue.claim(wanted, NOW + timedelta(seconds=later))


def test_the_urgent_comes_first_then_the_oldest(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        bulk = queued(priority=Priority.BULK, now=NOW - timedelta(hours=1))
        young, old = queued(now=NOW), queued(now=NOW - timedelta(minutes=1))
        critical = queued(priority=Priority.CRITICAL)
        scheduled = queued(send_at=NOW + timedelta(minutes=5))
        await enqueue(fold, bulk, young, old, critical, scheduled)
        assert await claimed(queue, "a", limit=2) == [critical.id, old.id]
        assert await claimed(queue, "b") == [young.id, bulk.id]
        assert await claimed(queue, "b") == []
        assert await queue.next_due(NOW, tuple(Priority)) == NOW + LEASE
        assert await queue.next_due(NOW + LEASE, tuple(Priority)) == NOW + timedelta(minutes=5)
        assert (await claimed(queue, "c", later=301))[-1] == bulk.id  # leases ran out by then

    on(kept_in, scenario)


def test_only_the_holder_extends_and_releases(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        email = queued()
        await enqueue(fold, email)
        assert await claimed(queue, "a") == [email.id]
        await queue.put_back("b", [email.id], "")
        assert await claimed(queue, "b") == []
        assert await queue.extend("a", [email.id], NOW + 3 * LEASE) == [email.id]
        assert await queue.extend("b", [email.id], NOW + 3 * LEASE) == []
        assert await claimed(queue, "b", later=100) == []
        await queue.put_back("a", [email.id], "")
        assert await claimed(queue, "b") == [email.id]

    on(kept_in, scenario)


def test_concurrent_workers_never_hold_the_same_email(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        emails = [queued(priority=priority) for priority in Priority for _ in range(100)]
        await enqueue(fold, *emails)
        held: list[UUID] = []

        async def work(worker: str) -> None:
            while len(held) < len(emails):
                held.extend(await claimed(queue, worker, limit=7))

        await asyncio.gather(*(work(f"worker {number}") for number in range(6)))
        assert sorted(held) == sorted(email.id for email in emails)

    on(kept_in, scenario)


def test_an_empty_queue_has_nothing_due(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, _: Fold) -> None:
        assert await claimed(queue, "a") == []
        assert await queue.next_due(NOW, tuple(Priority)) is None
        await queue.extend("a", [], NOW)
        await queue.put_back("a", [], "")
        await queue.wait(0.001)

    on(kept_in, scenario)


def test_every_tenant_gets_its_share(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        many = [queued(now=NOW - timedelta(hours=1), tenant="big") for _ in range(50)]
        few = [queued(tenant=tenant) for tenant in ("small", "tiny")]
        await enqueue(fold, *many, *few)
        found = await claims(queue, "a", limit=6)
        assert {email.id for email in few} <= {claim.email_id for claim in found}
        assert [claim.tenant for claim in found].count("big") == 4

    on(kept_in, scenario)


def test_a_tenant_that_waits_in_many_lanes_gets_no_more_than_one_that_waits_in_one(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        many = [queued(now=NOW - timedelta(hours=1), tenant="big") for _ in range(40)]
        few = [queued(tenant="small") for _ in range(10)]
        await enqueue(fold, *many, *few)
        await claimed(queue, "a")
        for number, email in enumerate(many):
            await queue.put_back("a", [email.id], f"domain:{number}.example")
        await queue.put_back("a", [email.id for email in few], "")
        found = await claims(queue, "a", limit=8)
        assert [claim.tenant for claim in found].count("small") == 4
        assert len(await claims(queue, "a", limit=100)) == 42

    on(kept_in, scenario)


def test_a_lane_in_which_nobody_is_due_is_not_looked_at(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        due, later = queued(), queued()
        await enqueue(fold, due, later)
        await claimed(queue, "a")
        await queue.put_back("a", [due.id], "domain:a.example")
        await queue.put_back("a", [later.id], "domain:b.example", NOW + timedelta(hours=1))
        asked: list[str] = []

        def room(lane: str, tenant: str) -> int:
            asked.append(lane)
            return 9

        found = await claims(queue, "a", room=room)
        assert [claim.email_id for claim in found] == [due.id]
        assert asked == ["domain:a.example"]

    on(kept_in, scenario)


def test_never_more_than_was_asked_for(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        expiring = [queued(expires_at=NOW + timedelta(seconds=10)) for _ in range(5)]
        others = [queued(tenant=tenant) for tenant in ("a", "b", "c") for _ in range(5)]
        await enqueue(fold, *expiring, *others)
        await claimed(queue, "a")
        await queue.put_back("a", [email.id for email in expiring], "route:main")
        await queue.put_back("a", [email.id for email in others], "")
        assert len(await claimed(queue, "a", limit=4, later=10)) == 4
        assert len(await claimed(queue, "a", limit=7, later=10)) == 7

    on(kept_in, scenario)


def test_what_waits_in_a_closed_lane_is_left_there_until_it_opens(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        emails = [queued() for _ in range(5)]
        await enqueue(fold, *emails)
        assert len(await claimed(queue, "a")) == 5
        await queue.put_back("a", [email.id for email in emails], "route:main")
        assert await claims(queue, "a", room=lambda lane, tenant: 0 if lane == "route:main" else 9) == []
        found = await claims(queue, "a", room=lambda lane, tenant: 2 if lane == "route:main" else 9)
        assert [claim.lane for claim in found] == ["route:main"] * 2
        assert len(await claimed(queue, "b")) == 3

    on(kept_in, scenario)


def test_what_expires_in_a_closed_lane_is_claimed_all_the_same(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        expiring, other = queued(expires_at=NOW + timedelta(seconds=10)), queued()
        await enqueue(fold, expiring, other)
        await claimed(queue, "a")
        await queue.put_back("a", [expiring.id, other.id], "route:main")
        closed: Room = lambda lane, tenant: 0  # noqa: E731
        assert await claims(queue, "a", later=9, room=closed) == []
        assert [claim.email_id for claim in await claims(queue, "a", later=10, room=closed)] == [expiring.id]

    on(kept_in, scenario)


def test_what_was_put_back_until_later_is_not_due_before(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        email = queued()
        await enqueue(fold, email)
        await claimed(queue, "a")
        await queue.put_back("a", [email.id], "", NOW + timedelta(seconds=30))
        assert await claimed(queue, "b", later=29) == []
        assert await queue.next_due(NOW, tuple(Priority)) == NOW + timedelta(seconds=30)
        assert await claimed(queue, "b", later=30) == [email.id]

    on(kept_in, scenario)


def test_an_outcome_ends_the_claim_and_an_intent_does_not(kept_in: str) -> None:
    async def scenario(queue: DispatchQueue, fold: Fold) -> None:
        email = queued()
        await enqueue(fold, email)
        assert await claimed(queue, "a") == [email.id]
        attempt = email.start_delivery("main", "default", LEASE, stamp(NOW))
        await enqueue(fold, email)
        assert await queue.extend("a", [email.id], NOW + 2 * LEASE) == [email.id]
        busy = Answer(error_class=ErrorClass.TRANSIENT, retry_after=timedelta(minutes=5))
        email.conclude(attempt, busy, stamp(NOW), chance=0.0)
        await enqueue(fold, email)
        assert await queue.extend("a", [email.id], NOW + 3 * LEASE) == []
        assert await queue.next_due(NOW, tuple(Priority)) == NOW + timedelta(minutes=5)
        attempt = email.start_delivery("main", "default", LEASE, stamp(NOW))
        email.conclude(attempt, taken(email), stamp(NOW), chance=0.0)
        await enqueue(fold, email)
        assert await queue.next_due(NOW, tuple(Priority)) is None

    on(kept_in, scenario)
