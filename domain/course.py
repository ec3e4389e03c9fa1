"""The course of one email: what its history comes to, as far as decisions need it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import events as e
from domain.answer import RecipientReport
from domain.standing import Standing
from domain.status import EmailStatus


class Course:
    """Follows events, one after another; decides nothing."""

    queued: e.EmailQueued
    standing: Standing

    def __init__(self, id: UUID) -> None:
        self.id = id
        self.version = 0
        self.due_at: datetime | None = None  # None: nothing is waited for
        self.due_since: datetime | None = None
        self.expires_at: datetime | None = None
        self.first_due_at: datetime | None = None
        self.attempts: dict[int, e.EmailDeliveryStarted] = {}
        self.accepted: set[int] = set()  # attempts of which a provider took something
        self.doubted: set[int] = set()  # attempts that have been in doubt
        self.requeues = 0
        self.attempts_before = 0  # attempts made before the last requeue
        self.reported: set[tuple[object, ...]] = set()

    @property
    def status(self) -> EmailStatus:
        return self.standing.status

    @property
    def tenant(self) -> str:
        return self.queued.tenant

    @property
    def first_due(self) -> datetime:
        """When delivery could first begin: what the Date header says, however often it is tried."""
        return self.first_due_at or self.queued.occurred_at

    def apply(self, event: e.Event) -> None:
        """Follow one more event; the first one must be EmailQueued."""
        self.version = event.originator_version
        if isinstance(event, e.EmailQueued):
            self.queued, self.standing, self.expires_at = event, Standing.opened(event), event.expires_at
        else:
            self.standing.apply(event)
        if follow := _FOLLOW.get(type(event)):
            follow(self, event)
        elif isinstance(event, e.RecipientEvent):
            self.reported.add(identity(event))

    def wait_until(self, at: datetime) -> None:
        """The next thing to do is due then, or when the email expires; nothing is when nobody is outstanding."""
        at = min(at, self.expires_at) if self.expires_at else at
        self.due_at = at if self.standing.outstanding else None


def identity(said: RecipientReport | e.RecipientEvent) -> tuple[object, ...]:
    """What makes two reports the same one: the provider's own event id, or else who, what and when."""
    kind = said.kind if isinstance(said, RecipientReport) else type(said)
    if said.provider_event_id:
        return kind, said.recipient_id, said.provider, said.provider_event_id
    return kind, said.recipient_id, said.provider, said.provider_at


def _was_timed(email: Course, event: e.EmailQueued | e.EmailRescheduled) -> None:
    email.due_since = event.send_at or event.occurred_at
    if not email.attempts:  # the Date header must not change from one attempt to the next
        email.first_due_at = email.due_since
    email.wait_until(email.due_since)


def _was_requeued(email: Course, event: e.EmailRequeued) -> None:
    email.requeues += 1
    email.expires_at = None  # whoever sends it again wants it sent
    email.attempts_before = email.standing.attempt
    email.due_since = event.occurred_at
    email.wait_until(event.occurred_at)


def _was_started(email: Course, event: e.EmailDeliveryStarted) -> None:
    email.attempts[event.attempt] = event
    email.due_at = event.deadline


def _was_put_off(email: Course, event: e.EmailDeliveryDeferred) -> None:
    email.wait_until(event.retry_at)


def _was_doubted(email: Course, event: e.EmailDeliveryUnconfirmed) -> None:
    email.doubted.add(event.attempt)
    email.due_at = event.settle_at


def _was_resolved(email: Course, event: e.EmailDeliveryResolved) -> None:
    if event.resolution is e.Resolution.ACCEPTED:
        email.accepted.add(event.attempt)
    if email.standing.open_attempt is None:
        email.wait_until(event.occurred_at)


def _was_dispatched(email: Course, event: e.EmailDispatched) -> None:
    email.accepted.add(event.attempt)
    email.due_at = None


def _has_ended(email: Course, event: e.Event) -> None:
    email.due_at = None


_FOLLOW: Mapping[type[e.Event], Callable[[Course, Any], None]] = {
    e.EmailQueued: _was_timed,
    e.EmailRescheduled: _was_timed,
    e.EmailRequeued: _was_requeued,
    e.EmailDeliveryStarted: _was_started,
    e.EmailDeliveryDeferred: _was_put_off,
    e.EmailDeliveryUnconfirmed: _was_doubted,
    e.EmailDeliveryResolved: _was_resolved,
    e.EmailDispatched: _was_dispatched,
    e.EmailCancelled: _has_ended,
    e.EmailExpired: _has_ended,
    e.EmailDeliveryFailed: _has_ended,
}
