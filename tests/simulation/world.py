"""A whole Postledger in miniature, and everything that may happen to it, by one clock that is turned by hand."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from application.deciding import decide
from application.delivery import Delivery, Tools
from application.dispatcher import Dispatcher, Pace
from application.errors import ApplicationError
from application.limits import Quotas
from application.ports import ProviderStates
from application.provider_watch import ProviderWatch
from application.providers import Providers
from domain.email import Email
from domain.errors import DomainError
from domain.events import Event, Priority
from domain.provider import Provider
from domain.status import EmailStatus
from tests.fakes import FakeSuppressions
from tests.providers_fake import MemoryBlobs
from tests.samples import NOW, queued, stamp, stored_content
from tests.simulation.bounds import check_bounds
from tests.simulation.laws import Laws
from tests.simulation.providers import SimulatedProvider
from tests.simulation.setting import BREAKER, LEASE, LIMITS, PROVIDERS
from tests.simulation.stores import SimulatedLedger, SimulatedLimits, SimulatedQueue, SimulatedStates, Weather
from tests.simulation.virtual_time import VirtualLoop
from tests.simulation.workers import Worker, task_factory
from tests.tools import through

_WAITING = {EmailStatus.SCHEDULED, EmailStatus.QUEUED, EmailStatus.DEFERRED, EmailStatus.SENDING}


class World:
    """Everything is in here; nothing in here reaches outside."""

    def __init__(self, seed: int = 0) -> None:
        self.loop = VirtualLoop()
        self.loop.set_task_factory(task_factory)  # type: ignore[arg-type]  # as the standard library calls it
        self.chance = Random(seed)
        self.shift = timedelta(0)
        self.weather = Weather(self.chance, self.loop.time)
        self.ledger = SimulatedLedger(self.weather, self.loop.time)
        self.queue = SimulatedQueue(self.weather, self.chance)
        self.providers = {name: SimulatedProvider(name, self.chance, self.loop.time, self.clock) for name in PROVIDERS}
        self.limits = SimulatedLimits(self.weather)
        self.streams = Providers(self.ledger)
        self.states = SimulatedStates(self.weather)
        self.upheavals: set[str] = set()  # what there was of stops, storms, lags and clocks that were set
        self.lag = 0.01
        self.workers: list[Worker] = []  # those that are there now
        self.born: list[Worker] = []
        self.surprises = Surprises()
        self.laws = Laws(self)
        self.emails: list[UUID] = []
        for provider in self.providers.values():
            provider.recorded = self.ledger.holds
        self.loop.create_task(self._project())
        self.start_worker()

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.loop.time()) + self.shift

    # -- what happens --------------------------------------------------------------------------------------------

    def accept(self, tenant: str, priority: Priority = Priority.NORMAL, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            id = UUID(int=len(self.emails) + 1)
            domain = fields.get("domain", "example.com")
            people = [f"p{n}@{domain}" for n in range(fields.get("people", 1))]
            rest = {name: value for name, value in fields.items() if name not in ("people", "domain")}
            email = queued(*people, now=self.clock(), id=id, tenant=tenant, priority=priority, **rest)
            try:
                self.loop.do(self.ledger.append(email.collect_events(), [stored_content(email)]))
            except ApplicationError:
                if not self.recorded_of(id):
                    continue
            self.emails.append(id)

    def recorded_of(self, id: UUID) -> list[Event]:
        return [recorded.event for recorded in self.ledger.log() if recorded.event.originator_id == id]

    def operate(self, id: UUID, ask: Callable[[Email], None]) -> None:
        """An operator, or a client, decides about an email; what is not allowed now is refused."""
        with suppress(ApplicationError, DomainError):
            self.loop.do(decide(self.ledger, id, ask))

    def start_worker(self) -> None:
        worker = Worker(f"w{len(self.born)}", self.loop)
        self.born.append(worker)
        watch = ProviderWatch(PROVIDERS, self.states, self.streams, BREAKER, self.clock)
        deliver = Delivery(self._tools(watch))

        def make(name: str, pace: Pace, priorities: list[Priority]) -> Dispatcher:
            where = (name, self.queue, self.limits, deliver, self.clock, pace, priorities)
            return Dispatcher(*where, monotonic=self.loop.time)

        worker.start(make, LEASE, watch)
        self.workers.append(worker)

    def kill_worker(self, number: int) -> None:
        self.workers.pop(number).kill()

    def let_leave(self, number: int) -> None:
        self.workers.pop(number).leave()

    def turn_clock(self, by: timedelta) -> None:
        """The clock on the wall is set; timers go on as before."""
        self.shift += by
        self.upheavals.add("clock")
        if by < timedelta(0):
            self.laws.clock_went_back(-by)

    def storm(self, seconds: float, *, only_answers: bool) -> None:
        """The database is not there for a while."""
        self.upheavals.add("storm")
        self.weather.storm(seconds, only_answers=only_answers)

    def stop_worker(self, number: int) -> None:
        self.upheavals.add("stop")
        self.workers[number].stop()

    def let_lag(self, seconds: float) -> None:
        """The read models follow the log so far behind."""
        self.upheavals.add("lag")
        self.lag = seconds

    def wait(self, seconds: float) -> None:
        self.loop.do(asyncio.sleep(seconds))

    def heal(self) -> None:
        """Everything works again."""
        self.weather.clear()
        self.lag = 0.01
        for provider in self.providers.values():
            provider.mode = "well"
        for name in PROVIDERS:
            self.resume(name)
        for worker in self.workers:
            worker.resume()
        if not self.workers:
            self.start_worker()

    def pause(self, provider: str) -> None:
        self._decide(provider, lambda known: known.pause("being mended", stamp(self.clock())))

    def resume(self, provider: str) -> None:
        self._decide(provider, lambda known: known.resume("mended", stamp(self.clock())))

    def _decide(self, provider: str, ask: Callable[[Provider], None]) -> None:
        with suppress(ApplicationError):
            self.loop.do(self.streams.decide(provider, ask))

    def finish(self, days: int = 12) -> None:
        """Let time pass until every email has ended."""
        self.wait(600)
        for hour in range(days * 24):
            self.laws.check()
            if not self.open_emails():
                break
            if hour > 1:
                self.laws.nothing_is_late(timedelta(minutes=20))
            self.wait(3600)
        open_emails = [(id.int, email.status, email.due_at) for id, email in self.open_emails().items()]
        assert not open_emails, f"These never end: {open_emails}"
        self.laws.conserved()
        if not self.upheavals:
            check_bounds(self)

    def open_emails(self) -> dict[UUID, Email]:
        """Those that still wait for something other than an operator."""
        return {
            id: email
            for id, email in self.laws.emails.items()
            if email.status in _WAITING or (email.status is EmailStatus.UNCONFIRMED and email.due_at is not None)
        }

    def end(self) -> None:
        self.surprises.close()
        for worker in self.born:
            worker.kill()
        self.loop.end()

    # -- inside --------------------------------------------------------------------------------------------------

    def _tools(self, states: ProviderStates) -> Tools:
        return Tools(
            ledger=self.ledger,
            contents=self.ledger,
            blobs=MemoryBlobs(),
            providers=self.providers,
            router=through(*PROVIDERS),
            quotas=Quotas(LIMITS),
            limits=self.limits,
            states=states,
            suppressions=FakeSuppressions(),
            clock=self.clock,
            chance=self.chance.random,
            lease=LEASE,
        )

    async def _project(self) -> None:
        """The read model follows the log, a little behind."""
        position = 0
        while True:
            seen = self.ledger._changed.mark()
            page = self.ledger.log(position)
            if page:
                self.queue.fold(page)
                self.states.fold(page)
                position += len(page)
            else:
                await self.ledger._changed.wait_since(seen, 3600)
            await asyncio.sleep(self.lag)


class Surprises(logging.Handler):
    """What was logged as an error: there is none, but where an adapter of ours stumbles."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        logging.getLogger("application").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if not line.startswith("sending email") or "ValueError" not in line:
            self.lines.append(line)

    def close(self) -> None:
        logging.getLogger("application").removeHandler(self)
        super().close()
