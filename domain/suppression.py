"""The Suppression aggregate: what one tenant has decided about sending to one address. No I/O, no clock, no chance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import events as e
from domain.address import address_key
from domain.ids import suppression_id, uuid7

EVERYTHING = "*"  # the scope of all mail; any other scope is the name of a mail stream


@dataclass(frozen=True, slots=True)
class Entry:
    """One standing reason not to send: all mail, or one mail stream."""

    address: str = field(repr=False)
    scope: str
    rule: str
    source: str
    reason: str = field(repr=False)
    email_id: UUID | None
    cause: UUID | None  # the event that led to it
    added_at: datetime


class Suppression:
    """What stands, by scope. Each cause is recorded once; several stand beside each other until they are taken back."""

    def __init__(self, tenant: str, address: str) -> None:
        self.id = suppression_id(tenant, address_key(address))
        self.tenant = tenant
        self.address = address
        self.version = 0
        self.active: dict[str, list[Entry]] = {}  # never an empty list
        self._causes: set[UUID] = set()  # of every entry there ever was
        self._ended: dict[UUID, list[Entry]] = {}  # by the wish that ended them, as far as they did not come back
        self._pending: list[e.Event] = []

    @classmethod
    def of(cls, tenant: str, address: str, history: Iterable[e.Event]) -> "Suppression":
        """Rebuild from the stream's events, in order. An address nobody has decided about has none."""
        suppression = cls(tenant, address)
        for event in history:
            suppression.apply(event)
        return suppression

    def collect_events(self) -> list[e.Event]:
        """The events recorded since the last call, to be appended in one commit."""
        pending, self._pending = self._pending, []
        return pending

    @property
    def entries(self) -> list[Entry]:
        """All that stands, the oldest first."""
        return sorted((entry for some in self.active.values() for entry in some), key=lambda entry: entry.added_at)

    def rule_for(self, stream: str) -> str | None:
        """The rule by which no mail of this stream may go to the address; None when it may."""
        standing = self.active.get(EVERYTHING) or self.active.get(stream)
        return standing[0].rule if standing else None

    def add(
        self,
        scope: str,
        rule: str,
        source: str,
        stamp: e.Stamp,
        *,
        reason: str = "",
        email_id: UUID | None = None,
        cause: UUID | None = None,
    ) -> None:
        """Send no more, unless that stands already; but a new cause counts beside what stands, should that fall."""
        if cause in self._causes or (cause is None and scope in self.active):
            return
        facts = {"scope": scope, "rule": rule, "source": source, "reason": reason}
        self._record(e.SuppressionAdded, stamp, **facts, email_id=email_id, cause=cause)

    def remove(
        self,
        scope: str | None,
        rule: str,
        source: str,
        stamp: e.Stamp,
        *,
        reason: str = "",
        cause: UUID | None = None,
        only: Callable[[Entry], bool] = lambda entry: True,
    ) -> list[Entry]:
        """Take back what stands for this scope (None: for any), or `only` some of it. Returns what was taken back."""
        gone: list[Entry] = []
        for standing in [some for place, some in self.active.items() if scope in (None, place)]:
            if chosen := [entry for entry in standing if only(entry)]:
                facts = {"scope": chosen[0].scope, "rule": rule, "source": source, "reason": reason}
                self._record(e.SuppressionRemoved, stamp, **facts, cause=cause)
                self._restore([entry for entry in standing if entry not in chosen], stamp)
                gone += chosen
        return gone

    def revive(self, wish: UUID, stamp: e.Stamp, only: Callable[[Entry], bool]) -> None:
        """What ended by this wish for mail stands again: nobody had it."""
        self._restore(list(filter(only, self._ended.get(wish, ()))), stamp)

    def apply(self, event: e.Event) -> None:
        """Follow one event."""
        self.version = event.originator_version
        match event:
            case e.SuppressionAdded():
                self.active.setdefault(event.scope, []).append(_entry(event))
                if event.cause:
                    self._causes.add(event.cause)
                for some in self._ended.values():
                    some[:] = [each for each in some if (each.scope, each.cause) != (event.scope, event.cause)]
            case e.SuppressionRemoved():
                gone = self.active.pop(event.scope, [])
                if event.cause and event.rule == "resubscribed":
                    self._ended.setdefault(event.cause, []).extend(gone)

    def _restore(self, entries: Iterable[Entry], stamp: e.Stamp) -> None:
        """A removal ends all of its scope; these stand on."""
        for entry in entries:
            facts = {"scope": entry.scope, "rule": entry.rule, "source": entry.source, "reason": entry.reason}
            self._record(e.SuppressionAdded, stamp, **facts, email_id=entry.email_id, cause=entry.cause)

    def _record(self, cls: type[e.Event], stamp: e.Stamp, **facts: Any) -> None:
        event = cls(
            originator_id=self.id,
            originator_version=self.version + 1,
            event_id=uuid7(stamp.now),
            occurred_at=stamp.now,
            tenant=self.tenant,
            actor=stamp.actor,
            correlation_id=stamp.correlation_id,
            causation_id=stamp.causation_id,
            traceparent=stamp.traceparent,
            address=self.address,
            **facts,
        )
        self.apply(event)
        self._pending.append(event)


def _entry(event: e.SuppressionAdded) -> Entry:
    return Entry(
        address=event.address,
        scope=event.scope,
        rule=event.rule,
        source=event.source,
        reason=event.reason,
        email_id=event.email_id,
        cause=event.cause,
        added_at=event.occurred_at,
    )
