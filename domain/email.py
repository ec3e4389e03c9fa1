"""The Email aggregate: every rule about one email, deciding over its own history. No I/O, no clock, no chance."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Self
from uuid import UUID

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.course import Course, identity
from domain.delivery import ErrorClass, GiveUp, Trouble, after_trouble
from domain.draft import Draft
from domain.errors import NotAllowedInThisState
from domain.ids import uuid7
from domain.status import EmailStatus

_WAITING = frozenset({EmailStatus.SCHEDULED, EmailStatus.QUEUED, EmailStatus.DEFERRED})
_REQUEUEABLE = frozenset(
    {EmailStatus.FAILED, EmailStatus.BOUNCED, EmailStatus.PARTIALLY_DELIVERED, EmailStatus.SUPPRESSED}
)


class Step(Enum):
    """What the process manager has to do next for an email."""

    NOTHING = auto()
    START = auto()
    EXPIRE = auto()
    DOUBT = auto()  # the intent's deadline passed without an outcome
    SETTLE = auto()  # the window for evidence is over


class Email(Course):
    """One email from acceptance to its end. Methods check a rule and record events, which the course then follows."""

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self._pending: list[e.Event] = []

    # -- life --------------------------------------------------------------------------------------------------

    @classmethod
    def queue(cls, id: UUID, tenant: str, draft: Draft, stamp: e.Stamp) -> Self:
        """Accept an email. A `send_at` that is not in the future means now."""
        email = cls(id)
        later = draft.send_at if draft.send_at and draft.send_at > stamp.now else None
        event = e.EmailQueued(
            **_bookkeeping(id, 1, tenant, stamp),
            sender=draft.sender,
            recipients=draft.recipients,
            reply_to=draft.reply_to,
            subject=draft.subject,
            content=draft.content,
            attachments=draft.attachments,
            tags=draft.tags,
            metadata=draft.metadata or {},
            priority=draft.priority,
            stream=draft.stream,
            send_at=later,
            expires_at=draft.expires_at,
            policy=draft.policy,
            fingerprint=draft.fingerprint,
        )
        email.apply(event)
        email._pending.append(event)
        return email

    @classmethod
    def of(cls, history: Iterable[e.Event]) -> Self | None:
        """Rebuild from a stream's events, in order; None for an empty stream."""
        email: Self | None = None
        for event in history:
            if email is None:
                email = cls(event.originator_id)
            email.apply(event)
        return email

    def collect_events(self) -> list[e.Event]:
        """The events recorded since the last call, to be appended in one commit."""
        pending, self._pending = self._pending, []
        return pending

    @property
    def token(self) -> str:
        """Our idempotency token: one for all attempts, a new one after a requeue, which is meant to send again."""
        return f"{self.id.hex}-{self.requeues}"

    def step(self, now: datetime) -> Step:
        """What is due for this email at `now`."""
        if self.due_at is None or self.due_at > now:
            return Step.NOTHING
        match self.status:
            case EmailStatus.SENDING:
                return Step.DOUBT
            case EmailStatus.UNCONFIRMED:
                return Step.SETTLE
            case status if status not in _WAITING:
                return Step.NOTHING
            case _:
                return Step.EXPIRE if self._expired(now) else Step.START

    # -- what the client decides -------------------------------------------------------------------------------

    def reschedule(self, send_at: datetime, stamp: e.Stamp) -> None:
        self._require(self.status in _WAITING and not self.standing.handed_over, "rescheduled")
        self._record(e.EmailRescheduled, stamp, send_at=send_at)

    def cancel(self, stamp: e.Stamp) -> None:
        """Take it back. Cancelling twice is no error and records nothing new."""
        if self.status is EmailStatus.CANCELLED:
            return
        self._require(self.status in _WAITING and not self.standing.handed_over, "cancelled")
        self._record(e.EmailCancelled, stamp)

    def requeue(self, reason: str, stamp: e.Stamp, priority: e.Priority | None = None) -> None:
        """Send again to those who have not got it."""
        again = self.standing.undelivered
        self._require(self.status in _REQUEUEABLE and bool(again), "sent again")
        self._record(e.EmailRequeued, stamp, recipients=again, priority=priority or self.queued.priority, reason=reason)

    def resolve(self, resolution: e.Resolution, reason: str, stamp: e.Stamp) -> None:
        """An operator settles an attempt in doubt."""
        self._require(self.status is EmailStatus.UNCONFIRMED, "resolved")
        self._resolve(self._open(), resolution, "operator", stamp, reason=reason)

    def purge_content(self, reason: str, stamp: e.Stamp) -> None:
        self._require(self.due_at is None and self.status is not EmailStatus.UNCONFIRMED, "purged")
        self._record(e.EmailContentPurged, stamp, reason=reason)

    # -- what the process manager does -------------------------------------------------------------------------

    def start_delivery(self, provider: str, route: str, lease: timedelta, stamp: e.Stamp) -> int:
        """Record the intent to call a provider for all who are outstanding. Returns the attempt's number."""
        self._require(self.status in _WAITING, "started")
        attempt = self.standing.attempt + 1
        self._record(
            e.EmailDeliveryStarted,
            stamp,
            attempt=attempt,
            provider=provider,
            token=self.token,
            route=route,
            recipients=self.standing.outstanding,
            deadline=stamp.now + lease,
        )
        return attempt

    def conclude(self, attempt: int, answer: Answer, stamp: e.Stamp, *, chance: float) -> None:
        """Record what came of an attempt, in time or late (after others had to assume the worst)."""
        started = self.attempts[attempt]
        if self.standing.open_attempt == attempt and not self.standing.in_doubt:
            if answer.in_doubt:
                self._doubt(started, answer.reason or "answer_lost", stamp, words=answer.words)
            else:
                self._take(started, answer, stamp, chance)
        elif answer.messages and attempt not in self.accepted:
            self._report_all(answer.reports, stamp)
            self._resolve(started, e.Resolution.ACCEPTED, "late_answer", stamp, messages=answer.messages)
        elif self.standing.open_attempt == attempt and not answer.in_doubt and not answer.messages:
            self._resolve(started, e.Resolution.NOT_ACCEPTED, "late_answer", stamp)
            self._take(started, answer, stamp, chance)

    def doubt(self, stamp: e.Stamp) -> None:
        """The intent's deadline passed and nobody recorded an outcome: the worker is gone, or stuck."""
        if self.status is EmailStatus.SENDING:
            self._doubt(self._open(), "worker_lost", stamp)

    def settle(self, found: Answer | None, stamp: e.Stamp) -> None:
        """The window is over: settle by what the provider's look-up `found`, or else by the email's policy.

        `found` None means there is no evidence; an answer that took nobody means the provider knows it has nothing.
        """
        if self.status is not EmailStatus.UNCONFIRMED:
            return
        started = self._open()
        if found is not None and found.messages:
            self._report_all(found.reports, stamp)
            self._resolve(started, e.Resolution.ACCEPTED, "look_up", stamp, messages=found.messages)
        elif found is not None:
            self._resolve(started, e.Resolution.NOT_ACCEPTED, "look_up", stamp)
            self._give_up_if_hopeless(started, stamp)
        elif self.queued.policy.in_doubt == "at_most_once":
            self._doubt(started, "no_evidence", stamp, park=True)
        else:
            self._resolve(started, e.Resolution.PRESUMED_LOST, "policy", stamp)
            self._give_up_if_hopeless(started, stamp)

    def expire(self, stamp: e.Stamp) -> None:
        if self.status in _WAITING and self._expired(stamp.now):
            self._record(e.EmailExpired, stamp, expires_at=self.expires_at)

    def report(self, report: RecipientReport, stamp: e.Stamp) -> None:
        """Record a provider's word about one recipient, once.

        Any such word is evidence that the provider took the latest attempt, should that be in doubt or presumed lost.
        """
        before = self.status
        self._report_all([report], stamp)
        latest = self.attempts.get(self.standing.attempt)
        if latest is None or not (before is EmailStatus.UNCONFIRMED or before in _WAITING):
            return
        if latest.attempt in self.doubted - self.accepted and self._is_evidence(report, latest):
            self._resolve(latest, e.Resolution.ACCEPTED, "feedback", stamp)
        elif before in _WAITING and not self.standing.outstanding:
            # We were put off, and yet everyone has been dealt with: there is nothing left to wait for.
            suppressed = report.kind is e.EmailRecipientSuppressed
            resolution = e.Resolution.NOT_ACCEPTED if suppressed else e.Resolution.ACCEPTED
            self._resolve(latest, resolution, "feedback", stamp)

    # -- inside ------------------------------------------------------------------------------------------------

    def _is_evidence(self, report: RecipientReport, latest: e.EmailDeliveryStarted) -> bool:
        """Whether a word about a recipient can only have been said because the provider took the latest attempt."""
        if report.recipient_id not in latest.recipients or report.kind is e.EmailRecipientSuppressed:
            return False
        since = self.standing.recipients[report.recipient_id].since
        return since is None or report.provider_at >= since  # an older one is about what was sent before the requeue

    def _take(self, started: e.EmailDeliveryStarted, answer: Answer, stamp: e.Stamp, chance: float) -> None:
        self._report_all(map(self._about_this_time, answer.reports), stamp)
        taken = {message.recipient_id for message in answer.messages}
        refused = answer.refused()
        rest = tuple(r for r in started.recipients if r not in taken and r not in refused)
        verdict = self._after(answer, stamp.now, chance) if rest else GiveUp("rejected")
        if answer.messages:
            self._record(
                e.EmailDispatched,
                stamp,
                attempt=started.attempt,
                provider=started.provider,
                messages=answer.messages,
                refused=refused,
                put_off=() if isinstance(verdict, GiveUp) else rest,
                words=answer.words,
            )
        facts = {"attempt": started.attempt, "provider": started.provider, "words": answer.words}
        error_class = answer.error_class or ErrorClass.PERMANENT
        if not isinstance(verdict, GiveUp):
            self._record(
                e.EmailDeliveryDeferred,
                stamp,
                **facts,
                recipients=rest,
                error_class=error_class,
                reason=answer.reason,
                retry_at=verdict.at,
            )
        elif verdict.reason == "expired" and rest:
            self._record(e.EmailExpired, stamp, expires_at=self.expires_at)
        elif rest or not answer.messages:
            self._record(
                e.EmailDeliveryFailed, stamp, **facts, error_class=error_class, reason=answer.reason or verdict.reason
            )

    def _about_this_time(self, report: RecipientReport) -> RecipientReport:
        """A word in the answer itself is never older than the requeue, whatever the provider's clock says."""
        recipient = self.standing.recipients.get(report.recipient_id)
        if recipient is None or recipient.since is None or report.provider_at >= recipient.since:
            return report
        return replace(report, provider_at=recipient.since)

    def _after(self, answer: Answer, now: datetime, chance: float) -> Any:
        trouble = Trouble(
            error_class=answer.error_class or ErrorClass.TRANSIENT,
            attempts=self.standing.attempt - self.attempts_before,
            due_since=self.due_since or now,
            expires_at=self.expires_at,
            retry_after=answer.retry_after,
        )
        return after_trouble(self.queued.policy, trouble, now, chance)

    def _give_up_if_hopeless(self, started: e.EmailDeliveryStarted, stamp: e.Stamp) -> None:
        if not self.standing.outstanding:
            return
        if self._expired(stamp.now):
            self._record(e.EmailExpired, stamp, expires_at=self.expires_at)
        elif isinstance(verdict := self._after(Answer(), stamp.now, 0.0), GiveUp) and verdict.reason != "expired":
            self._record(
                e.EmailDeliveryFailed,
                stamp,
                attempt=started.attempt,
                provider=started.provider,
                error_class=ErrorClass.UNKNOWN,
                reason=verdict.reason,
            )

    def _doubt(
        self, started: e.EmailDeliveryStarted, reason: str, stamp: e.Stamp, *, words: str = "", park: bool = False
    ) -> None:
        self._record(
            e.EmailDeliveryUnconfirmed,
            stamp,
            attempt=started.attempt,
            provider=started.provider,
            recipients=started.recipients,
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
        reason: str = "",
    ) -> None:
        recipients = tuple(m.recipient_id for m in messages) or started.recipients
        taken = recipients if resolution is e.Resolution.ACCEPTED else ()
        self._record(
            e.EmailDeliveryResolved,
            stamp,
            attempt=started.attempt,
            provider=started.provider,
            resolution=resolution,
            evidence=evidence,
            recipients=recipients,
            messages=messages,
            put_off=tuple(r for r in self.standing.outstanding if r not in taken),
            reason=reason,
        )

    def _report_all(self, reports: Iterable[RecipientReport], stamp: e.Stamp) -> None:
        for report in reports:
            if report.recipient_id not in self.standing.recipients or identity(report) in self.reported:
                continue
            self._record(
                report.kind,
                stamp,
                recipient_id=report.recipient_id,
                provider=report.provider,
                provider_at=report.provider_at,
                provider_event_id=report.provider_event_id,
                provider_message_id=report.provider_message_id,
                **report.details,
            )

    def _open(self) -> e.EmailDeliveryStarted:
        return self.attempts[self.standing.attempt]

    def _expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def _require(self, allowed: bool, done: str) -> None:
        if not allowed:
            raise NotAllowedInThisState(f"This email is {self.status.value}; it cannot be {done} now.")

    def _record(self, cls: type[e.Event], stamp: e.Stamp, **fields: Any) -> None:
        event = cls(**_bookkeeping(self.id, self.version + 1, self.tenant, stamp), **fields)
        self.apply(event)
        self._pending.append(event)


def _bookkeeping(id: UUID, version: int, tenant: str, stamp: e.Stamp) -> dict[str, Any]:
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
