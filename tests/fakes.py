"""Hand-written stand-ins for adapters; each passes the contract suite of the port it plays."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

from application.errors import StreamConflict
from application.ports import WHOLE, Part, Recorded, Refusal, StoredContent, Unreadable, Want
from application.usage import Usage
from domain.answer import Answer
from domain.content import Content
from domain.events import Event
from domain.provider_state import ProviderState
from infrastructure.database.signal import Signal


class MemoryLedger:
    """The ports Ledger and ContentStore in a list."""

    def __init__(self, changed: Signal | None = None) -> None:
        self._log: list[Recorded] = []
        self._streams: defaultdict[UUID, list[Recorded]] = defaultdict(list)
        self._contents: dict[UUID, bytes] = {}
        self._changed = changed or Signal()

    async def append(self, events: Sequence[Event], contents: Sequence[StoredContent] = ()) -> int:
        await asyncio.sleep(0)
        if clashes := frozenset(event.originator_id for event in events if self._clashes(event)):
            if all(self._stored(event) for event in events):
                return max(self._streams[e.originator_id][e.originator_version - 1].position for e in events)
            raise StreamConflict(clashes)
        for event in events:
            recorded = Recorded(len(self._log) + 1, event.topic(), event)
            self._log.append(recorded)
            self._streams[event.originator_id].append(recorded)
        self._contents.update((content.email_id, content.body) for content in contents)
        self._changed.notify()
        return len(self._log)

    async def load(self, stream_id: UUID) -> list[Recorded]:
        await asyncio.sleep(0)
        return list(self._streams.get(stream_id, ()))

    async def load_content(self, email_id: UUID) -> Content | None:
        body = self._contents.get(email_id)
        return Content.decode(body) if body is not None else None

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        await asyncio.sleep(0)
        found = self._log[after:] if topics else self._log[after : after + limit]
        return [r for r in found if not topics or {r.topic, r.topic.rpartition(".v")[0]} & set(topics)][:limit]

    async def scan(self, after: int, limit: int, part: Part = WHOLE) -> list[Recorded | Unreadable]:
        await asyncio.sleep(0)
        found = (recorded for recorded in self._log[after:] if part.has(recorded.event.originator_id))
        return list(islice(found, limit))

    async def position(self) -> int:
        return len(self._log)

    async def wait(self, after: int, timeout: float) -> None:
        seen = self._changed.mark()
        if len(self._log) <= after:
            await self._changed.wait_since(seen, timeout)

    def _clashes(self, event: Event) -> bool:
        return event.originator_version <= len(self._streams.get(event.originator_id, ()))

    def _stored(self, event: Event) -> bool:
        """Whether this very event was committed before, its answer lost."""
        stream = self._streams.get(event.originator_id, [])
        return any(recorded.event.event_id == event.event_id for recorded in stream)


class FakeSuppressions:
    """Implements the port SuppressionList from a table of addresses."""

    def __init__(self, rules: Mapping[str, str] | None = None) -> None:
        self.known = dict(rules or {})

    async def rules(self, tenant: str, stream: str, addresses: Sequence[str]) -> Mapping[str, str]:
        return {address: self.known[address] for address in addresses if address in self.known}


class FakeLimits:
    """Implements the port Limits in memory."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._pauses: dict[str, datetime] = {}

    async def take(self, holder: UUID, wants: Sequence[Want], now: datetime, until: datetime) -> Refusal | None:
        ends = ((want.key, self._pauses.get(want.key, now)) for want in wants)
        paused = max((Refusal(key, end) for key, end in ends if end > now), key=lambda each: each.until, default=None)
        return paused or self._usage.take(holder, wants, now, until)

    async def give_back(self, holder: UUID) -> None:
        self._usage.give_back(holder)

    async def keep(self, holders: Sequence[UUID], until: datetime) -> None:
        for slots in self._usage.slots.values():
            slots.update({holder: max(until, slots[holder]) for holder in holders if holder in slots})

    async def pause(self, key: str, until: datetime) -> None:
        self._pauses[key] = max(until, self._pauses.get(key, until))


FreeLimits = FakeLimits  # as long as nothing is wanted


class FakeStates:
    """Implements the port ProviderStates as a test sets them, and keeps what it was told."""

    def __init__(self, *states: ProviderState) -> None:
        self.known = {state.name: state for state in states}
        self.observed: list[tuple[str, Answer]] = []

    def of(self, provider: str) -> ProviderState:
        return self.known.get(provider) or ProviderState(provider)

    async def observe(self, provider: str, answer: Answer) -> None:
        self.observed.append((provider, answer))
