"""Where an email and each of its recipients stand: one fold of the events, for the aggregate and the read models."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from domain import events as e
from domain.delivery import ErrorClass
from domain.personal import PersonalStr
from domain.status import EmailStatus, RecipientStatus

# Reports fold by (rank, provider's time, severity), the largest winning: a maximum does not care for order or copies.
# What the email's own end left behind (failed, cancelled, expired) ranks lowest, so that any report outranks it.
_RANK: Mapping[RecipientStatus, int] = {
    RecipientStatus.PENDING: 0,
    RecipientStatus.FAILED: 0,
    RecipientStatus.CANCELLED: 0,
    RecipientStatus.EXPIRED: 0,
    RecipientStatus.SENT: 1,
    RecipientStatus.DEFERRED: 2,
    RecipientStatus.DELIVERED: 3,
    RecipientStatus.SUPPRESSED: 3,
    RecipientStatus.BOUNCED: 3,
    RecipientStatus.COMPLAINED: 4,
}
_SEVERITY = {status: place for place, status in enumerate(RecipientStatus)}
_TERMINAL = 3
_REACHED = frozenset({RecipientStatus.DELIVERED, RecipientStatus.COMPLAINED})
_MISSED = frozenset({RecipientStatus.PENDING, RecipientStatus.FAILED, RecipientStatus.BOUNCED, RecipientStatus.EXPIRED})

# What an email's status is called in Resend's API. Of a mixed end the bad news is told.
_WORDS: Mapping[EmailStatus, str] = {
    EmailStatus.SCHEDULED: "scheduled",
    EmailStatus.QUEUED: "queued",
    EmailStatus.SENDING: "queued",
    EmailStatus.DEFERRED: "delivery_delayed",
    EmailStatus.UNCONFIRMED: "unconfirmed",
    EmailStatus.DISPATCHED: "sent",
    EmailStatus.DELIVERED: "delivered",
    EmailStatus.PARTIALLY_DELIVERED: "bounced",
    EmailStatus.BOUNCED: "bounced",
    EmailStatus.SUPPRESSED: "suppressed",
    EmailStatus.FAILED: "failed",
    EmailStatus.CANCELLED: "canceled",
    EmailStatus.EXPIRED: "expired",
}
_ENGAGING = frozenset({EmailStatus.DISPATCHED, EmailStatus.DELIVERED})
_UNDELIVERED = frozenset(
    {EmailStatus.FAILED, EmailStatus.BOUNCED, EmailStatus.PARTIALLY_DELIVERED, EmailStatus.SUPPRESSED}
    | {EmailStatus.EXPIRED}
)

REPORTED: Mapping[type[e.Event], RecipientStatus] = {
    e.EmailRecipientDelivered: RecipientStatus.DELIVERED,
    e.EmailRecipientDeferred: RecipientStatus.DEFERRED,
    e.EmailRecipientDeliveryFailed: RecipientStatus.BOUNCED,
    e.EmailRecipientSuppressed: RecipientStatus.SUPPRESSED,
    e.EmailRecipientComplained: RecipientStatus.COMPLAINED,
}


def reported_status(event: e.RecipientEvent) -> RecipientStatus:
    """What a report says of the delivery to its recipient."""
    if type(event) is e.EmailRecipientDeliveryFailed and not event.final:
        return RecipientStatus.DEFERRED  # it must not outrank a delivery
    return REPORTED[type(event)]


def is_current(at: datetime, requeued_at: datetime | None) -> bool:
    """Whether a report of that time is about what was sent last. Some providers tell whole seconds only."""
    return requeued_at is None or at >= requeued_at.replace(microsecond=0)


@dataclass(slots=True)
class RecipientStanding:
    """One recipient: delivery state, and engagement beside it."""

    id: UUID
    kind: str
    address: PersonalStr = field(repr=False)
    name: PersonalStr = field(default="", repr=False)
    status: RecipientStatus = RecipientStatus.PENDING
    at: datetime | None = None  # the provider's time behind `status`
    since: datetime | None = None  # when it was last requeued; older reports belong to the past
    handed_over: bool = False  # a provider has taken the message for this recipient
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    unsubscribed_at: datetime | None = None

    @property
    def outstanding(self) -> bool:
        """Whether there still is something to send to this recipient."""
        return not self.handed_over and _RANK[self.status] < _TERMINAL

    @property
    def failed(self) -> bool:
        """Whether the message did not reach this recipient, though nobody took it back and no rule forbade it."""
        if self.status is RecipientStatus.DEFERRED:
            return not self.handed_over
        return self.status in _MISSED

    def report(self, status: RecipientStatus, at: datetime) -> None:
        if not is_current(at, self.since):
            return
        if self._weight(status, at) > self._weight(self.status, self.at or at):
            self.status, self.at = status, at

    def correct(self, correction: e.Correction) -> None:
        """Stand where this recipient would have stood without the mistaken event."""
        self.status, self.at = correction.status, correction.at
        self.opened_at, self.clicked_at = correction.opened_at, correction.clicked_at
        self.unsubscribed_at = correction.unsubscribed_at

    def hand_over(self) -> None:
        self.handed_over = True
        if _RANK[self.status] == 0:
            self.status = RecipientStatus.SENT

    def end(self, status: RecipientStatus) -> None:
        if _RANK[self.status] == 0:
            self.status = status

    def requeue(self, at: datetime) -> None:
        self.status, self.at, self.since, self.handed_over = RecipientStatus.PENDING, None, at, False

    @staticmethod
    def _weight(status: RecipientStatus, at: datetime) -> tuple[int, datetime, int]:
        return _RANK[status], at, _SEVERITY[status]


@dataclass(slots=True)
class Standing:
    """One email: its recipients, the attempt under way, and how it ended if it did."""

    recipients: dict[UUID, RecipientStanding]
    waiting: EmailStatus
    ended: EmailStatus | None = None
    attempt: int = 0
    open_attempt: int | None = None
    in_doubt: bool = False

    @classmethod
    def of(cls, history: Iterable[e.Event], without: Collection[UUID] = ()) -> "Standing":
        """Fold a whole history, as if the events `without` had never been. Its first event must be EmailQueued."""
        events = iter(history)
        first = next(events)
        if not isinstance(first, e.EmailQueued):
            raise ValueError(f"A history begins with {e.EmailQueued.topic()}, not with {first.topic()}.")
        standing = cls.opened(first)
        for event in events:
            if not without:
                standing.apply(event)
            elif event.event_id not in without:
                standing._fold(event)
        return standing

    @classmethod
    def opened(cls, event: e.EmailQueued) -> "Standing":
        return cls(
            recipients={r.id: RecipientStanding(r.id, r.kind, r.address, r.name) for r in event.recipients},
            waiting=EmailStatus.SCHEDULED if event.send_at else EmailStatus.QUEUED,
        )

    @classmethod
    def decode(cls, stored: str) -> "Standing":
        return _JSON.validate_json(stored)

    def encode(self) -> str:
        """As JSON, without what is still as it was at the beginning."""
        return _JSON.dump_json(self, exclude_defaults=True).decode()

    def apply(self, event: e.Event) -> None:
        """Fold one more event in. Events of other kinds change nothing."""
        if e.is_about_recipient(event) and event.corrects:
            self.recipients[event.recipient_id].correct(event.corrects)
        self._fold(event)

    def _fold(self, event: e.Event) -> None:
        if fold := _FOLDS.get(type(event)):
            fold(self, event)

    @property
    def last_event(self) -> str:
        """Where it stands in the words of Resend's API, and `unconfirmed` and `expired`, for which it has none."""
        recipients = self.recipients.values()
        if any(r.status is RecipientStatus.COMPLAINED for r in recipients):
            return "complained"
        status = self.status
        if status in _ENGAGING:
            if any(r.clicked_at for r in recipients):
                return "clicked"
            if any(r.opened_at for r in recipients):
                return "opened"
        if status is EmailStatus.DISPATCHED and any(r.status is RecipientStatus.DEFERRED for r in recipients):
            return "delivery_delayed"
        return _WORDS[status]

    @property
    def outstanding(self) -> tuple[UUID, ...]:
        if self.ended:
            return ()
        return tuple(r.id for r in self.recipients.values() if r.outstanding)

    @property
    def undelivered(self) -> tuple[UUID, ...]:
        """The recipients whom a requeue would send to again: who failed, or if none did, who was suppressed."""
        failed = tuple(r.id for r in self.recipients.values() if r.failed)
        return failed or tuple(r.id for r in self.recipients.values() if r.status is RecipientStatus.SUPPRESSED)

    @property
    def is_dead_letter(self) -> bool:
        """Whether it has ended, somebody has not got it, and it may be sent again."""
        return self.status in _UNDELIVERED and bool(self.undelivered)

    @property
    def handed_over(self) -> bool:
        return any(r.handed_over for r in self.recipients.values())

    @property
    def status(self) -> EmailStatus:
        if self.open_attempt is not None:
            return EmailStatus.UNCONFIRMED if self.in_doubt else EmailStatus.SENDING
        if self.ended and not self._went_out():
            return self.ended
        if self.outstanding:
            return self.waiting
        return self._outcome()

    def _went_out(self) -> bool:
        return any(r.handed_over or r.status in _REACHED for r in self.recipients.values())

    def _outcome(self) -> EmailStatus:
        statuses = [r.status for r in self.recipients.values()]
        if any(_RANK[s] in (1, 2) for s in statuses):
            return EmailStatus.DISPATCHED
        reached = sum(s in _REACHED for s in statuses)
        if reached == len(statuses):
            return EmailStatus.DELIVERED
        if reached:
            return EmailStatus.PARTIALLY_DELIVERED
        if all(s is RecipientStatus.SUPPRESSED for s in statuses):
            return EmailStatus.SUPPRESSED
        return EmailStatus.BOUNCED

    def _end(self, ended: EmailStatus, recipients: RecipientStatus) -> None:
        self.ended, self.open_attempt, self.in_doubt = ended, None, False
        for recipient in self.recipients.values():
            recipient.end(recipients)

    def _close(self, attempt: int, waiting: EmailStatus) -> None:
        if self.open_attempt in (attempt, None):
            self.open_attempt, self.in_doubt, self.waiting = None, False, waiting


