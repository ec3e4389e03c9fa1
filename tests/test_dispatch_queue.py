"""The dispatch queue gives each due email to one worker, the most urgent first."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from application.ports import DispatchQueue, Wanted
from domain.email import Email
from domain.events import Priority
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from projections import dispatch_queue
from tests.projections.reading import numbered
from tests.samples import NOW, queued

LEASE = timedelta(seconds=60)
Scenario = Callable[[DispatchQueue, Database], Coroutine[None, None, None]]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[DispatchQueue, Database]]:
    database = Database.open(url)
    try:
        await database.tell(dispatch_queue.QUEUE.metadata.create_all)
        yield SqlDispatchQueue(database, Wakeups(url)), database
    finally:
        database.close()


def on(url: str, scenario: Scenario) -> None:
    async def run() -> None:
        async with opened(url) as (queue, database):
            await scenario(queue, database)

    asyncio.run(run())


async def enqueue(database: Database, *emails: Email) -> None:
    log = numbered([event for email in emails for event in email.collect_events()])
    await database.tell(dispatch_queue.fold, (dispatch_queue.QUEUE,), log)


async def claimed(queue: DispatchQueue, worker: str, limit: int = 100, later: float = 0) -> list[UUID]:
    wanted = Wanted(worker, limit, LEASE, tuple(Priority), lambda lane, tenant: 1_000_000)
    return [claim.email_id for claim in await queue.claim(wanted, NOW + timedelta(seconds=later))]


def test_the_urgent_comes_first_then_the_oldest(database_url: str) -> None:
    async def scenario(queue: DispatchQueue, database: Database) -> None:
        bulk = queued(priority=Priority.BULK, now=NOW - timedelta(hours=1))
        young, old = queued(now=NOW), queued(now=NOW - timedelta(minutes=1))
        critical = queued(priority=Priority.CRITICAL)
        scheduled = queued(send_at=NOW + timedelta(minutes=5))
        await enqueue(database, bulk, young, old, critical, scheduled)
        assert await claimed(queue, "a", limit=2) == [critical.id, old.id]
        assert await claimed(queue, "b") == [young.id, bulk.id]
        assert await claimed(queue, "b") == []
        assert await queue.next_due(NOW, tuple(Priority)) == NOW + LEASE
        assert await queue.next_due(NOW + LEASE, tuple(Priority)) == NOW + timedelta(minutes=5)
        assert (await claimed(queue, "c", later=301))[-1] == bulk.id  # leases ran out by then

    on(database_url, scenario)


def test_only_the_holder_extends_and_releases(database_url: str) -> None:
    async def scenario(queue: DispatchQueue, database: Database) -> None:
        email = queued()
        await enqueue(database, email)
        assert await claimed(queue, "a") == [email.id]
        await queue.put_back("b", [email.id], "")
        assert await claimed(queue, "b") == []
        assert await queue.extend("a", [email.id], NOW + 3 * LEASE) == [email.id]
        assert await queue.extend("b", [email.id], NOW + 3 * LEASE) == []
        assert await claimed(queue, "b", later=100) == []
        await queue.put_back("a", [email.id], "")
        assert await claimed(queue, "b") == [email.id]

    on(database_url, scenario)


def test_concurrent_workers_never_hold_the_same_email(database_url: str) -> None:
    async def scenario(queue: DispatchQueue, database: Database) -> None:
        emails = [queued(priority=priority) for priority in Priority for _ in range(100)]
        await enqueue(database, *emails)
        held: list[UUID] = []

        async def work(worker: str) -> None:
            while len(held) < len(emails):
                held.extend(await claimed(queue, worker, limit=7))

        await asyncio.gather(*(work(f"worker {number}") for number in range(6)))
        assert sorted(held) == sorted(email.id for email in emails)

    on(database_url, scenario)


def test_an_empty_queue_has_nothing_due(database_url: str) -> None:
    async def scenario(queue: DispatchQueue, _: Database) -> None:
        assert await claimed(queue, "a") == []
        assert await queue.next_due(NOW, tuple(Priority)) is None
        await queue.extend("a", [], NOW)
        await queue.put_back("a", [], "")
        await queue.wait(0.001)

    on(database_url, scenario)
