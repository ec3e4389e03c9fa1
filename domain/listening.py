"""What providers tell about an email: recorded once, corrected when it was misread, and taken as evidence."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.answer import RecipientReport
from domain.course import identities
from domain.feedback import Feedback
from domain.hearing import EVIDENCE, REPORTS, moment_of, recipient_of, report_of
from domain.recording import Recording
from domain.standing import Standing, is_current
from domain.status import EmailStatus

WAITING = frozenset({EmailStatus.SCHEDULED, EmailStatus.QUEUED, EmailStatus.DEFERRED})

_ONLY_EVIDENCE = EVIDENCE - REPORTS.keys()
_SKEW = timedelta(minutes=1)  # between the provider's clock and ours


class Listening(Recording):
    """An email that providers talk about. Statements may come late, repeated and in any order."""

    def report(self, report: RecipientReport, stamp: e.Stamp) -> None:
        """Record a provider's word about one recipient, once.

        Any such word is evidence that the provider took the latest attempt, should that be in doubt or presumed lost.
        """
        before = self.status
        self.report_all([report], stamp)
        # What we were told on a call is its answer; being on a suppression list is no sign of having taken a message.
        if report.raw is not None or report.kind is not e.EmailRecipientSuppressed:
            self._learn(report.recipient_id, report.provider, report.provider_at, before, stamp)
        self._stop_waiting(before, report.kind is e.EmailRecipientSuppressed, stamp)

    def hear(self, said: Feedback, provider: str, received_at: datetime, stamp: e.Stamp, raw: UUID | None) -> bool:
        """Record what a provider told us, once, and learn from it; whether it can be about this email at all.

        A provider that was never asked to deliver this email has nothing to say about it; and what only proves that a
        call was taken cannot be judged while that call is under way. `raw` is the inbox entry.
        """
        if all(started.provider != provider for started in self.attempts.values()):
            return False
        if said.kind in _ONLY_EVIDENCE and self.status is EmailStatus.SENDING:
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

    def recall(self, started: e.EmailDeliveryStarted, stamp: e.Stamp) -> None:
        """Settle a fresh doubt by what was told while the call was under way."""
        for event in list(self.reported.values()):
            if event.raw is not None and event.originator_version > started.originator_version:
                self._learn(event.recipient_id, event.provider, event.provider_at, self.status, stamp)

    def _learn(self, recipient: UUID | None, provider: str, at: datetime, before: EmailStatus, stamp: e.Stamp) -> None:
        """Settle the latest attempt, in doubt or presumed lost, by a word that proves it taken.

        A call of its own proves itself only; a call for all was taken for all. `recipient` None: for one of them.
        """
        latest = self.attempts.get(self.standing.attempt)
        if latest is None or latest.provider != provider:
            return
        if before is not EmailStatus.UNCONFIRMED and before not in WAITING:
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
            return at >= latest.occurred_at - _SKEW
        return recipient in latest.recipients and is_current(at, self.standing.recipients[recipient].since)

    def _stop_waiting(self, before: EmailStatus, suppressed: bool, stamp: e.Stamp) -> None:
        """We were put off, and yet everyone has been dealt with: there is nothing left to wait for."""
        latest = self.attempts.get(self.standing.attempt)
        if latest and before in WAITING and self.due_at and not self.standing.outstanding:
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
            self.say(report, stamp, corrects=self._correction(known), provider_type=said.provider_type)

    def report_all(self, reports: Iterable[RecipientReport], stamp: e.Stamp) -> None:
        for report in reports:
            if report.recipient_id not in self.standing.recipients:
                continue
            known = self._known(report)
            if known is None:
                self.say(report, stamp)
            elif report.raw is not None and known.raw == report.raw and not _means_the_same(known, report):
                # The same words in the same delivery, and a translator that has learnt to read them better.
                self.say(report, stamp, corrects=self._correction(known))

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

    def say(self, report: RecipientReport, stamp: e.Stamp, **more: Any) -> None:
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


def _means_the_same(known: e.RecipientEvent, report: RecipientReport) -> bool:
    same_time = known.provider_at == report.provider_at
    return type(known) is report.kind and same_time and all(getattr(known, n) == v for n, v in report.details.items())
