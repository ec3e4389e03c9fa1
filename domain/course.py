"""The course of one email: what its history comes to, as far as decisions need it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import events as e
from domain.answer import RecipientReport
from domain.standing import Standing
from domain.status import EmailStatus

Identity = tuple[object, ...]


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
        self.accepted: dict[int, set[UUID]] = {}  # by attempt: for whom a provider took it
        self.doubted: dict[int, set[UUID]] = {}  # by attempt: of whom that was in doubt
        self.doubts: dict[int, str] = {}  # by attempt: why that came to be
        self.requeues = 0
        self.attempts_before = 0  # attempts made before the last requeue
        self.not_before: dict[str, datetime] = {}  # by provider: when it is worth asking again
        self.urgency: e.Priority | None = None  # as an operator wants it, since the last requeue
        self.chosen: str | None = None  # the provider that an operator wants, since the last requeue
        self.history: list[e.Event] = []
        self.reported: dict[Identity, e.RecipientEvent] = {}  # those that still count
        self.corrected: set[UUID] = set()  # ids of events that do not count any more
        self.noted: set[Identity] = set()  # what was said without naming a recipient

    @property
    def status(self) -> EmailStatus:
        return self.standing.status

    @property
    def tenant(self) -> str:
        return self.queued.tenant

    @property
    def priority(self) -> e.Priority:
        """As it was accepted, or as it was last requeued."""
        return self.urgency or self.queued.priority

    @property
    def first_due(self) -> datetime:
        """When delivery could first begin: what the Date header says, however often it is tried."""
        return self.first_due_at or self.queued.occurred_at

    def apply(self, event: e.Event) -> None:
        """Follow one more event; the first one must be EmailQueued."""
        self.version = event.originator_version
        self.history.append(event)
        if isinstance(event, e.EmailQueued):
            self.queued, self.standing, self.expires_at = event, Standing.opened(event), event.expires_at
        else:
            self.standing.apply(event)
        if follow := _FOLLOW.get(type(event)):
            follow(self, event)
        elif isinstance(event, e.RecipientEvent):
            self._was_reported(event)

    def attempts_with(self, provider: str) -> int:
        """How many attempts this provider has had since the email was last requeued."""
        return sum(a.provider == provider and a.attempt > self.attempts_before for a in self.attempts.values())

    def in_doubt_for(self, attempt: int) -> tuple[UUID, ...]:
        """Of whom it is not known whether the provider took this attempt."""
        doubted = self.doubted[attempt] - self.accepted[attempt]
        return tuple(id for id in self.attempts[attempt].recipients if id in doubted)

    def _was_reported(self, event: e.RecipientEvent) -> None:
        if event.corrects:
            self.corrected.add(event.corrects.event_id)
        self.reported.update((identity, event) for identity in identities(event))

    def wait_until(self, at: datetime) -> None:
        """The next thing to do is due then, or when the email expires; nothing is when nobody is outstanding."""
        at = min(at, self.expires_at) if self.expires_at else at
        self.due_at = at if self.standing.outstanding else None


def identities(said: RecipientReport | e.RecipientEvent) -> list[Identity]:
    """What makes two reports the same one: any shared key, or without keys who, what and when."""
    if said.keys:
        return [(said.recipient_id, said.provider, key) for key in said.keys]
    kind = said.kind if isinstance(said, RecipientReport) else type(said)
    return [(kind, said.recipient_id, said.provider, said.provider_event_id or said.provider_at)]


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
    email.not_before, email.chosen, email.urgency = {}, event.provider, event.priority
    email.wait_until(event.occurred_at)


def _was_started(email: Course, event: e.EmailDeliveryStarted) -> None:
    email.attempts[event.attempt] = event
    email.accepted[event.attempt], email.doubted[event.attempt] = set(), set()
    email.due_at = event.deadline


def _was_put_off(email: Course, event: e.EmailDeliveryDeferred) -> None:
    if event.provider is not None:
        email.not_before[event.provider] = event.again_at or event.retry_at
    email.wait_until(event.retry_at)


def _was_doubted(email: Course, event: e.EmailDeliveryUnconfirmed) -> None:
    email.doubted[event.attempt].update(event.recipients)
    email.doubts.setdefault(event.attempt, event.reason)
    email.due_at = event.settle_at


def _was_resolved(email: Course, event: e.EmailDeliveryResolved) -> None:
    if event.resolution is e.Resolution.ACCEPTED:
        email.accepted[event.attempt].update(event.recipients)
    if email.standing.open_attempt is None:
        email.wait_until(event.occurred_at)


def _was_dispatched(email: Course, event: e.EmailDispatched) -> None:
    email.accepted[event.attempt].update(message.recipient_id for message in event.messages)
    email.due_at = None


def _was_noted(email: Course, event: e.EmailFeedbackUnattributed) -> None:
    email.noted.update((event.provider, key) for key in event.keys)


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
    e.EmailFeedbackUnattributed: _was_noted,
    e.EmailCancelled: _has_ended,
    e.EmailExpired: _has_ended,
    e.EmailDeliveryFailed: _has_ended,
}
