"""The ledger as the application sees it: asynchronous, batched, in domain events."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast
from uuid import UUID

from eventsourcing.persistence import Notification

from application.errors import StoreUnavailable
from application.ports import WHOLE, Part, Recorded, StoredContent, Unreadable
from domain.catalogue import EVENTS
from domain.content import Content
from domain.errors import UnreadableEvent
from domain.events import Event
from infrastructure.database.signal import Signal
from infrastructure.ledger.batcher import Batcher
from infrastructure.ledger.mapper import EventMapper
from infrastructure.ledger.store import Append, EventStore, Outcome

_MOST_APPENDS = 1000  # callers per commit; what one COPY takes well
_GATHER = 0.003  # seconds that a busy writer lets callers gather: a commit costs a millisecond, shared by all of them
_MOST_LOADS = 500
_Stored = TypeVar("_Stored")
_Decoded = TypeVar("_Decoded")


class EventLedger:
    """Implements the ports Ledger and ContentStore on an event store."""

    def __init__(self, store: EventStore, changed: Signal, mapper: EventMapper | None = None) -> None:
        self._store = store
        self._changed = changed
        self._mapper = mapper or EventMapper()
        self._appends: Batcher[Append, int] = Batcher(self._commit, "ledger-writer", _MOST_APPENDS, _GATHER)
        self._loads: Batcher[UUID, list[Recorded]] = Batcher(self._load, "ledger-loader", _MOST_LOADS)
        self._contents: Batcher[UUID, Content | None] = Batcher(self._load_contents, "content-loader", _MOST_LOADS)

    async def append(self, events: Sequence[Event], contents: Sequence[StoredContent] = ()) -> int:
        stored = [self._mapper.to_stored_event(event) for event in events]
        return await self._appends.submit(Append(stored, contents))

    async def load(self, stream_id: UUID) -> list[Recorded]:
        return await self._loads.submit(stream_id)

    async def load_content(self, email_id: UUID) -> Content | None:
        return await self._contents.submit(email_id)

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        return await asyncio.to_thread(self._read, after, limit, topics)

    async def scan(self, after: int, limit: int, part: Part = WHOLE) -> list[Recorded | Unreadable]:
        return await asyncio.to_thread(self._scan, after, limit, part)

    async def position(self) -> int:
        return await asyncio.to_thread(self._store.last_position)

    async def wait(self, after: int, timeout: float) -> None:
        seen = self._changed.mark()  # before looking, so that what comes while looking is not missed
        if await self.position() <= after:
            await self._changed.wait_since(seen, timeout)

    async def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these blobs an accepted email refers to."""
        return await asyncio.to_thread(self._store.blobs_in_use, sha256s)

    async def close(self) -> None:
        for batcher in (self._appends, self._loads, self._contents):
            await batcher.close()
        self._store.close()

    def _commit(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = self._outcomes(appends)
        self._changed.notify()
        return outcomes

    def _outcomes(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        try:
            return self._store.commit(appends)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever caused it
            if isinstance(error, StoreUnavailable) or len(appends) == 1:
                return [error] * len(appends)
        # One of them cannot be stored, whatever the reason. Each has to answer for itself alone.
        return [self._outcomes([append])[0] for append in appends]

    def _load(self, ids: Sequence[UUID]) -> list[list[Recorded] | Exception]:
        streams: defaultdict[UUID | str, list[Notification]] = defaultdict(list)
        for notification in self._store.streams(list(set(ids))):
            streams[notification.originator_id].append(notification)
        histories = {id: _one_by_one(self._history, streams[id]) for id in set(ids)}
        return [each if isinstance(each, Exception) else list(each) for each in map(histories.__getitem__, ids)]

    def _history(self, stored: Sequence[Notification]) -> list[Recorded]:
        return [self._recorded(notification) for notification in stored]

    def _load_contents(self, ids: Sequence[UUID]) -> list[Content | Exception | None]:
        found = self._store.contents(list(set(ids)))
        return [_one_by_one(Content.decode, found[id]) if id in found else None for id in ids]

    def _read(self, after: int, limit: int, topics: Sequence[str]) -> list[Recorded]:
        return [self._recorded(n) for n in self._store.page(after, limit, list(_stored_topics(topics)))]

    def _scan(self, after: int, limit: int, part: Part) -> list[Recorded | Unreadable]:
        return [self._named(stored) for stored in self._store.page(after, limit, (), part)]

    def _named(self, stored: Notification) -> Recorded | Unreadable:
        try:
            return self._recorded(stored)
        except UnreadableEvent as error:
            stream_id = cast(UUID, stored.originator_id)
            return Unreadable(stored.id, stored.topic, stream_id, stored.originator_version, str(error))

    def _recorded(self, stored: Notification) -> Recorded:
        return Recorded(stored.id, stored.topic, self._mapper.to_domain_event(stored))


def _one_by_one(decode: Callable[[_Stored], _Decoded], stored: _Stored) -> _Decoded | Exception:
    """What cannot be read fails for its own reader only, not for all who share the query."""
    try:
        return decode(stored)
    except (UnreadableEvent, ValueError) as error:
        return error


def _stored_topics(topics: Iterable[str]) -> Iterable[str]:
    """Topics as stored: one without a version stands for all versions up to today's."""
    versions = {event.TYPE: event.VERSION for event in EVENTS}
    for topic in topics:
        if topic in versions:
            yield from (f"{topic}.v{version}" for version in range(1, versions[topic] + 1))
        else:
            yield topic