_JSON = TypeAdapter(Standing)


def _rescheduled(email: Standing, event: e.EmailRescheduled) -> None:
    email.waiting = EmailStatus.SCHEDULED


def _cancelled(email: Standing, event: e.EmailCancelled) -> None:
    email._end(EmailStatus.CANCELLED, RecipientStatus.CANCELLED)


def _expired(email: Standing, event: e.EmailExpired) -> None:
    email._end(EmailStatus.EXPIRED, RecipientStatus.EXPIRED)


def _failed(email: Standing, event: e.EmailDeliveryFailed) -> None:
    suppressed = event.error_class is ErrorClass.SUPPRESSED
    email._end(EmailStatus.SUPPRESSED if suppressed else EmailStatus.FAILED, RecipientStatus.FAILED)


def _started(email: Standing, event: e.EmailDeliveryStarted) -> None:
    email.attempt, email.open_attempt, email.in_doubt = event.attempt, event.attempt, False


def _dispatched(email: Standing, event: e.EmailDispatched) -> None:
    email._close(event.attempt, EmailStatus.DEFERRED)
    for message in event.messages:
        email.recipients[message.recipient_id].hand_over()


def _deferred(email: Standing, event: e.EmailDeliveryDeferred) -> None:
    email._close(event.attempt, EmailStatus.DEFERRED)


