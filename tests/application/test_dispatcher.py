"""The process manager on a real ledger, queue and read models: claims, concurrency, draining, takeover."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.delivery import Delivery
from application.dispatcher import Dispatcher, Pace
from application.ports import OutgoingMessage
from domain.answer import Answer
from domain.email import Email
from domain.events import EmailDeliveryStarted
from domain.status import EmailStatus
from infrastructure.bootstrap import PROJECTIONS, now
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from infrastructure.ledger.ledger import EventLedger
from infrastructure.projection_runner import ProjectionRunner
from tests.fakes import FreeLimits, MemoryLedger
from tests.ledger.conftest import open_store
from tests.memory_queue import MemoryDispatchQueue
from tests.providers_fake import ScriptedProvider, accepted
from tests.samples import queued, stored_content
from tests.tools import tools

GIVE_UP = 60.0


class Floor:
    """A ledger, its read models kept up to date, and as many dispatchers as a test starts."""

    def __init__(self, url: str) -> None:
        self.database = Database.open(url)
        self.wakeups = Wakeups(url)
        self.ledger = EventLedger(open_store(url), self.wakeups.events)
        self.queue = SqlDispatchQueue(self.database, self.wakeups)
        self.runner = ProjectionRunner(self.ledger, self.database, PROJECTIONS, self.wakeups, now)
        self._stop = asyncio.Event()
        self._projecting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Floor":
        await self.ledger.position()
        await self.runner.prepare()
        self.wakeups.start()
        self._projecting = asyncio.create_task(self.runner.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._projecting:
            await self._projecting
        await self.wakeups.stop()
        await self.ledger.close()
        self.database.close()

    def dispatcher(
        self, name: str, provider: ScriptedProvider, lease: float = 60, concurrency: int = 16, drain: float = 30
    ) -> Dispatcher:
        span = timedelta(seconds=lease)
        pace = Pace(concurrency, span, timedelta(seconds=0.2), timedelta(seconds=drain))
        delivery = Delivery(tools(self.ledger, provider, clock=now, lease=span))
        return Dispatcher(name, self.queue, FreeLimits(), delivery, now, pace)

    async def accept(self, count: int) -> list[UUID]:
        emails = [queued(now=datetime.now(UTC)) for _ in range(count)]
        await asyncio.gather(*(self.ledger.append(e.collect_events(), [stored_content(e)]) for e in emails))
        return [email.id for email in emails]

    async def until(self, ids: list[UUID], *statuses: EmailStatus) -> None:
        async with asyncio.timeout(GIVE_UP):
            while not all([await self.status(id) in statuses for id in ids]):
                await self.ledger.wait(await self.ledger.position(), 0.2)

    async def status(self, id: UUID) -> EmailStatus:
        email = Email.of(recorded.event for recorded in await self.ledger.load(id))
        assert email is not None
        return email.status


@pytest.fixture
def play(database_url: str) -> Callable[[Callable[[Floor], Coroutine[Any, Any, None]]], None]:
    def run(scenario: Callable[[Floor], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with Floor(database_url) as floor:
                await scenario(floor)

        asyncio.run(main())

    return run


Play = Callable[[Callable[[Floor], Coroutine[Any, Any, None]]], None]


def test_everything_accepted_goes_out_once(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        provider, stop = ScriptedProvider(accepted), asyncio.Event()
        running = asyncio.create_task(floor.dispatcher("one", provider).run(stop))
        ids = await floor.accept(100)
        await floor.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await running
        assert sorted(m.email.originator_id for m in provider.sent) == sorted(ids)

    play(scenario)


def test_the_intents_of_a_batch_are_all_recorded_before_its_first_call(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        ids = await floor.accept(16)
        assert await floor.runner.wait_for(await floor.ledger.position(), GIVE_UP)
        counts: list[int] = []

        async def look(message: OutgoingMessage) -> Answer:
            log = [recorded.event for recorded in await floor.ledger.read(0, 1000)]
            counts.append(sum(isinstance(event, EmailDeliveryStarted) for event in log))
            return accepted(message)

        stop = asyncio.Event()
        running = asyncio.create_task(floor.dispatcher("one", ScriptedProvider(look)).run(stop))
        await floor.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await running
        assert counts == [16] * 16

    play(scenario)


def test_never_more_in_flight_than_allowed(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        in_flight = most = 0

        async def count(message: OutgoingMessage) -> Answer:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0.005)
            in_flight -= 1
            return accepted(message)

        stop = asyncio.Event()
        running = asyncio.create_task(floor.dispatcher("one", ScriptedProvider(count), concurrency=4).run(stop))
        ids = await floor.accept(40)
        await floor.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await running
        assert most == 4

    play(scenario)


def test_a_graceful_stop_finishes_what_is_in_flight(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        called, answer = asyncio.Event(), asyncio.Event()

        async def slow(message: OutgoingMessage) -> Answer:
            called.set()
            await answer.wait()
            return accepted(message)

        stop = asyncio.Event()
        running = asyncio.create_task(floor.dispatcher("one", ScriptedProvider(slow)).run(stop))
        (id,) = await floor.accept(1)
        await called.wait()
        stop.set()
        answer.set()
        await running
        assert await floor.status(id) is EmailStatus.DISPATCHED

    play(scenario)


@pytest.mark.parametrize("concurrency", [1, 16], ids=["busy", "with room to spare"])
def test_what_outlasts_the_drain_is_left_in_doubt_and_taken_over(play: Play, concurrency: int) -> None:
    async def scenario(floor: Floor) -> None:
        called = asyncio.Event()

        async def for_ever(message: OutgoingMessage) -> Answer:
            called.set()
            await asyncio.Event().wait()
            return accepted(message)

        stop = asyncio.Event()
        first = floor.dispatcher("one", ScriptedProvider(for_ever), lease=0.6, concurrency=concurrency, drain=0.05)
        running = asyncio.create_task(first.run(stop))
        (id,) = await floor.accept(1)
        await called.wait()
        stop.set()
        await running
        assert await floor.status(id) is EmailStatus.SENDING
        stop_other = asyncio.Event()
        other = asyncio.create_task(floor.dispatcher("two", ScriptedProvider(accepted), lease=0.6).run(stop_other))
        await floor.until([id], EmailStatus.UNCONFIRMED)
        stop_other.set()
        await other

    play(scenario)


def test_a_slow_provider_keeps_its_lease(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        async def slow(message: OutgoingMessage) -> Answer:
            await asyncio.sleep(2)  # several leases long
            return accepted(message)

        provider, stop = ScriptedProvider(slow), asyncio.Event()
        workers = [floor.dispatcher(name, provider, lease=0.6) for name in ("one", "two")]
        running = [asyncio.create_task(worker.run(stop)) for worker in workers]
        ids = await floor.accept(1)
        await floor.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await asyncio.gather(*running)
        history = [recorded.event.TYPE for recorded in await floor.ledger.load(ids[0])]
        assert history == ["email.queued", "email.delivery_started", "email.dispatched"]

    play(scenario)


class StumblingQueue(MemoryDispatchQueue):
    """Fails, the first time it is asked, in a way that nobody has thought of."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("a surprise")
        return await super().extend(worker, email_ids, until)


