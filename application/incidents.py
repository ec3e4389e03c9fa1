"""Incidents: what is, or was, wrong with the service, and who has been told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

from application.alert_rules import BY_KIND, Facts, Severity

Status = Literal["raised", "resolved"]

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=10)  # before a channel is tried again
_GIVE_UP = timedelta(days=1)  # after its end, when a channel still has not been told


@dataclass(frozen=True, slots=True)
class Alert:
    """What a channel is told. `id` is the incident's: the same when it begins and when it is over."""

    id: UUID
    kind: str
    subject: str  # a configured name; empty when it is about the whole service
    severity: Severity
    status: Status
    since: datetime
    text: str  # one line
    facts: Facts
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """How far one channel has been told of an incident."""

    told: Status | None = None
    tries: int = 0  # since then
    again_at: datetime | None = None  # not to be tried before


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong with the service, or was. `version` is what compare-and-set compares."""

    id: UUID
    kind: str
    subject: str
    severity: Severity
    facts: Facts  # as they were when it began
    since: datetime
    resolved_at: datetime | None = None
    tellings: Mapping[str, Telling] = field(default_factory=dict)  # by channel
    settled: bool = False  # it is over, and every channel was told so
    version: int = 1

    @property
    def status(self) -> Status:
        return "resolved" if self.resolved_at else "raised"

    @property
    def text(self) -> str:
        """What is told of it, as it is now."""
        rule = BY_KIND.get(self.kind)
        if rule is None:
            return self.kind  # of a version of ours that knew more
        if self.resolved_at is None:
            return rule.text.format_map(self.facts)
        return f"{rule.over.format_map(self.facts)} It lasted {_said(self.resolved_at - self.since)}."

    @property
    def alert(self) -> Alert:
        return Alert(
            *(self.id, self.kind, self.subject, self.severity, self.status, self.since, self.text, self.facts),
            resolved_at=self.resolved_at,
        )

    def owes(self, channel: str, now: datetime) -> bool:
        """Whether the channel is to be told now."""
        telling = self.tellings.get(channel, Telling())
        return telling.told != self.status and (telling.again_at is None or telling.again_at <= now)

    def claimed(self, channels: Sequence[str], now: datetime) -> "Incident":
        """As it is while these channels are being told, and should that fail."""
        return self._with({name: self._try(name, now) for name in channels})

    def told(self, channels: Sequence[str], status: Status) -> "Incident":
        """As it is once these channels have been told that it has this status."""
        return self._with({name: Telling(status) for name in channels})

    def done(self, channels: Sequence[str], now: datetime) -> bool:
        """Whether nobody has to be told anything any more."""
        if self.resolved_at is None:
            return False
        told = all(self.tellings.get(name, Telling()).told == "resolved" for name in channels)
        return told or now >= self.resolved_at + _GIVE_UP

    def _try(self, channel: str, now: datetime) -> Telling:
        telling = self.tellings.get(channel, Telling())
        pause = min(_FIRST_PAUSE * (1 << min(telling.tries, 10)), _LONGEST_PAUSE)
        return replace(telling, tries=telling.tries + 1, again_at=now + pause)

    def _with(self, tellings: Mapping[str, Telling]) -> "Incident":
        return replace(self, tellings={**self.tellings, **tellings})


class Incidents(Protocol):
    """Where incidents are kept, for all processes. Raises StoreUnavailable."""

    async def unsettled(self) -> Sequence[Incident]:
        """Those that go on, or of whose end somebody still has to be told."""
        ...

    async def add(self, incident: Incident) -> bool:
        """Whether it is new: False when one of this kind and subject goes on already."""
        ...

    async def get(self, id: UUID) -> Incident | None: ...

    async def save(self, incident: Incident) -> bool:
        """Keep it with the next version, unless it was changed since this one was read."""
        ...


def _said(time: timedelta) -> str:
    seconds = round(time.total_seconds())
    units = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
    return next(f"{seconds // size} {name}" for size, name in units if seconds >= 2 * size or size == 1)
