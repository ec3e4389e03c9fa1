"""An outage from its first failure to the recovery: a real dispatcher, queue, limits, read models and watch."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from application.breaker import BreakerPolicy
from application.delivery import Delivery
from application.dispatcher import Dispatcher, Pace
from application.ports import OutgoingMessage
from application.provider_watch import ProviderWatch
from application.providers import Providers
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.events import EmailDeliveryStarted
from domain.ids import provider_id
from domain.provider import Rest
from domain.status import EmailStatus
from infrastructure.bootstrap import now
from infrastructure.limits import SqlLimits
from infrastructure.provider_states import SqlProviderStates
from tests.application.test_dispatcher import GIVE_UP, Floor
from tests.providers_fake import ScriptedProvider, accepted
from tests.samples import queued, stored_content
from tests.tools import tools

DOWN = Answer(error_class=ErrorClass.TRANSIENT, reason="unreachable")
SOON = timedelta(milliseconds=100)
SHORT = Rest(timedelta(seconds=0.3), timedelta(seconds=0.3))
LONG = Rest(timedelta(hours=1), timedelta(hours=1))
PACE = Pace(8, timedelta(seconds=60), timedelta(seconds=0.1), timedelta(seconds=30))
IMPATIENT = DeliveryPolicy(first_retry=SOON, longest_retry=SOON, max_attempts=100)


class Patient(ScriptedProvider):
    """A provider that is up or down, and counts the probes that are with it at once."""

    def __init__(self, name: str) -> None:
        super().__init__(self._answer)
        self.name = name
        self.down = False
        self.probes = self._probing = self.most_probing = 0

    async def _answer(self, message: OutgoingMessage) -> Answer:
        probe = "a probe" in message.attempt.route
        self.probes += probe
        self._probing += probe
        self.most_probing = max(self.most_probing, self._probing)
        await asyncio.sleep(0.02)
        self._probing -= probe
        return DOWN if self.down else accepted(message)


class Hall(Floor):
    """A floor with two workers as two processes would be, and the providers they share."""

    def __init__(self, url: str, rest: Rest, *names: str) -> None:
        super().__init__(url)
        self.policy = BreakerPolicy(5, 0.5, 20, timedelta(seconds=60), rest)
        self.providers = {name: Patient(name) for name in names}
        self.limits = SqlLimits(self.database)
        self.done = asyncio.Event()
        self.watches = [self.watch(), self.watch()]
        self._working: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Hall":
        await super().__aenter__()
        await self.limits.prepare()
        for number, watch in enumerate(self.watches):
            await watch.load()
            worker = Dispatcher(f"w{number}", self.queue, self.limits, self.delivery(watch), now, PACE)
            self._working += [asyncio.create_task(run(self.done)) for run in (watch.run, worker.run)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.limits.close()
        await super().__aexit__()

    async def stop(self) -> None:
        self.done.set()
        await asyncio.gather(*self._working)

    def watch(self) -> ProviderWatch:
        known = SqlProviderStates(self.database, self.wakeups)
        return ProviderWatch(self.providers, known, Providers(self.ledger), self.policy, now)

    def delivery(self, watch: ProviderWatch) -> Delivery:
        return Delivery(tools(self.ledger, *self.providers.values(), limits=self.limits, states=watch, clock=now))

    async def accept(self, count: int) -> list[UUID]:
        emails = [queued(now=now(), policy=IMPATIENT) for _ in range(count)]
        await asyncio.gather(*(self.ledger.append(e.collect_events(), [stored_content(e)]) for e in emails))
        return [email.id for email in emails]

    async def stream(self, name: str = "main") -> list[str]:
        return [each.event.TYPE.removeprefix("provider.") for each in await self.ledger.load(provider_id(name))]

    async def wait(self, for_: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(GIVE_UP):
            while not await for_():
                await asyncio.sleep(0.02)

    async def broken(self, times: int) -> None:
        """Until the main provider was found broken so many times."""

        async def enough() -> bool:
            return (await self.stream()).count("degraded") >= times

        await self.wait(enough)

    async def well(self) -> bool:
        """Whether both workers know that the main provider works."""
        return not any(watch.of("main").degraded for watch in self.watches)

    async def through(self, id: UUID) -> list[str]:
        history = [each.event for each in await self.ledger.load(id)]
        return [event.provider for event in history if isinstance(event, EmailDeliveryStarted)]


def play(
    url: str, names: tuple[str, ...], scenario: Callable[[Hall], Coroutine[Any, Any, None]], rest: Rest = SHORT
) -> None:
    async def run() -> None:
        async with Hall(url, rest, *names) as hall:
            await scenario(hall)

    asyncio.run(run())


def test_in_an_outage_mail_goes_elsewhere_at_once_and_one_probe_brings_it_back(database_url: str) -> None:
    async def scenario(hall: Hall) -> None:
        main, backup = hall.providers["main"], hall.providers["backup"]
        main.down = True
        first = await hall.accept(40)
        await hall.until(first, EmailStatus.DISPATCHED)
        assert len(backup.sent) == 40
        assert {(await hall.through(id))[-1] for id in first} == {"backup"}
        await hall.broken(1)
        main.down = False

        async def recovered() -> bool:
            await hall.until(await hall.accept(3), EmailStatus.DISPATCHED)
            return (await hall.stream())[-1] == "recovered"

        await hall.wait(recovered)
        assert main.most_probing == 1
        await hall.wait(hall.well)
        (last,) = await hall.accept(1)
        await hall.until([last], EmailStatus.DISPATCHED)
        assert await hall.through(last) == ["main"]

    play(database_url, ("main", "backup"), scenario)


def test_while_the_only_provider_is_down_nothing_is_lost_and_one_email_at_a_time_asks(database_url: str) -> None:
    async def scenario(hall: Hall) -> None:
        main = hall.providers["main"]
        main.down = True
        ids = await hall.accept(60)
        await hall.broken(2)
        others = len(main.sent) - main.probes
        assert others < len(ids)  # what the workers began until they knew; each email would have asked many times
        main.down = False
        await hall.until(ids, EmailStatus.DISPATCHED)
        assert (await hall.stream())[-1] == "recovered"
        assert main.most_probing == 1

    play(database_url, ("main",), scenario)


def test_a_process_that_starts_in_an_outage_asks_nobody(database_url: str) -> None:
    async def scenario(hall: Hall) -> None:
        main = hall.providers["main"]
        main.down = True
        ids = await hall.accept(20)
        await hall.broken(1)
        await hall.stop()
        calls, fresh = len(main.sent), hall.watch()
        await fresh.load()
        held = await hall.delivery(fresh)(ids[0], lambda: True)
        assert held is not None
        assert len(main.sent) == calls

    play(database_url, ("main",), scenario, LONG)


def test_an_answer_that_is_still_being_learned_from_does_not_hold_up_the_next_attempt(database_url: str) -> None:
    class Slow(ProviderWatch):
        async def observe(self, provider: str, answer: Answer) -> None:
            await asyncio.sleep(0.2)  # meanwhile the email is due again, and claimed
            await super().observe(provider, answer)

    async def scenario(hall: Hall) -> None:
        await hall.stop()
        hall.providers["main"].down = True
        known = SqlProviderStates(hall.database, hall.wakeups)
        slow = Slow(hall.providers, known, Providers(hall.ledger), hall.policy, now)
        stop = asyncio.Event()
        worker = Dispatcher("w3", hall.queue, hall.limits, hall.delivery(slow), now, PACE)
        running = asyncio.create_task(worker.run(stop))
        ids = await hall.accept(3)
        async with asyncio.timeout(PACE.lease.total_seconds() / 2):
            await hall.until(ids, EmailStatus.DISPATCHED)
        stop.set()
        await running

    play(database_url, ("main", "backup"), scenario)
