"""Postmark's webhooks: who may call them, and what they say."""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Self

from application.errors import Untrusted
from application.ports import Hook
from domain.events import BounceClass
from domain.feedback import Feedback, Kind
from infrastructure.providers import reading

_NO_MESSAGE = "00000000-0000-0000-0000-000000000000"

_HEADER_KEY = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(.+)", re.S)  # a token of RFC 9110, so never a colon


@dataclass(frozen=True, slots=True)
class WebhookKey:
    """What a webhook has to bring: `secret` in the header of that name, or as Basic credentials when it is None."""

    header: str | None
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """From `user:password` or `Header-Name=value`."""
        if (match := _HEADER_KEY.fullmatch(text)) and match[2].strip():
            return cls(match[1].lower(), match[2].strip().encode())
        user, _, password = text.partition(":")
        if match or not user.strip() or not password.strip():
            raise ValueError("webhook_key must be user:password or Header-Name=value")
        return cls(None, text.encode())


# -- verify


def verify(hook: Hook, keys: Sequence[WebhookKey]) -> str:
    """The delivery's key, if it brings one of the secrets. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    brought = [_brought(hook, key.header) for key in keys]
    matches = [compare_digest(value or b"", key.secret) for value, key in zip(brought, keys, strict=True)]  # tries all
    if any(matches):
        return reading.key(hook.body)
    if any(brought):
        raise Untrusted("bad_signature")
    raise Untrusted("missing_header" if all(value is None for value in brought) else "malformed")


def _brought(hook: Hook, header: str | None) -> bytes | None:
    """The secret in that header, or the Basic credentials; empty where these cannot be read."""
    value = hook.headers.get(header or "authorization")
    if value is None or header is not None:
        return None if value is None else value.encode("utf-8", "surrogatepass")
    scheme, _, token = value.strip().partition(" ")
    try:
        credentials = b64decode(token.strip(), validate=True)
    except ValueError:
        return b""
    exact = b64encode(credentials).decode() == token.strip()  # spare bits would let a changed character pass
    return credentials if exact and scheme.lower() == "basic" else b""


# -- feedback


@dataclass(frozen=True, slots=True)
class Meaning:
    """One of Postmark's words in ours."""

    kind: Kind
    reason: str | None = None
    bounce_class: BounceClass | None = None
    terminal: bool = False
    add_to_suppression: bool = False


def _bounced(bounce_class: BounceClass, reason: str | None) -> Meaning:
    return Meaning(Kind.BOUNCED, reason, bounce_class, terminal=True, add_to_suppression=bounce_class == "hard")


def _rejected(reason: str, *, add_to_suppression: bool = False) -> Meaning:
    return Meaning(Kind.REJECTED, reason, terminal=True, add_to_suppression=add_to_suppression)


_COMPLAINED = Meaning(Kind.COMPLAINED, terminal=True, add_to_suppression=True)
_UNSUBSCRIBED = Meaning(Kind.UNSUBSCRIBED, "recipient", add_to_suppression=True)
_RESUBSCRIBED = Meaning(Kind.RESUBSCRIBED)
_LISTED_BY_HAND = Meaning(Kind.SUPPRESSION_ADDED, "manual", add_to_suppression=True)

# RecordType, for bounces with their Type, for changes of the suppression list with what `_change` makes of them.
FEEDBACK: Mapping[str, Meaning] = {
    "Delivery": Meaning(Kind.DELIVERED),
    "Open": Meaning(Kind.OPENED),
    "Click": Meaning(Kind.CLICKED),
    "SpamComplaint": _COMPLAINED,
    "Bounce/HardBounce": _bounced("hard", "invalid_address"),
    "Bounce/Transient": Meaning(Kind.DEFERRED),
    "Bounce/DnsError": Meaning(Kind.DEFERRED, "dns"),
    "Bounce/OpenRelayTest": Meaning(Kind.DEFERRED, "open_relay_test"),
    "Bounce/SoftBounce": _bounced("soft", "mailbox"),  # `_reason` tells when it is full
    "Bounce/Blocked": _bounced("soft", "blocked"),
    "Bounce/SpamNotification": _bounced("soft", "spam_content"),
    "Bounce/VirusNotification": _bounced("soft", "virus"),
    "Bounce/DMARCPolicy": _bounced("soft", "sender_auth"),
    "Bounce/Unknown": _bounced("undetermined", None),
    "Bounce/BadEmailAddress": _rejected("invalid_address", add_to_suppression=True),
    "Bounce/SMTPApiError": _rejected("api_error"),
    "Bounce/TemplateRenderingFailed": _rejected("template"),
    "Bounce/InboundError": _rejected("inbound_error"),
    "Bounce/ManuallyDeactivated": Meaning(Kind.SUPPRESSED, "manual", terminal=True, add_to_suppression=True),
    "Bounce/Unconfirmed": Meaning(Kind.SUPPRESSED, "unconfirmed", terminal=True),  # neither bounced nor unwilling
    "Bounce/SpamComplaint": _COMPLAINED,
    "Bounce/Unsubscribe": _UNSUBSCRIBED,
    "Bounce/Subscribe": _RESUBSCRIBED,
    "Bounce/AutoResponder": Meaning(Kind.IGNORED, "auto_reply"),
    "Bounce/AddressChange": Meaning(Kind.IGNORED, "address_change"),
    "Bounce/ChallengeVerification": Meaning(Kind.IGNORED, "challenge"),
    "SubscriptionChange/lifted": _RESUBSCRIBED,
    "SubscriptionChange/HardBounce": Meaning(Kind.SUPPRESSION_ADDED, "bounce", add_to_suppression=True),
    "SubscriptionChange/SpamComplaint": Meaning(Kind.SUPPRESSION_ADDED, "complaint", add_to_suppression=True),
    "SubscriptionChange/Recipient": _UNSUBSCRIBED,
    "SubscriptionChange/Customer": _LISTED_BY_HAND,
    "SubscriptionChange/Admin": _LISTED_BY_HAND,
}
TIMES: Mapping[str, str] = {
    "Delivery": "DeliveredAt",
    "Bounce": "BouncedAt",
    "SpamComplaint": "BouncedAt",
    "Open": "ReceivedAt",
    "Click": "ReceivedAt",
    "SubscriptionChange": "ChangedAt",
}
# What tells two records of the same type, message, recipient and time apart: there is no event id but for bounces.
_TELLING = ("ID", "OriginalLink", "ClickLocation", "Origin", "SuppressSending", "SuppressionReason")
_STATUS = re.compile(r"(?:smtp;\s*)?(?:([2-5]\d\d)(?![\d.])[ -]?)?(?:([245]\.\d{1,3}\.\d{1,3})(?![\d.]))?", re.I)
_FULL = re.compile(r"\bfull\b|quota", re.I)


