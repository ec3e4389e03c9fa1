"""The stores of the simulated world: in memory, a little slow, sometimes not to be reached."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from random import Random
from uuid import UUID

from application.errors import StoreUnavailable
from application.ports import Claim, Recorded, Refusal, StoredContent, Want, Wanted
from domain.content import Content
from domain.events import Event, Priority
from domain.provider_events import ProviderEvent
from domain.provider_state import ProviderState
from infrastructure.database.signal import Signal
from tests.fakes import FakeLimits, MemoryLedger
from tests.memory_queue import Bell, MemoryDispatchQueue
from tests.simulation.workers import current, gate


class Weather:
    """How the one database does, on which everything stands."""

    def __init__(self, chance: Random, time: Callable[[], float]) -> None:
        self._chance = chance
        self._time = time
        self._bad_until = 0.0
        self._only_answers = False

    def storm(self, seconds: float, *, only_answers: bool) -> None:
        """Nothing gets through; or requests do, and half of the answers do not."""
        self._bad_until, self._only_answers = self._time() + seconds, only_answers

    def clear(self) -> None:
        self._bad_until = 0.0

    async def there(self) -> None:
        """A request's way."""
        await gate()
        await asyncio.sleep(self._chance.random() * 0.004)
        if self._bad and not self._only_answers:
            raise StoreUnavailable

    async def back(self) -> None:
        """An answer's way."""
        await gate()
        if self._bad and self._chance.random() < 0.5:
            raise StoreUnavailable

    @property
    def _bad(self) -> bool:
        return self._time() < self._bad_until


class OrderedSignal(Signal):
    """Wakes in the order of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._bell = Bell()

    def notify(self) -> None:
        self._count += 1
        self._bell.ring()

    async def wait_since(self, seen: int, timeout: float) -> None:
        if self._count == seen:
            await self._bell.wait(timeout)


class SimulatedLedger(MemoryLedger):
    """The event store, and the content beside it."""

    def __init__(self, weather: Weather, time: Callable[[], float]) -> None:
        super().__init__(OrderedSignal())
        self.when: list[float] = []  # each event was committed, whatever the clock on the wall says
        self._weather = weather
        self._time = time

    async def append(self, events: Sequence[Event], contents: Sequence[StoredContent] = ()) -> int:
        await self._weather.there()
        position = await super().append(events, contents)
        self.when += [self._time()] * (len(self._log) - len(self.when))
        await self._weather.back()
        return position

    async def load(self, stream_id: UUID) -> list[Recorded]:
        await self._weather.there()
        history = await super().load(stream_id)
        await self._weather.back()
        return history

    async def load_content(self, email_id: UUID) -> Content | None:
        await self._weather.there()
        return await super().load_content(email_id)

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        await self._weather.there()
        return await super().read(after, limit, topics)

    async def position(self) -> int:
        await self._weather.there()
        return await super().position()

    def log(self, after: int = 0) -> list[Recorded]:
        """For who looks at the world from outside."""
        return self._log[after:]

    def holds(self, event: Event) -> bool:
        return self._stored(event)


class SimulatedQueue(MemoryDispatchQueue):
    """The dispatch queue; `watch` is told of every claim, with what could have been claimed."""

    def __init__(self, weather: Weather, chance: Random) -> None:
        super().__init__(chance)
        self._weather = weather
        self.watch: Callable[[dict[UUID, tuple[Priority, str, str]], Wanted, list[Claim]], None] | None = None

    async def claim(self, wanted: Wanted, now: datetime) -> list[Claim]:
        await self._weather.there()
        due = {
            id: (row.priority, row.lane, row.email.tenant)
            for id, row in self.rows.items()
            if row.due(now) and row.priority in wanted.priorities
        }
        claims = await super().claim(wanted, now)
        if self.watch:
            self.watch(due, wanted, claims)
        await self._weather.back()
        return claims

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        await self._weather.there()
        extended = await super().extend(worker, email_ids, until)
        await self._weather.back()
        return extended

    async def put_back(self, worker: str, email_ids: Sequence[UUID], lane: str, until: datetime | None = None) -> None:
        await self._weather.there()
        await super().put_back(worker, email_ids, lane, until)
        await self._weather.back()

    async def next_due(self, now: datetime, priorities: Sequence[Priority]) -> datetime | None:
        await self._weather.there()
        return await super().next_due(now, priorities)

    async def wait(self, timeout: float) -> None:
        await super().wait(timeout)
        await gate()


class SimulatedLimits(FakeLimits):
    """What all workers use up together, in the same database."""

    def __init__(self, weather: Weather) -> None:
        super().__init__()
        self._weather = weather

    async def take(self, holder: UUID, wants: Sequence[Want], now: datetime, until: datetime) -> Refusal | None:
        await self._weather.there()
        refusal = await super().take(holder, wants, now, until)
        await self._weather.back()
        return refusal

    async def give_back(self, holder: UUID) -> None:
        await self._weather.there()
        await super().give_back(holder)
        await self._weather.back()

    async def keep(self, holders: Sequence[UUID], until: datetime) -> None:
        await self._weather.there()
        await super().keep(holders, until)

    async def pause(self, key: str, until: datetime) -> None:
        await self._weather.there()
        await super().pause(key, until)


class SimulatedStates:
    """Implements KnownStates, the read model of the providers."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._known: dict[str, ProviderState] = {}
        self._bell = Bell()
        self._changes = 0
        self._seen: dict[str, int] = {}  # by worker

    def fold(self, events: Sequence[Recorded]) -> None:
        ours = [recorded.event for recorded in events if isinstance(recorded.event, ProviderEvent)]
        for event in ours:
            self._known.setdefault(event.provider, ProviderState(event.provider)).apply(event)
        if ours:
            self._changes += 1
            self._bell.ring()

    async def all(self) -> Mapping[str, ProviderState]:
        await self._weather.there()
        self._seen[_who()] = self._changes
        return {name: copy(state) for name, state in self._known.items()}

    async def wait(self, timeout: float) -> None:
        """No change is missed here; looking every second as well would make virtual days long."""
        if self._seen.get(_who()) == self._changes:
            await self._bell.wait(60)
        await gate()


def _who() -> str:
    worker = current()
    return worker.name if worker else ""
