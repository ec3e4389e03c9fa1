"""Why an email stands where it does, and what comes next: what is asked first of one that has not arrived."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import events as e
from domain.delivery import ErrorClass
from domain.standing import REPORTED, RecipientStanding, Standing, reported_status
from domain.status import EmailStatus, RecipientStatus

_IN_TROUBLE = frozenset({EmailStatus.DEFERRED, EmailStatus.UNCONFIRMED})
_BY_THE_END = frozenset({RecipientStatus.FAILED, RecipientStatus.EXPIRED})


@dataclass(slots=True)
class Outlook:
    """One email's standing, and what was said about it last. The properties say what of that matters now."""

    standing: Standing
    provider: str | None = None  # the one asked last
    last_class: ErrorClass | None = None
    last_reason: str | None = None
    next_at: datetime | None = None
    reasons: dict[UUID, str] = field(default_factory=dict)  # why each recipient stands where they do, if it was said

    @classmethod
    def of(cls, history: Iterable[e.Event]) -> "Outlook":
        """Fold a whole history. Its first event must be EmailQueued."""
        events = iter(history)
        outlook = cls(Standing.of([next(events)]))
        for event in events:
            outlook.apply(event)
        return outlook

    def apply(self, event: e.Event) -> None:
        """Fold one more event in."""
        if e.is_about_recipient(event):
            self._hear(event)
            return
        self.standing.apply(event)
        if note := _NOTES.get(type(event)):
            note(self, event)

    @property
    def error_class(self) -> ErrorClass | None:
        """Of an email in trouble, and of a dead letter unless it bounced."""
        if self.standing.status in _IN_TROUBLE:
            return self.last_class
        if not self.standing.is_dead_letter:
            return None
        if self._ended_as_a_whole:
            return self.last_class
        return ErrorClass.SUPPRESSED if self._first_undelivered.status is RecipientStatus.SUPPRESSED else None

    @property
    def reason(self) -> str | None:
        """Of an email in trouble, and of a dead letter: of several recipients, the first one's."""
        if self.standing.status in _IN_TROUBLE:
            return self.last_reason
        if not self.standing.is_dead_letter:
            return None
        return self.last_reason if self._ended_as_a_whole else self.reasons.get(self._first_undelivered.id)

    @property
    def retry_at(self) -> datetime | None:
        """When a deferred email is due again."""
        return self.next_at if self.standing.status is EmailStatus.DEFERRED else None

    @property
    def settle_at(self) -> datetime | None:
        """When evidence about an attempt in doubt is looked for; None also when it is parked for an operator."""
        return self.next_at if self.standing.status is EmailStatus.UNCONFIRMED else None

    @property
    def _ended_as_a_whole(self) -> bool:
        ended, recipients = self.standing.ended, self.standing.recipients.values()
        return ended is not None and (self.standing.status is ended or any(r.status in _BY_THE_END for r in recipients))

    @property
    def _first_undelivered(self) -> RecipientStanding:
        return self.standing.recipients[self.standing.undelivered[0]]

    def _hear(self, event: e.RecipientEvent) -> None:
        recipient = self.standing.recipients[event.recipient_id]
        before = recipient.status, recipient.at
        self.standing.apply(event)
        after = recipient.status, recipient.at
        counts = type(event) in REPORTED and after == (reported_status(event), event.provider_at)
        if counts and (reason := _said(event)):
            self.reasons[recipient.id] = reason
        elif counts or after != before:
            self.reasons.pop(recipient.id, None)

    def _suppressed(self) -> str | None:
        """The rule by which the first one was left out."""
        everyone = self.standing.recipients.values()
        return next((self.reasons.get(r.id) for r in everyone if r.status is RecipientStatus.SUPPRESSED), None)


def _said(event: e.RecipientEvent) -> str | None:
    if isinstance(event, e.EmailRecipientDeliveryFailed):
        return event.reason or event.bounce_class or "rejected"
    if isinstance(event, e.EmailRecipientDeferred):
        return event.reason
    return event.rule if isinstance(event, e.EmailRecipientSuppressed) else None


def _started(outlook: Outlook, event: e.EmailDeliveryStarted) -> None:
    outlook.provider = event.provider


def _deferred(outlook: Outlook, event: e.EmailDeliveryDeferred) -> None:
    outlook.last_class, outlook.last_reason, outlook.next_at = event.error_class, event.reason, event.retry_at


def _unconfirmed(outlook: Outlook, event: e.EmailDeliveryUnconfirmed) -> None:
    outlook.last_class, outlook.last_reason, outlook.next_at = ErrorClass.UNKNOWN, event.reason, event.settle_at


def _failed(outlook: Outlook, event: e.EmailDeliveryFailed) -> None:
    ours = event.provider is None and event.error_class is ErrorClass.SUPPRESSED
    outlook.last_class = event.error_class
    outlook.last_reason = (outlook._suppressed() if ours else None) or event.reason


def _expired(outlook: Outlook, event: e.EmailExpired) -> None:
    outlook.last_reason = "expired"  # what kept it until then stays known by its class


def _requeued(outlook: Outlook, event: e.EmailRequeued) -> None:
    outlook.last_class = outlook.last_reason = outlook.next_at = None
    for recipient in event.recipients:
        outlook.reasons.pop(recipient, None)


_NOTES: Mapping[type[e.Event], Callable[[Outlook, Any], None]] = {
    e.EmailDeliveryStarted: _started,
    e.EmailDeliveryDeferred: _deferred,
    e.EmailDeliveryUnconfirmed: _unconfirmed,
    e.EmailDeliveryFailed: _failed,
    e.EmailExpired: _expired,
    e.EmailRequeued: _requeued,
}
