"""The Email aggregate: every rule about one email, deciding over its own history. No I/O, no clock, no chance."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Self
from uuid import UUID

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass, GiveUp, RetryAt, Trouble, after_trouble, elsewhere_after
from domain.draft import Draft
from domain.errors import NotAllowedInThisState
from domain.listening import WAITING, Listening
from domain.recording import bookkeeping
from domain.status import EmailStatus


class Step(Enum):
    """What the process manager has to do next for an email."""

    NOTHING = auto()
    START = auto()
    EXPIRE = auto()
    DOUBT = auto()  # the intent's deadline passed without an outcome
    SETTLE = auto()  # the window for evidence is over


class Email(Listening):
    """One email from acceptance to its end. Methods check a rule and record events, which the course then follows."""

    # -- life --------------------------------------------------------------------------------------------------

    @classmethod
    def queue(cls, id: UUID, tenant: str, draft: Draft, stamp: e.Stamp) -> Self:
        """Accept an email. A `send_at` that is not in the future means now."""
        email = cls(id)
        later = draft.send_at if draft.send_at and draft.send_at > stamp.now else None
        event = e.EmailQueued(
            **bookkeeping(id, 1, tenant, stamp),
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
            case status if status not in WAITING:
                return Step.NOTHING
            case _:
                return Step.EXPIRE if self._expired(now) else Step.START

    # -- what the client decides -------------------------------------------------------------------------------

    def reschedule(self, send_at: datetime, stamp: e.Stamp) -> None:
        self._require(self.status in WAITING and not self.standing.handed_over, "rescheduled")
        self._record(e.EmailRescheduled, stamp, send_at=send_at)

    def cancel(self, stamp: e.Stamp) -> None:
        """Take it back. Cancelling twice is no error and records nothing new."""
        if self.status is EmailStatus.CANCELLED:
            return
        self._require(self.status in WAITING and not self.standing.handed_over, "cancelled")
        self._record(e.EmailCancelled, stamp)

    def requeue(
        self, reason: str, stamp: e.Stamp, priority: e.Priority | None = None, provider: str | None = None
    ) -> None:
        """Send again to those who have not got it, by the usual route or through one provider."""
        again = self.standing.undelivered
        self._require(self.standing.is_dead_letter, "sent again")
        urgency = priority or self.queued.priority
        self._record(e.EmailRequeued, stamp, recipients=again, priority=urgency, reason=reason, provider=provider)

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
            self.say(RecipientReport(e.EmailRecipientSuppressed, id, "postledger", stamp.now), stamp, rule=rules[id])
        if left_out and not self.standing.outstanding:
            self._record(
                e.EmailDeliveryFailed,
                stamp,
                attempt=self.standing.attempt,
                provider=None,
                error_class=ErrorClass.SUPPRESSED,
                reason="suppressed",
            )

    @property
    def give_up_at(self) -> datetime:
        """From then on there is no point in waiting any longer."""
        return (self.due_since or self.queued.occurred_at) + self.queued.policy.give_up_after

    def put_off(self, reason: str, until: datetime, stamp: e.Stamp) -> None:
        """No provider may be asked before `until`, by a rule of ours; nor after `give_up_at`, which ends the email."""
        self._require(self.status in WAITING, "put off")
        if stamp.now >= self.give_up_at:
            self.give_up("too_old", stamp)
            return
        self._record(
            e.EmailDeliveryDeferred,
            stamp,
            attempt=self.standing.attempt,
            provider=None,
            recipients=self.standing.outstanding,
            error_class=ErrorClass.HELD,
            reason=reason,
            retry_at=min(until, self.give_up_at),
        )

    def give_up(self, reason: str, stamp: e.Stamp) -> None:
        """There is nobody left to ask, or no time."""
        self._require(self.status in WAITING, "given up")
        facts = {"attempt": self.standing.attempt, "provider": None, "error_class": ErrorClass.HELD}
        self._record(e.EmailDeliveryFailed, stamp, **facts, reason=reason)

    def start_delivery(
        self,
        provider: str,
        route: str,
        lease: timedelta,
        stamp: e.Stamp,
        *,
        separate: bool = False,
        concessions: tuple[str, ...] = (),
    ) -> int:
        """Record the intent to call a provider for all who are outstanding. Returns the attempt's number.

        `route` says why this provider, `separate` that each recipient gets a call of its own, `concessions` what this
        route gives up of the message.
        """
        self._require(self.status in WAITING, "started")
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
            concessions=concessions,
        )
        return attempt

    def conclude(
        self, attempt: int, answer: Answer, stamp: e.Stamp, *, chance: float, elsewhere: datetime | None = None
    ) -> None:
        """Record what came of an attempt, in time or late (after others had to assume the worst).

        `elsewhere` is when another provider may take it; None where there is no other.
        """
        started = self.attempts[attempt]
        is_open = self.standing.open_attempt == attempt
        news = tuple(m for m in answer.messages if m.recipient_id not in self.accepted[attempt])
        if is_open and not self.standing.in_doubt:
            self._take(started, answer, stamp, chance, elsewhere)
        elif news:
            self.report_all(answer.reports, stamp)
            doubtful = answer.doubtful if answer.doubtful or not answer.in_doubt else self.in_doubt_for(attempt)
            self._resolve(started, e.Resolution.ACCEPTED, "late_answer", stamp, messages=news, doubtful=doubtful)
        elif is_open and not answer.in_doubt and not answer.messages:
            self._resolve(started, e.Resolution.NOT_ACCEPTED, "late_answer", stamp)
            self._take(started, answer, stamp, chance, elsewhere)

    def doubt(self, stamp: e.Stamp) -> None:
        """The intent's deadline passed and nobody recorded an outcome: the worker is gone, or stuck."""
        if self.status is EmailStatus.SENDING:
            self._doubt(self._open(), "worker_lost", stamp, self._open().recipients)
            self.recall(self._open(), stamp)

    def settle(self, found: Answer | None, stamp: e.Stamp, *, elsewhere: datetime | None = None) -> None:
        """The window is over: settle by what the provider's look-up `found`, or else by the email's policy.

        `found` None means there is no evidence; an answer that took nobody means the provider knows it has nothing.
        """
        if self.status is not EmailStatus.UNCONFIRMED:
            return
        started = self._open()
        if found is not None and found.messages:
            self.report_all(found.reports, stamp)
            self._resolve(started, e.Resolution.ACCEPTED, "look_up", stamp, messages=found.messages)
        elif found is not None:
            self._resolve(started, e.Resolution.NOT_ACCEPTED, "look_up", stamp)
            self._give_up_if_hopeless(started, stamp, elsewhere)
        elif self.queued.policy.in_doubt == "at_most_once":
            self._doubt(started, "no_evidence", stamp, self.in_doubt_for(started.attempt), park=True)
        else:
            self._resolve(started, e.Resolution.PRESUMED_LOST, "policy", stamp)
            self._give_up_if_hopeless(started, stamp, elsewhere)

    def expire(self, stamp: e.Stamp) -> None:
        if self.status in WAITING and self._expired(stamp.now):
            self._record(e.EmailExpired, stamp, expires_at=self.expires_at)

    # -- inside ------------------------------------------------------------------------------------------------

    def _take(
        self,
        started: e.EmailDeliveryStarted,
        answer: Answer,
        stamp: e.Stamp,
        chance: float,
        elsewhere: datetime | None,
    ) -> None:
        self.report_all(map(self._about_this_time, answer.reports), stamp)
        taken = {message.recipient_id for message in answer.messages}
        refused = answer.refused()
        rest = tuple(r for r in started.recipients if r not in taken and r not in refused)
        in_doubt = answer.in_doubt and bool(rest)
        trouble = self._trouble(started, answer, stamp.now)
        here = after_trouble(self.queued.policy, trouble, stamp.now, chance) if rest else GiveUp("rejected")
        verdict = here
        if rest and elsewhere is not None:
            verdict = elsewhere_after(self.queued.policy, trouble, here, max(elsewhere, stamp.now))
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
            self.recall(started, stamp)
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
                again_at=here.at if isinstance(here, RetryAt) else self.give_up_at,
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

    def _trouble(self, started: e.EmailDeliveryStarted, answer: Answer, now: datetime) -> Trouble:
        return Trouble(
            error_class=answer.error_class or ErrorClass.TRANSIENT,
            attempts=self.attempts_with(started.provider),
            due_since=self.due_since or now,
            expires_at=self.expires_at,
            retry_after=answer.retry_after,
        )

    def _give_up_if_hopeless(self, started: e.EmailDeliveryStarted, stamp: e.Stamp, elsewhere: datetime | None) -> None:
        if not self.standing.outstanding:
            return
        if self._expired(stamp.now):
            self._record(e.EmailExpired, stamp, expires_at=self.expires_at)
            return
        trouble = self._trouble(started, Answer(), stamp.now)
        verdict = after_trouble(self.queued.policy, trouble, stamp.now, 0.0)
        if elsewhere is not None:
            verdict = elsewhere_after(self.queued.policy, trouble, verdict, max(elsewhere, stamp.now))
        if isinstance(verdict, GiveUp) and verdict.reason != "expired":
            self._record(
                e.EmailDeliveryFailed,
                stamp,
                attempt=started.attempt,
                provider=started.provider,
                error_class=ErrorClass.UNKNOWN,
                reason=verdict.reason,
            )

    def _open(self) -> e.EmailDeliveryStarted:
        return self.attempts[self.standing.attempt]

    def _expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def _require(self, allowed: bool, done: str) -> None:
        if not allowed:
            raise NotAllowedInThisState(f"This email is {self.status.value}; it cannot be {done} now.")