# -- translate


def translate(hook: Hook) -> list[Feedback]:
    """One record to a delivery."""
    record = reading.json(hook.body)
    if not isinstance(record, dict):
        return [Feedback(kind=Kind.IGNORED, provider_type="unreadable", keys=(reading.key(hook.body),))]
    record_type = reading.text(record.get("RecordType")) or "unknown"
    bounce_type = reading.text(record.get("Type")) if record_type == "Bounce" else None
    provider_type = f"Bounce/{bounce_type}" if bounce_type else record_type
    word = _change(record) if record_type == "SubscriptionChange" else provider_type
    meaning = FEEDBACK.get(word, Meaning(Kind.IGNORED))
    return [_feedback(record, record_type, provider_type, meaning)]


def _feedback(record: Mapping[str, Any], record_type: str, provider_type: str, meaning: Meaning) -> Feedback:
    message_id = reading.text(record.get("MessageID"))
    recipient = reading.text(record.get("Recipient")) or reading.text(record.get("Email"))
    at = reading.iso_time(record.get(TIMES.get(record_type, "")))
    details = reading.text(record.get("Details")) or ""
    status = _STATUS.match(details)
    content = (record_type, message_id, (recipient or "").lower(), at, *(record.get(name) for name in _TELLING))
    return Feedback(
        kind=meaning.kind,
        provider_type=provider_type,
        keys=(reading.key("postmark", *content),),
        occurred_at=at,
        email_id=reading.uuid(reading.get(record, "Metadata", "pl_email_id")),
        recipient_id=reading.uuid(reading.get(record, "Metadata", "pl_recipient_id")),
        recipient=recipient,
        provider_message_id=message_id if message_id != _NO_MESSAGE else None,
        provider_event_id=reading.text(record.get("ID")) if record_type in ("Bounce", "SpamComplaint") else None,
        bounce_class=meaning.bounce_class,
        reason="mailbox_full" if meaning.reason == "mailbox" and _is_full(details, status) else meaning.reason,
        smtp_status=reading.smtp_status(status[1]) if status else None,
        enhanced_status=status[2] if status else None,
        words=details or reading.text(record.get("Description")) or "",
        url=reading.text(record.get("OriginalLink")) if record_type == "Click" else None,
        scope=_scope(record, meaning.kind),
        terminal=meaning.terminal,
        add_to_suppression=meaning.add_to_suppression,
    )


def _is_full(details: str, status: re.Match[str] | None) -> bool:
    enhanced = status[2] if status else None
    return enhanced[2:] == "2.2" if enhanced else bool(_FULL.search(details))


def _change(record: Mapping[str, Any]) -> str:
    """What became of the suppression list, as a word of FEEDBACK."""
    suppressed = record.get("SuppressSending")
    if not isinstance(suppressed, bool):
        return "SubscriptionChange"
    if not suppressed:
        return "SubscriptionChange/lifted"
    reason, origin = reading.text(record.get("SuppressionReason")), reading.text(record.get("Origin"))
    if reason in ("HardBounce", "SpamComplaint"):
        return f"SubscriptionChange/{reason}"
    known = reason == "ManualSuppression" or origin in ("Customer", "Admin")
    return f"SubscriptionChange/{origin}" if known else "SubscriptionChange"


def _scope(record: Mapping[str, Any], kind: Kind) -> str | None:
    """An unsubscription is from one message stream."""
    stream = reading.text(record.get("MessageStream"))
    return f"stream:{stream}" if stream and kind in (Kind.UNSUBSCRIBED, Kind.RESUBSCRIBED) else None
