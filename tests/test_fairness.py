"""Behind a provider that takes only so much, nobody waits for another tenant's queue, nor critical mail for bulk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from application.delivery import Delivery
from application.dispatcher import Dispatcher, Pace
from application.limits import LimitSettings, Quotas
from application.ports import OutgoingMessage
from domain.answer import Answer
from domain.events import Priority
from infrastructure.bootstrap import PROJECTIONS, now
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from infrastructure.ledger.ledger import EventLedger
from infrastructure.limits import SqlLimits
from infrastructure.projection_runner import ProjectionRunner
from tests.ledger.conftest import open_store
from tests.providers_fake import ScriptedProvider, accepted
from tests.samples import queued, stored_content
from tests.tools import tools

LEASE, POLL, GIVE_UP = timedelta(seconds=60), timedelta(seconds=0.2), 60.0
MANY = 1000  # emails of each priority that a tenant has waiting
FEW = 60  # that may go before one that should not have to wait for them


class Process:
    """One process's worth of workers, wired as bootstrap does it, before a provider with limits."""

    def __init__(self, url: str, provider: ScriptedProvider, limits: dict[str, Any]) -> None:
        self.database = Database.open(url)
        self.wakeups = Wakeups(url)
        self.ledger = EventLedger(open_store(url), self.wakeups.events)
        self.runner = ProjectionRunner(self.ledger, self.database, PROJECTIONS, self.wakeups, now)
        self.queue = SqlDispatchQueue(self.database, self.wakeups)
        self.limits = SqlLimits(self.database)
        self._quotas = Quotas(LimitSettings.model_validate(limits))
        self._provider = provider

    def dispatcher(self, name: str, *priorities: Priority) -> Dispatcher:
        given = {"quotas": self._quotas, "limits": self.limits, "clock": now, "lease": LEASE}
        delivery = Delivery(tools(self.ledger, self._provider, **given))
        pace = Pace(16, LEASE, POLL, timedelta(seconds=5))
        return Dispatcher(name, self.queue, self.limits, delivery, now, pace, priorities)

    async def accept(self, count: int, tenant: str, priority: Priority = Priority.NORMAL) -> list[UUID]:
        emails = [queued(now=now(), tenant=tenant, priority=priority) for _ in range(count)]
        await asyncio.gather(*(self.ledger.append(e.collect_events(), [stored_content(e)]) for e in emails))
        return [email.id for email in emails]


@asynccontextmanager
async def working(url: str, provider: ScriptedProvider, limits: dict[str, Any]) -> AsyncIterator[Process]:
    process, stop, projected = Process(url, provider, limits), asyncio.Event(), asyncio.Event()
    await process.ledger.position()
    await process.runner.prepare()
    await process.limits.prepare()
    process.wakeups.start()
    projecting = asyncio.create_task(process.runner.run(projected))
    workers = [
        process.dispatcher("urgent", Priority.CRITICAL),
        process.dispatcher("others", Priority.NORMAL, Priority.BULK),
    ]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    try:
        yield process
    finally:
        stop.set()
        await asyncio.gather(*running)
        projected.set()
        await projecting
        await process.wakeups.stop()
        await process.limits.close()
        await process.ledger.close()
        process.database.close()


class Counter(ScriptedProvider):
    """Takes everything, and lets a test wait until it has taken so much."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self._taken = asyncio.Condition()
        self.under_way = self.most = 0

    async def _take(self, message: OutgoingMessage) -> Answer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.002)
        self.under_way -= 1
        async with self._taken:
            self._taken.notify_all()
        return accepted(message)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(GIVE_UP), self._taken:
            await self._taken.wait_for(true)

    def order(self) -> list[UUID]:
        return [message.email.originator_id for message in self.sent]


async def overtaken(process: Process, provider: Counter, tenant: str, priority: Priority) -> int:
    """How many others the provider takes before an email that has just come to the end of the queue."""
    (late,) = await process.accept(1, tenant, priority)
    await process.runner.wait_for(await process.ledger.position(), GIVE_UP)
    before = len(provider.sent)
    await provider.until(lambda: late in provider.order())
    return provider.order().index(late) - before


async def behind_a_crowd(url: str, limits: dict[str, Any]) -> None:
    provider = Counter()
    async with working(url, provider, {"providers": {"scripted": limits}}) as process:
        for priority in (Priority.BULK, Priority.NORMAL):
            await process.accept(MANY, "crowd", priority)
        await process.runner.wait_for(await process.ledger.position(), GIVE_UP)
        assert await overtaken(process, provider, "shop", Priority.NORMAL) <= FEW
        assert await overtaken(process, provider, "crowd", Priority.CRITICAL) <= FEW
        assert await overtaken(process, provider, "shop", Priority.CRITICAL) <= FEW
        assert await overtaken(process, provider, "shop", Priority.NORMAL) <= FEW
        assert len(provider.sent) < MANY  # the crowd is still there


def test_behind_a_rate_a_crowd_delays_neither_another_tenant_nor_critical_mail(database_url: str) -> None:
    asyncio.run(behind_a_crowd(database_url, {"rate": "100/second"}))


def test_behind_a_few_places_a_crowd_delays_neither_another_tenant_nor_critical_mail(postgres_url: str) -> None:
    asyncio.run(behind_a_crowd(postgres_url, {"concurrency": 3}))


def test_never_more_at_once_than_the_provider_is_to_have(sqlite_url: str) -> None:
    async def scenario() -> None:
        provider = Counter()
        async with working(sqlite_url, provider, {"providers": {"scripted": {"concurrency": 3}}}) as process:
            await process.accept(12, "crowd")
            await provider.until(lambda: len(provider.sent) == 12)
            assert provider.most == 2  # a tenth, or at least one, is for critical mail

    asyncio.run(scenario())
