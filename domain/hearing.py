"""What a provider's statement means for one email: whom it is about, and the event it becomes."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.address import address_key
from domain.answer import RecipientReport
from domain.feedback import Feedback, Kind

_AHEAD = timedelta(days=1)  # a clock further ahead is wrong, and would outrank every later report for ever
_Details = Callable[[Feedback], Mapping[str, Any]]


def _smtp(said: Feedback) -> Mapping[str, Any]:
    status = {"smtp_status": said.smtp_status, "enhanced_status": said.enhanced_status}
    return {**status, "reason": said.reason, "words": e.legible(said.words)}


def _bounce(said: Feedback) -> Mapping[str, Any]:
    bounce_class = said.bounce_class or "undetermined"
    final = said.terminal or bounce_class == "hard"
    return {**_smtp(said), "bounce_class": bounce_class, "add_to_suppression": said.add_to_suppression, "final": final}


def _rejection(said: Feedback) -> Mapping[str, Any]:
    return {**_smtp(said), "bounce_class": None, "add_to_suppression": said.add_to_suppression}


def _suppression(said: Feedback) -> Mapping[str, Any]:
    return {"rule": said.reason or "provider", "add_to_suppression": said.add_to_suppression}


REPORTS: Mapping[Kind, tuple[type[e.RecipientEvent], _Details]] = {
    Kind.DELIVERED: (e.EmailRecipientDelivered, lambda said: {"words": e.legible(said.words)}),
    Kind.DEFERRED: (e.EmailRecipientDeferred, _smtp),
    Kind.BOUNCED: (e.EmailRecipientDeliveryFailed, _bounce),
    Kind.REJECTED: (e.EmailRecipientDeliveryFailed, _rejection),
    Kind.SUPPRESSED: (e.EmailRecipientSuppressed, _suppression),
    Kind.COMPLAINED: (e.EmailRecipientComplained, lambda said: {"complaint": said.reason}),
    Kind.OPENED: (e.EmailRecipientOpened, lambda said: {"machine": said.machine}),
    Kind.CLICKED: (e.EmailRecipientClicked, lambda said: {"machine": said.machine, "url": said.url or ""}),
    Kind.UNSUBSCRIBED: (e.EmailRecipientUnsubscribed, lambda said: {"scope": said.scope or said.reason}),
    Kind.RESUBSCRIBED: (e.EmailRecipientResubscribed, lambda said: {"scope": said.scope or said.reason}),
}
# The provider can only have said this of a message that it took.
EVIDENCE = frozenset({Kind.ACCEPTED, Kind.SENT, *REPORTS} - {Kind.RESUBSCRIBED})


def recipient_of(said: Feedback, recipients: Iterable[e.Recipient]) -> UUID | None:
    """Whom it is about; None when it does not say, and there are several whom it may be about.

    The address comes before our own id: one call may have gone to several, and carried the id of one. An address that
    is none of ours (a forwarding, a rewriting) leaves it to our id.
    """
    everyone = list(recipients)
    if said.recipient:
        key = address_key(said.recipient)
        named = [r.id for r in everyone if address_key(r.address) == key]
        if named:
            return named[0]
    if said.recipient_id in {r.id for r in everyone}:
        return said.recipient_id
    return everyone[0].id if len(everyone) == 1 else None


def moment_of(said: Feedback, received_at: datetime) -> datetime:
    """The provider's time, or ours where it has none, or one that cannot be."""
    if said.occurred_at is None or said.occurred_at > received_at + _AHEAD:
        return received_at
    return said.occurred_at


def report_of(said: Feedback, recipient: UUID, provider: str, at: datetime, raw: UUID | None) -> RecipientReport | None:
    """The report about this recipient; None for what says nothing about a delivery."""
    if said.kind not in REPORTS:
        return None
    kind, details = REPORTS[said.kind]
    return RecipientReport(
        kind,
        recipient,
        provider,
        at,
        provider_event_id=said.provider_event_id,
        provider_message_id=said.provider_message_id,
        details=details(said),
        keys=said.keys,
        raw=raw,
    )
