"""One event of every class with all fields set, and one with only what is required."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain import provider_events as p
from domain.address import Mailbox
from domain.delivery import DeliveryPolicy, ErrorClass, RetryPlan
from tests.samples import NOW

ADA, BOB = UUID(int=21), UUID(int=22)
PERSONAL = "Ümit Ötzi-7 personal"  # stands in every personal field of a full sample
LATER = NOW + timedelta(hours=1, microseconds=250)

_ALWAYS: dict[str, Any] = {
    "originator_id": UUID(int=7),
    "originator_version": 1,
    "event_id": UUID(int=8),
    "occurred_at": NOW,
    "tenant": "acme",
    "actor": "worker",
    "correlation_id": UUID(int=9),
}
_TRACED: dict[str, Any] = {"causation_id": UUID(int=10), "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
_SENDER = Mailbox(address=f"{PERSONAL}@example.com", name=PERSONAL)
_PERSON: dict[str, Any] = {"recipient_id": ADA, "provider": "main", "provider_at": LATER}
_KNOWN: dict[str, Any] = {
    "provider_event_id": "evt-1",
    "provider_message_id": "msg-1",
    "keys": ("evt-1", "0f3a"),
    "raw": UUID(int=12),
    "corrects": e.Correction(
        event_id=UUID(int=11), status="delivered", at=NOW, opened_at=NOW, clicked_at=LATER, unsubscribed_at=LATER
    ),
}
_NOTED = {name: _KNOWN[name] for name in ("provider_event_id", "provider_message_id", "keys", "raw")}
_SMTP: dict[str, Any] = {"smtp_status": 550, "enhanced_status": "5.1.1"}
_MESSAGE = e.ProviderMessage(recipient_id=ADA, message_id="msg-1")
_ATTEMPT: dict[str, Any] = {"attempt": 2, "provider": "main"}
_SPOKEN = {"words": PERSONAL}
_COUNTED: dict[str, Any] = {"failures": 6, "calls": 10, "window": 60.0, "openings": 1}

_QUEUED: dict[str, Any] = {
    "sender": _SENDER,
    "recipients": (e.Recipient(id=ADA, kind="to", address=f"{PERSONAL}@example.com", name=PERSONAL),),
    "subject": PERSONAL,
    "content": e.ContentRef(size=12, sha256="c" * 64),
    "policy": DeliveryPolicy(),
    "fingerprint": "f" * 64,
}
_QUEUED_TOO: dict[str, Any] = {
    "reply_to": (_SENDER,),
    "attachments": (
        e.AttachmentRef(sha256="a" * 64, size=3, filename=PERSONAL, content_type="text/plain", content_id="logo"),
    ),
    "tags": (e.Tag(name="kind", value="invoice"),),
    "metadata": {"customer": PERSONAL},
    "priority": e.Priority.BULK,
    "stream": "newsletter",
    "send_at": LATER,
    "expires_at": LATER,
    "policy": DeliveryPolicy(
        retries={ErrorClass.QUOTA: RetryPlan(first=timedelta(minutes=5), longest=timedelta(hours=1))}
    ),
}

# class -> (what is required, what may be there as well)
_FIELDS: dict[type[e.Event], tuple[dict[str, Any], dict[str, Any]]] = {
    e.EmailQueued: (_QUEUED, _QUEUED_TOO),
    e.EmailRescheduled: ({"send_at": LATER}, {}),
    e.EmailCancelled: ({}, {}),
    e.EmailExpired: ({"expires_at": LATER}, {}),
    e.EmailDeliveryStarted: (
        {**_ATTEMPT, "token": "t-0", "route": "default", "recipients": (ADA, BOB), "deadline": LATER},
        {"separate": True, "concessions": ("text_only",)},
    ),
    e.EmailDispatched: ({**_ATTEMPT, "messages": (_MESSAGE,)}, {"refused": (BOB,), "put_off": (BOB,), **_SPOKEN}),
    e.EmailDeliveryDeferred: (
        {**_ATTEMPT, "recipients": (ADA,), "error_class": ErrorClass.TRANSIENT, "retry_at": LATER},
        {"reason": "greylisted", "again_at": LATER, **_SPOKEN},
    ),
    e.EmailDeliveryFailed: ({**_ATTEMPT, "error_class": ErrorClass.PERMANENT, "reason": "rejected"}, _SPOKEN),
    e.EmailDeliveryUnconfirmed: (
        {**_ATTEMPT, "recipients": (ADA,), "reason": "answer_lost", "settle_at": LATER},
        _SPOKEN,
    ),
    e.EmailDeliveryResolved: (
        {**_ATTEMPT, "resolution": e.Resolution.ACCEPTED, "evidence": "look_up", "recipients": (ADA,)},
        {"messages": (_MESSAGE,), "put_off": (BOB,), "doubtful": (BOB,), "reason": PERSONAL},
    ),
    e.EmailRequeued: (
        {"recipients": (ADA,), "priority": e.Priority.CRITICAL, "reason": PERSONAL},
        {"provider": "backup"},
    ),
    e.EmailContentPurged: ({"reason": "retention"}, {}),
    e.EmailRecipientDelivered: (_PERSON, {**_KNOWN, **_SPOKEN}),
    e.EmailRecipientDeferred: (_PERSON, {**_KNOWN, **_SMTP, **_SPOKEN, "reason": "greylisted"}),
    e.EmailRecipientDeliveryFailed: (
        {**_PERSON, "bounce_class": "hard"},
        {**_KNOWN, **_SMTP, **_SPOKEN, "reason": "no_mailbox", "add_to_suppression": True, "final": False},
    ),
    e.EmailRecipientSuppressed: ({**_PERSON, "rule": "provider"}, {**_KNOWN, "add_to_suppression": False}),
    e.EmailRecipientOpened: (_PERSON, {**_KNOWN, "machine": True}),
    e.EmailRecipientClicked: ({**_PERSON, "url": f"https://example.com/{PERSONAL}"}, {**_KNOWN, "machine": True}),
    e.EmailRecipientComplained: (_PERSON, {**_KNOWN, "complaint": "abuse"}),
    e.EmailRecipientUnsubscribed: (_PERSON, {**_KNOWN, "scope": "newsletter"}),
    e.EmailRecipientResubscribed: (_PERSON, {**_KNOWN, "scope": "newsletter"}),
    e.EmailRecipientReportWithdrawn: ({**_PERSON, "provider_type": "bounce"}, _KNOWN),
    e.EmailFeedbackUnattributed: (
        {"kind": "opened", "provider": "main", "provider_at": LATER},
        {**_NOTED, **_SPOKEN, "bounce_class": "soft", "reason": "general", "url": f"https://example.com/{PERSONAL}"},
    ),
    e.SuppressionAdded: (
        {"address": f"{PERSONAL}@example.com", "scope": "*", "rule": "hard_bounce", "source": "provider:main"},
        {"reason": PERSONAL, "email_id": UUID(int=7), "cause": UUID(int=11)},
    ),
    e.SuppressionRemoved: (
        {"address": f"{PERSONAL}@example.com", "scope": "*", "rule": "manual", "source": "api:default"},
        {"reason": PERSONAL, "cause": UUID(int=11)},
    ),
    p.ProviderDegraded: (
        {"provider": "main", "cause": "sends", "rule": "error_rate", **_COUNTED, "until": LATER},
        {"error_class": ErrorClass.TRANSIENT, "reason": "server_error", **_SPOKEN},
    ),
    p.ProviderRecovered: ({"provider": "main", "evidence": "send"}, {}),
    p.ProviderPaused: ({"provider": "main", "reason": PERSONAL}, {}),
    p.ProviderResumed: ({"provider": "main", "reason": PERSONAL}, {}),
    p.ProviderDrillStarted: ({"provider": "main", "fault": "5xx", "rate": 0.3, "until": LATER}, {}),
    p.ProviderDrillEnded: ({"provider": "main"}, {}),
}


def sparse(cls: type[e.Event]) -> e.Event:
    return cls(**_ALWAYS, **_FIELDS[cls][0])


def full(cls: type[e.Event]) -> e.Event:
    required, more = _FIELDS[cls]
    return cls(**_ALWAYS, **_TRACED, **{**required, **more})
