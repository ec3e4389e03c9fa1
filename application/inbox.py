"""The inbox: what providers deliver is verified, kept as it came, acknowledged, and only then translated."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

from application.errors import ApplicationError, StoreUnavailable, Untrusted
from application.feedback import Outcome, RecordFeedback, Told
from application.ports import Clock, FeedbackSource, Hook
from application.surprises import log_surprise
from application.waiting import first
from domain.feedback import Feedback, Kind

_log = logging.getLogger(__name__)

State = Literal["new", "done", "unmatched", "failed"]
# How long to wait before looking again for the email of a statement: a webhook may overtake our own commit; a mail
# that was never ours will never match.
_AGAIN = tuple(timedelta(seconds=s) for s in (1, 5, 30, 300, 300, 300, 1800, 7200, 21_600, 86_400))
_CLAIM = 16  # deliveries worked on at once; each may hold hundreds of statements
_LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery as it was kept."""

    id: UUID
    provider: str
    hook: Hook
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an entry. `next_try_at` None: it is left alone from now on."""

    id: UUID
    state: State
    kinds: tuple[str, ...] = ()
    statements: int = 0
    unmatched: int = 0
    next_try_at: datetime | None = None
    recorded: int = 0  # events; not kept


@dataclass(frozen=True, slots=True)
class InboxFilter:
    """Which entries; everything left out means all."""

    provider: str | None = None
    kind: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Inbox(Protocol):
    """Durable, and apart from the log: what is in it can be deleted."""

    async def keep(self, provider: str, key: str, hook: Hook) -> bool:
        """Keep it durably; False when it was kept before. Raises Untrusted where the key came with another body."""
        ...

    async def claim(self, limit: int, lease: timedelta, now: datetime) -> list[Entry]:
        """The oldest entries that are due and that nobody holds."""
        ...

    async def settle(self, settled: Sequence[Settled]) -> None: ...

    async def wait(self, timeout: float) -> None:
        """Return when something may have come in, or after `timeout` seconds."""
        ...


Count = Callable[[str, str, str], None]  # provider, kind, outcome


class HookDoor:
    """Lets in what a provider can prove to have sent."""

    def __init__(self, inbox: Inbox, sources: Mapping[str, FeedbackSource]) -> None:
        self._inbox = inbox
        self._sources = sources

    @property
    def providers(self) -> frozenset[str]:
        return frozenset(self._sources)

    async def __call__(self, provider: str, hook: Hook) -> bool:
        """Verify and keep; whether it is new. Raises Untrusted, VerificationUnavailable, StoreUnavailable."""
        source = self._sources.get(provider)
        if source is None:
            raise Untrusted("unknown_provider")
        return await self._inbox.keep(provider, await source.verify(hook), hook)


@dataclass(slots=True)
class _Reading:
    """An entry on its way through translation."""

    entry: Entry
    said: Sequence[Feedback] = ()
    failed: bool = False
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def told(self) -> Told:
        return Told(self.entry.provider, self.entry.id, self.entry.hook.received_at, self.said)


class TranslateInbox:
    """Turns kept deliveries into events. Any number of processes may: an entry is leased, and twice is harmless."""

    def __init__(
        self,
        inbox: Inbox,
        sources: Mapping[str, FeedbackSource],
        record: RecordFeedback,
        clock: Clock,
        count: Count = lambda provider, kind, outcome: None,
    ) -> None:
        self._inbox = inbox
        self._sources = sources
        self._record = record
        self._clock = clock
        self._count = count

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A store outage is waited out."""
        while not stop.is_set():
            try:
                if not await self.step():
                    await first(self._inbox.wait(1.0), stop.wait())
            except StoreUnavailable:
                await first(asyncio.sleep(1.0), stop.wait())
            except Exception as error:  # noqa: BLE001 - the loop of a worker; leases run out, and it is tried again
                log_surprise(_log, "translating the inbox", error)
                await first(asyncio.sleep(5.0), stop.wait())

    async def step(self) -> int:
        """Deal with what is due now; how many entries that were."""
        entries = await self._inbox.claim(_CLAIM, _LEASE, self._clock())
        if entries:
            await self._inbox.settle(await self.translate(entries, follow_up=True))
        return len(entries)

    async def translate(self, entries: Sequence[Entry], *, follow_up: bool = False) -> list[Settled]:
        """Translate and record. Doing it again records nothing new, unless the translation has become another one."""
        readings = [_Reading(entry) for entry in entries]
        for reading in readings:
            self._read(reading)
            # What says nothing may ask for something; until that worked it is asked for again.
            if follow_up and not reading.failed and (reading.entry.tries == 0 or not reading.said):
                await self._follow_up(reading)
        await self._recorded(readings)
        for reading in readings:
            self._tell(reading)
        return [self._settled(reading) for reading in readings]

    def _read(self, reading: _Reading) -> None:
        entry = reading.entry
        source = self._sources.get(entry.provider)
        if source is None:
            reading.failed = True  # the provider is not configured any more, or not yet
            return
        try:
            reading.said = source.translate(entry.hook)
        except Exception as error:  # noqa: BLE001 - a translator's bug must not hold up the rest
            log_surprise(_log, f"translating inbox entry {entry.id} of {entry.provider}", error)
            reading.failed = True

    async def _follow_up(self, reading: _Reading) -> None:
        entry = reading.entry
        try:
            await self._sources[entry.provider].follow_up(entry.hook)
        except (ApplicationError, OSError) as error:
            log_surprise(_log, f"following up inbox entry {entry.id} of {entry.provider}", error)
            reading.failed = True

    async def _recorded(self, readings: Sequence[_Reading]) -> None:
        try:
            outcomes = await self._record([reading.told for reading in readings])
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what cannot be recorded, for whatever reason, holds only itself
            if len(readings) > 1:
                for reading in readings:
                    await self._recorded([reading])
                return
            (reading,) = readings
            log_surprise(_log, f"recording inbox entry {reading.entry.id} of {reading.entry.provider}", error)
            reading.failed = True
        else:
            for reading, outcome in zip(readings, outcomes, strict=True):
                reading.outcome = outcome

    def _tell(self, reading: _Reading) -> None:
        entry, unmatched = reading.entry, {id(said) for said in reading.outcome.unmatched}
        for said in reading.said:
            self._count(entry.provider, said.kind.value, "unmatched" if id(said) in unmatched else "recorded")
            if said.kind is Kind.PROVIDER_ACCOUNT:
                _log.warning(
                    "provider %s says about our account: %s", entry.provider, said.reason or said.provider_type
                )

    def _settled(self, reading: _Reading) -> Settled:
        entry, unmatched = reading.entry, len(reading.outcome.unmatched)
        open_ = reading.failed or unmatched
        state: State = "failed" if reading.failed else "unmatched" if unmatched else "done"
        again = self._clock() + _AGAIN[entry.tries] if open_ and entry.tries < len(_AGAIN) else None
        kinds = tuple(sorted({said.kind.value for said in reading.said}))
        return Settled(entry.id, state, kinds, len(reading.said), unmatched, again, reading.outcome.recorded)