def _unconfirmed(email: Standing, event: e.EmailDeliveryUnconfirmed) -> None:
    email.open_attempt, email.in_doubt = event.attempt, True  # open again when others of the attempt were dispatched


def _resolved(email: Standing, event: e.EmailDeliveryResolved) -> None:
    if not event.doubtful:
        email._close(event.attempt, EmailStatus.QUEUED)
    if event.resolution is e.Resolution.ACCEPTED:
        for recipient in event.recipients:
            email.recipients[recipient].hand_over()


def _requeued(email: Standing, event: e.EmailRequeued) -> None:
    email.ended, email.waiting = None, EmailStatus.QUEUED
    for recipient in event.recipients:
        email.recipients[recipient].requeue(event.occurred_at)


def _reported(email: Standing, event: e.RecipientEvent) -> None:
    email.recipients[event.recipient_id].report(reported_status(event), event.provider_at)


def _opened(email: Standing, event: e.EmailRecipientOpened) -> None:
    recipient = email.recipients[event.recipient_id]
    if not event.machine:
        recipient.opened_at = _earlier(recipient.opened_at, event.provider_at)


def _clicked(email: Standing, event: e.EmailRecipientClicked) -> None:
    recipient = email.recipients[event.recipient_id]
    if not event.machine:
        recipient.clicked_at = _earlier(recipient.clicked_at, event.provider_at)


def _unsubscribed(email: Standing, event: e.EmailRecipientUnsubscribed) -> None:
    recipient = email.recipients[event.recipient_id]
    recipient.unsubscribed_at = _earlier(recipient.unsubscribed_at, event.provider_at)


def _earlier(known: datetime | None, at: datetime) -> datetime:
    return at if known is None else min(known, at)


_FOLDS: Mapping[type[e.Event], Callable[[Standing, Any], None]] = {
    e.EmailRescheduled: _rescheduled,
    e.EmailCancelled: _cancelled,
    e.EmailExpired: _expired,
    e.EmailDeliveryStarted: _started,
    e.EmailDispatched: _dispatched,
    e.EmailDeliveryDeferred: _deferred,
    e.EmailDeliveryFailed: _failed,
    e.EmailDeliveryUnconfirmed: _unconfirmed,
    e.EmailDeliveryResolved: _resolved,
    e.EmailRequeued: _requeued,
    e.EmailRecipientOpened: _opened,
    e.EmailRecipientClicked: _clicked,
    e.EmailRecipientUnsubscribed: _unsubscribed,
    **dict.fromkeys(REPORTED, _reported),
}
