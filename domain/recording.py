"""An email's course that is also written: every event recorded is followed at once."""

from typing import Any
from uuid import UUID

from domain import events as e
from domain.course import Course
from domain.ids import uuid7


class Recording(Course):
    """Records events, the doubts about an attempt and how they end among them. What to record is for others to say."""

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self._pending: list[e.Event] = []

    def collect_events(self) -> list[e.Event]:
        """The events recorded since the last call, to be appended in one commit."""
        pending, self._pending = self._pending, []
        return pending

    def _record(self, cls: type[e.Event], stamp: e.Stamp, **fields: Any) -> None:
        event = cls(**bookkeeping(self.id, self.version + 1, self.tenant, stamp), **fields)
        self.apply(event)
        self._pending.append(event)

    def _doubt(
        self,
        started: e.EmailDeliveryStarted,
        reason: str,
        stamp: e.Stamp,
        recipients: tuple[UUID, ...],
        *,
        words: str = "",
        park: bool = False,
    ) -> None:
        self._record(
            e.EmailDeliveryUnconfirmed,
            stamp,
            attempt=started.attempt,
            provider=started.provider,
            recipients=recipients,
            reason=reason,
            words=words,
            settle_at=None if park else stamp.now + self.queued.policy.settle_after,
        )

    def _resolve(
        self,
        started: e.EmailDeliveryStarted,
        resolution: e.Resolution,
        evidence: str,
        stamp: e.Stamp,
        *,
        messages: tuple[e.ProviderMessage, ...] = (),
        recipients: tuple[UUID, ...] = (),
        doubtful: tuple[UUID, ...] = (),
        reason: str = "",
    ) -> None:
        """For those in `messages`, or `recipients`, or else for all in doubt. `doubtful` stay so."""
        settled = tuple(m.recipient_id for m in messages) or recipients or self.in_doubt_for(started.attempt)
        taken = settled if resolution is e.Resolution.ACCEPTED else ()
        if not self._is_in_doubt(started):
            doubtful = ()
        self._record(
            e.EmailDeliveryResolved,
            stamp,
            attempt=started.attempt,
            provider=started.provider,
            resolution=resolution,
            evidence=evidence,
            recipients=settled,
            messages=messages,
            put_off=tuple(r for r in self.standing.outstanding if r not in taken),
            doubtful=tuple(r for r in doubtful if r not in settled),
            reason=reason,
        )

    def _is_in_doubt(self, started: e.EmailDeliveryStarted) -> bool:
        return self.standing.open_attempt == started.attempt and self.standing.in_doubt


def bookkeeping(id: UUID, version: int, tenant: str, stamp: e.Stamp) -> dict[str, Any]:
    return {
        "originator_id": id,
        "originator_version": version,
        "event_id": uuid7(stamp.now),
        "occurred_at": stamp.now,
        "tenant": tenant,
        "actor": stamp.actor,
        "correlation_id": stamp.correlation_id,
        "causation_id": stamp.causation_id,
        "traceparent": stamp.traceparent,
    }
