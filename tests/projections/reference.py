"""What the read models must say, told once more: slowly, in plain Python, straight from a history as a whole.

It shares no code with the folds. A fact about an email is looked up in its events, from the latest that matters.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import events as e
from domain.delivery import ErrorClass

REPORTS: dict[type[e.Event], str] = {
    e.EmailRecipientDelivered: "delivered",
    e.EmailRecipientDeferred: "deferred",
    e.EmailRecipientDeliveryFailed: "bounced",
    e.EmailRecipientSuppressed: "suppressed",
    e.EmailRecipientComplained: "complained",
}
# Who says more wins: putting off, then how it went, then a complaint; of the same weight the later; then the worse.
WEIGHT = {"deferred": 1, "delivered": 2, "suppressed": 2, "bounced": 2, "complained": 3}
WORSE = ("deferred", "delivered", "suppressed", "bounced", "complained")
ENDS: dict[type[e.Event], str] = {
    e.EmailCancelled: "cancelled",
    e.EmailExpired: "expired",
    e.EmailDeliveryFailed: "failed",
}


@dataclass(frozen=True)
class Email:
    """Where one email stands."""

    tenant: str
    status: str
    recipients: dict[UUID, str]
    dead_letter: bool
    doubt: int | None  # the attempt that is in doubt
    queued: bool  # whether the dispatch queue holds it


def email(history: Sequence[e.Event]) -> Email:
    first = history[0]
    assert isinstance(first, e.EmailQueued)
    recipients = {r.id: _recipient(history, r.id) for r in first.recipients}
    handed_over = {id for id in recipients if _handed_over(history, id)}
    status = _status(history, recipients, handed_over)
    missed = [
        id
        for id, state in recipients.items()
        if state in ("pending", "failed", "bounced", "expired") or (state == "deferred" and id not in handed_over)
    ]
    gone = bool(missed) or "suppressed" in recipients.values()
    dead = status in ("failed", "bounced", "partially_delivered", "suppressed", "expired") and gone
    return Email(first.tenant, status, recipients, dead, _doubt(history), _queued(history))


def counts(emails: Iterable[Email]) -> Counter[tuple[str, str]]:
    """By tenant and status."""
    return Counter((each.tenant, each.status) for each in emails)


def _since_requeued(history: Sequence[e.Event], id: UUID) -> Sequence[e.Event]:
    """The part of the history that is about what was sent to this recipient last."""
    again = [n for n, event in enumerate(history) if isinstance(event, e.EmailRequeued) and id in event.recipients]
    return history[again[-1] :] if again else history


def _recipient(history: Sequence[e.Event], id: UUID) -> str:
    recent = _since_requeued(history, id)
    asked_at = recent[0].occurred_at.replace(microsecond=0) if isinstance(recent[0], e.EmailRequeued) else None
    said = [event for event in recent if isinstance(event, e.RecipientEvent) and event.recipient_id == id]
    reports = [_report(event) for event in said if type(event) in REPORTS and _counts(event, asked_at)]
    if reports:
        return max(reports, key=lambda report: (WEIGHT[report[0]], report[1], WORSE.index(report[0])))[0]
    if _handed_over(history, id):
        return "sent"
    ends = [ENDS[type(event)] for event in recent if type(event) in ENDS]
    return ends[-1] if ends else "pending"


def _report(event: e.RecipientEvent) -> tuple[str, datetime]:
    passing = isinstance(event, e.EmailRecipientDeliveryFailed) and not event.final
    return "deferred" if passing else REPORTS[type(event)], event.provider_at


def _counts(event: e.RecipientEvent, asked_at: datetime | None) -> bool:
    return asked_at is None or event.provider_at >= asked_at


def _handed_over(history: Sequence[e.Event], id: UUID) -> bool:
    for event in _since_requeued(history, id):
        if isinstance(event, e.EmailDispatched) and id in [message.recipient_id for message in event.messages]:
            return True
        if isinstance(event, e.EmailDeliveryResolved) and event.resolution == "accepted" and id in event.recipients:
            return True
    return False


def _status(history: Sequence[e.Event], recipients: dict[UUID, str], handed_over: set[UUID]) -> str:
    attempt, doubtful, waiting = _attempt(history)
    if attempt is not None:
        return "unconfirmed" if doubtful else "sending"
    states, end = list(recipients.values()), _end(history)
    if end and not handed_over and not {"delivered", "complained"} & set(states):
        return end
    open_for = [id for id, state in recipients.items() if id not in handed_over and WEIGHT.get(state, 0) < 2]
    if not end and open_for:
        return waiting
    return _outcome(states)


def _outcome(states: Sequence[str]) -> str:
    if {"sent", "deferred"} & set(states):
        return "dispatched"
    reached = [state for state in states if state in ("delivered", "complained")]
    if reached:
        return "delivered" if len(reached) == len(states) else "partially_delivered"
    return "suppressed" if set(states) == {"suppressed"} else "bounced"


def _end(history: Sequence[e.Event]) -> str | None:
    """How it ended as a whole, unless it was sent again."""
    for event in reversed(history):
        if isinstance(event, e.EmailRequeued):
            return None
        if isinstance(event, e.EmailDeliveryFailed) and event.error_class is ErrorClass.SUPPRESSED:
            return "suppressed"
        if type(event) in ENDS:
            return ENDS[type(event)]
    return None


def _attempt(history: Sequence[e.Event]) -> tuple[int | None, bool, str]:
    """The attempt under way, whether it is in doubt, and what the email waits as when none is."""
    first = history[0]
    attempt, doubtful = None, False
    waiting = "scheduled" if isinstance(first, e.EmailQueued) and first.send_at else "queued"
    for event in history:
        if isinstance(event, e.EmailDeliveryStarted):
            attempt, doubtful = event.attempt, False
        elif isinstance(event, e.EmailDeliveryUnconfirmed):
            attempt, doubtful = event.attempt, True
        elif type(event) in ENDS:
            attempt, doubtful = None, False
        elif isinstance(event, e.EmailRescheduled):
            waiting = "scheduled"
        elif isinstance(event, e.EmailRequeued):
            waiting = "queued"
        elif (over := _over(event)) and attempt in (over, None):
            attempt, doubtful = None, False
            waiting = "queued" if isinstance(event, e.EmailDeliveryResolved) else "deferred"
    return attempt, doubtful, waiting


def _over(event: e.Event) -> int | None:
    """The attempt that this event ends."""
    if isinstance(event, (e.EmailDispatched, e.EmailDeliveryDeferred)):
        return event.attempt
    if isinstance(event, e.EmailDeliveryResolved) and not event.doubtful:
        return event.attempt
    return None


def _doubt(history: Sequence[e.Event]) -> int | None:
    """The attempt that an operator finds in doubt: nothing that came after the doubt has settled it."""
    for place, event in reversed(list(enumerate(history))):
        if isinstance(event, e.EmailDeliveryUnconfirmed):
            later = history[place + 1 :]
            begun = any(isinstance(each, e.EmailDeliveryStarted) or type(each) in ENDS for each in later)
            settled = any(_over(each) == event.attempt for each in later)
            return None if begun or settled else event.attempt
    return None


def _queued(history: Sequence[e.Event]) -> bool:
    """Whether a worker still has to look at it: until it has ended, or an outcome leaves nobody to be sent to."""
    asked = [n for n, event in enumerate(history) if isinstance(event, (e.EmailQueued, e.EmailRequeued))][-1]
    first, reached = history[asked], set[UUID]()
    since = first.occurred_at.replace(microsecond=0) if isinstance(first, e.EmailRequeued) else None
    latest, begun = 0, False
    for event in history[asked:]:
        latest = event.attempt if isinstance(event, e.EmailDeliveryStarted) else latest
        begun = begun or isinstance(event, (e.EmailDeliveryStarted, e.EmailDeliveryUnconfirmed))
        reached |= _reached(event, since)
        left = _left(event, reached, latest if begun else None)
        if type(event) in ENDS or left == set():
            return False
        begun = begun and (left is None or isinstance(event, e.EmailDispatched))
    return True


def _reached(event: e.Event, since: datetime | None) -> set[UUID]:
    """Of whom this event says that there is nothing more to send."""
    if isinstance(event, e.EmailDeliveryResolved) and event.resolution == "accepted":
        return set(event.recipients)
    if isinstance(event, e.RecipientEvent) and type(event) in REPORTS and _counts(event, since):
        return {event.recipient_id} if _report(event)[0] != "deferred" else set()
    return set()


def _left(event: e.Event, reached: set[UUID], under_way: int | None) -> set[UUID] | None:
    """Who is still to be sent to after this outcome of an attempt; None when it is no outcome, or not the last."""
    if isinstance(event, e.EmailDispatched):
        return set(event.put_off)
    if isinstance(event, e.EmailDeliveryDeferred):
        return set(event.recipients) - reached
    if isinstance(event, e.EmailDeliveryResolved) and not event.doubtful and under_way in (None, event.attempt):
        return set(event.put_off) - reached
    return None