def test_what_is_under_way_is_held_on_to_though_that_once_failed() -> None:
    async def scenario() -> None:
        ledger, queue, stop = MemoryLedger(), StumblingQueue(), asyncio.Event()
        email = queued(now=datetime.now(UTC))
        await ledger.append(email.collect_events(), [stored_content(email)])
        queue.fold(await ledger.read(0, 10))
        held: list[bool] = []

        async def deliver(id: UUID, still_ours: Callable[[], bool]) -> None:
            async with asyncio.timeout(GIVE_UP):
                while queue.asked < 5:
                    await asyncio.sleep(0.01)
            held.append(still_ours())
            stop.set()

        pace = Pace(1, timedelta(seconds=0.3), timedelta(seconds=0.05), timedelta(seconds=30))
        await Dispatcher("one", queue, FreeLimits(), deliver, now, pace).run(stop)
        assert held == [True]

    asyncio.run(scenario())


def test_workers_share_a_queue_without_sending_anything_twice(play: Play) -> None:
    async def scenario(floor: Floor) -> None:
        provider, stop = ScriptedProvider(accepted), asyncio.Event()
        running = [asyncio.create_task(floor.dispatcher(f"w{n}", provider).run(stop)) for n in range(3)]
        ids = await floor.accept(150)
        await floor.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await asyncio.gather(*running)
        assert sorted(m.email.originator_id for m in provider.sent) == sorted(ids)

    play(scenario)
