"""What a drill showed, told from the event log alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from application.ports import Recorded
from domain import events as e
from domain import provider_events as p
from domain.drill import REASON, is_hit

TOPICS = (
    *("email.delivery_started", "email.delivery_deferred", "email.delivery_unconfirmed", "email.delivery_failed"),
    *("email.dispatched", "email.delivery_resolved", "provider.degraded", "provider.recovered"),
)


@dataclass(slots=True)
class Hit:
    """An email that a drill has hit, once or more."""

    fault_at: datetime  # the first one
    taken_at: datetime | None = None
    taken_by: str | None = None


@dataclass(slots=True)
class DrillReport:
    """Follows the log from the beginning of a drill on."""

    provider: str
    fault: p.Fault
    rate: float
    began: datetime
    until: datetime
    calls: int = 0  # to the provider
    calls_hit: int = 0
    hits: dict[UUID, Hit] = field(default_factory=dict)
    openings: list[p.ProviderDegraded] = field(default_factory=list)
    recovered: int = 0

    def follow(self, recorded: Sequence[Recorded]) -> None:
        """The next events, in order."""
        for event in (each.event for each in recorded):
            if told := _TOLD.get(type(event)):
                told(self, event)

    @property
    def moved(self) -> Mapping[str, int]:
        """By provider: how many of the emails that were hit it took in the end."""
        return Counter(hit.taken_by for hit in self.hits.values() if hit.taken_by is not None)

    @property
    def failover(self) -> timedelta | None:
        """From the first fault to the first email that another provider took instead; None when none was."""
        others = [h.taken_at for h in self.hits.values() if h.taken_at and h.taken_by != self.provider]
        first = min((hit.fault_at for hit in self.hits.values()), default=None)
        return min(others) - first if others and first else None

    def fault_to_dispatch(self, share: float) -> timedelta | None:
        """How long it took from fault to dispatch, for this share of the emails or less: 0.5 is the median."""
        waits = sorted(hit.taken_at - hit.fault_at for hit in self.hits.values() if hit.taken_at)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else None

    def _started(self, event: e.EmailDeliveryStarted) -> None:
        """A slow call leaves no other trace."""
        if event.provider != self.provider or event.occurred_at >= self.until:
            return
        self.calls += 1
        if self.fault == "slow" and is_hit(event.token, event.attempt, self.rate):
            self._hit(event)

    def _troubled(self, event: e.EmailDeliveryDeferred | e.EmailDeliveryUnconfirmed | e.EmailDeliveryFailed) -> None:
        if event.provider == self.provider and (event.reason or "").startswith(REASON):
            self._hit(event)

    def _hit(self, event: e.Event) -> None:
        self.calls_hit += 1
        self.hits.setdefault(event.originator_id, Hit(event.occurred_at))

    def _dispatched(self, event: e.EmailDispatched) -> None:
        self._taken(event.originator_id, event.provider, event.occurred_at)

    def _resolved(self, event: e.EmailDeliveryResolved) -> None:
        if event.resolution is e.Resolution.ACCEPTED:
            self._taken(event.originator_id, event.provider, event.occurred_at)

    def _taken(self, id: UUID, provider: str, at: datetime) -> None:
        hit = self.hits.get(id)
        if hit and hit.taken_at is None:
            hit.taken_at, hit.taken_by = at, provider

    def _degraded(self, event: p.ProviderDegraded) -> None:
        if event.provider == self.provider:
            self.openings.append(event)

    def _recovered(self, event: p.ProviderRecovered) -> None:
        self.recovered += event.provider == self.provider


_TOLD: Mapping[type[e.Event], Callable[[DrillReport, Any], None]] = {
    e.EmailDeliveryStarted: DrillReport._started,
    e.EmailDeliveryDeferred: DrillReport._troubled,
    e.EmailDeliveryUnconfirmed: DrillReport._troubled,
    e.EmailDeliveryFailed: DrillReport._troubled,
    e.EmailDispatched: DrillReport._dispatched,
    e.EmailDeliveryResolved: DrillReport._resolved,
    p.ProviderDegraded: DrillReport._degraded,
    p.ProviderRecovered: DrillReport._recovered,
}
