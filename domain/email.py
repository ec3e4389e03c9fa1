"""The Email aggregate: every rule about one email, deciding over its own history. No I/O, no clock, no chance."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Self
from uuid import UUID

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.course import Course, identities
from domain.delivery import ErrorClass, GiveUp, Trouble, after_trouble
from domain.draft import Draft
from domain.errors import NotAllowedInThisState
from domain.feedback import Feedback
from domain.hearing import EVIDENCE, REPORTS, moment_of, recipient_of, report_of
from domain.ids import uuid7
from domain.standing import Standing
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
        """Rebuild from a stream's events, in order; None for an empty stream, and for one that is no email's."""
        email: Self | None = None
        for event in history:
            if email is None:
                if not isinstance(event, e.EmailQueued):
                    return None
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

    def suppress(self, rules: Mapping[UUID, str], stamp: e.Stamp) -> None:
        """Leave out these recipients, each by its rule. When nobody else is outstanding, the email has ended."""
        left_out = [id for id in self.standing.outstanding if id in rules]
        for id in left_out:
            self._say(RecipientReport(e.EmailRecipientSuppressed, id, "postledger", stamp.now), stamp, rule=rules[id])
        if left_out and not self.standing.outstanding:
            self._record(
                e.EmailDeliveryFailed,
                stamp,
                attempt=self.standing.attempt,
                provider=None,
                error_class=ErrorClass.SUPPRESSED,
                reason="suppressed",
            )

    def start_delivery(
        self, provider: str, route: str, lease: timedelta, stamp: e.Stamp, *, separate: bool = False
    ) -> int:
        """Record the intent to call a provider for all who are outstanding. Returns the attempt's number.

        `separate` says that each recipient gets a call of its own.
        """
        self._require(self.status in _WAITING, "started")
        attempt = self.standing.attempt + 1
        self._record(
            e.EmailDeliveryStarted,
            stamp,
            attempt=attempt,
            provider=provider,
            token=self.token,
            route=route,
            separate=separate,
            recipients=self.standing.outstanding,
            deadline=stamp.now + lease,
        )
        return attempt

    def conclude(self, attempt: int, answer: Answer, stamp: e.Stamp, *, chance: float) -> None:
        """Record what came of an attempt, in time or late (after others had to assume the worst)."""
        started = self.attempts[attempt]
        is_open = self.standing.open_attempt == attempt
        news = tuple(m for m in answer.messages if m.recipient_id not in self.accepted[attempt])
        if is_open and not self.standing.in_doubt:
            self._take(started, answer, stamp, chance)
        elif news:
            self._report_all(answer.reports, stamp)
            doubtful = answer.doubtful if answer.doubtful or not answer.in_doubt else self.in_doubt_for(attempt)
            self._resolve(started, e.Resolution.ACCEPTED, "late_answer", stamp, messages=news, doubtful=doubtful)
        elif is_open and not answer.in_doubt and not answer.messages:
            self._resolve(started, e.Resolution.NOT_ACCEPTED, "late_answer", stamp)
            self._take(started, answer, stamp, chance)

    def doubt(self, stamp: e.Stamp) -> None:
        """The intent's deadline passed and nobody recorded an outcome: the worker is gone, or stuck."""
        if self.status is EmailStatus.SENDING:
            self._doubt(self._open(), "worker_lost", stamp, self._open().recipients)

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
            self._doubt(started, "no_evidence", stamp, self.in_doubt_for(started.attempt), park=True)
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
        # What we were told on a call is its answer; being on a suppression list is no sign of having taken a message.
        if report.raw is not None or report.kind is not e.EmailRecipientSuppressed:
            self._learn(report.recipient_id, report.provider, report.provider_at, before, stamp)
        self._stop_waiting(before, report.kind is e.EmailRecipientSuppressed, stamp)

    def hear(self, said: Feedback, provider: str, received_at: datetime, stamp: e.Stamp, raw: UUID | None) -> bool:
        """Record what a provider told us, once, and learn from it; whether it can be about this email at all.

        A provider that was never asked to deliver this email has nothing to say about it. `raw` is the inbox entry.
        """
        if all(started.provider != provider for started in self.attempts.values()):
            return False
        at = moment_of(said, received_at)
        recipient = recipient_of(said, self.queued.recipients)
        if recipient is None:
            self._note(said, provider, at, stamp, raw)
        elif report := report_of(said, recipient, provider, at, raw):
            self.report(report, stamp)
        else:
            self._withdraw(said, recipient, provider, at, stamp, raw)
            if said.kind in EVIDENCE:
                self._learn(recipient, provider, at, self.status, stamp)
        return True

    # -- inside ------------------------------------------------------------------------------------------------

    def _learn(self, recipient: UUID | None, provider: str, at: datetime, before: EmailStatus, stamp: e.Stamp) -> None:
        """Settle the latest attempt, in doubt or presumed lost, by a word that proves it taken.

        A call of its own proves itself only; a call for all was taken for all. `recipient` None: for one of them.
        """
        latest = self.attempts.get(self.standing.attempt)
        if latest is None or latest.provider != provider:
            return
        if before is not EmailStatus.UNCONFIRMED and before not in _WAITING:
            return
        doubtful = self.in_doubt_for(latest.attempt)
        if latest.separate:
            doubtful = tuple(id for id in doubtful if id == recipient)
        if doubtful and self._is_about(latest, recipient, at):
            rest = self.in_doubt_for(latest.attempt)
            self._resolve(latest, e.Resolution.ACCEPTED, "feedback", stamp, recipients=doubtful, doubtful=rest)

    def _is_about(self, latest: e.EmailDeliveryStarted, recipient: UUID | None, at: datetime) -> bool:
        """Whether it concerns this attempt, and not what was sent before a requeue."""
        if recipient is None:
            return at >= latest.occurred_at
        since = self.standing.recipients[recipient].since
        return recipient in latest.recipients and (since is None or at >= since)

    def _stop_waiting(self, before: EmailStatus, suppressed: bool, stamp: e.Stamp) -> None:
        """We were put off, and yet everyone has been dealt with: there is nothing left to wait for."""
        latest = self.attempts.get(self.standing.attempt)
        if latest and before in _WAITING and self.due_at and not self.standing.outstanding:
            resolution = e.Resolution.NOT_ACCEPTED if suppressed else e.Resolution.ACCEPTED
            self._resolve(latest, resolution, "feedback", stamp, recipients=latest.recipients)

    def _note(self, said: Feedback, provider: str, at: datetime, stamp: e.Stamp, raw: UUID | None) -> None:
        """Keep what names no recipient, as such. It still proves that the message was taken."""
        if any((provider, key) in self.noted for key in said.keys):
            return
        before = self.status
        if said.kind in REPORTS:
            self._record(
                e.EmailFeedbackUnattributed,
                stamp,
                kind=said.kind.value,
                provider=provider,
                provider_at=at,
                provider_event_id=said.provider_event_id,
                provider_message_id=said.provider_message_id,
                keys=said.keys,
                raw=raw,
                bounce_class=said.bounce_class,
                reason=said.reason,
                words=said.words,
                url=said.url,
            )
        if said.kind in EVIDENCE:
            self._learn(None, provider, at, before, stamp)

    def _withdraw(
        self, said: Feedback, recipient: UUID, provider: str, at: datetime, stamp: e.Stamp, raw: UUID | None
    ) -> None:
        """What was once translated as a report, from the very same delivery, turns out to say nothing of the kind."""
        report = RecipientReport(e.EmailRecipientReportWithdrawn, recipient, provider, at, keys=said.keys, raw=raw)
        known = self._known(report)
        if known and raw is not None and known.raw == raw and not isinstance(known, e.EmailRecipientReportWithdrawn):
            self._say(report, stamp, corrects=self._correction(known), provider_type=said.provider_type)

    def _take(self, started: e.EmailDeliveryStarted, answer: Answer, stamp: e.Stamp, chance: float) -> None:
        self._report_all(map(self._about_this_time, answer.reports), stamp)
        taken = {message.recipient_id for message in answer.messages}
        refused = answer.refused()
        rest = tuple(r for r in started.recipients if r not in taken and r not in refused)
        in_doubt = answer.in_doubt and bool(rest)
        verdict = self._after(answer, stamp.now, chance) if rest else GiveUp("rejected")
        if answer.messages:
            self._record(
                e.EmailDispatched,
                stamp,
                attempt=started.attempt,
                provider=started.provider,
                messages=answer.messages,
                refused=refused,
                put_off=() if isinstance(verdict, GiveUp) and not in_doubt else rest,
                words=answer.words,
            )
        if in_doubt:
            doubtful = tuple(r for r in rest if r in answer.doubtful) or rest
            self._doubt(started, answer.reason or "answer_lost", stamp, doubtful, words=answer.words)
            return
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

    def _report_all(self, reports: Iterable[RecipientReport], stamp: e.Stamp) -> None:
        for report in reports:
            if report.recipient_id not in self.standing.recipients:
                continue
            known = self._known(report)
            if known is None:
                self._say(report, stamp)
            elif report.raw is not None and known.raw == report.raw and not _means_the_same(known, report):
                # The same words in the same delivery, and a translator that has learnt to read them better.
                self._say(report, stamp, corrects=self._correction(known))

    def _known(self, report: RecipientReport) -> e.RecipientEvent | None:
        return next((self.reported[i] for i in identities(report) if i in self.reported), None)

    def _correction(self, mistaken: e.RecipientEvent) -> e.Correction:
        """Where the recipient stands without the mistaken event, and all that were corrected before."""
        without = Standing.of(self.history, without={mistaken.event_id, *self.corrected})
        stands = without.recipients[mistaken.recipient_id]
        return e.Correction(
            event_id=mistaken.event_id,
            status=stands.status,
            at=stands.at,
            opened_at=stands.opened_at,
            clicked_at=stands.clicked_at,
            unsubscribed_at=stands.unsubscribed_at,
        )

    def _say(self, report: RecipientReport, stamp: e.Stamp, **more: Any) -> None:
        self._record(
            report.kind,
            stamp,
            recipient_id=report.recipient_id,
            provider=report.provider,
            provider_at=report.provider_at,
            provider_event_id=report.provider_event_id,
            provider_message_id=report.provider_message_id,
            keys=report.keys,
            raw=report.raw,
            **report.details,
            **more,
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


def _means_the_same(known: e.RecipientEvent, report: RecipientReport) -> bool:
    same_time = known.provider_at == report.provider_at
    return type(known) is report.kind and same_time and all(getattr(known, n) == v for n, v in report.details.items())


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
