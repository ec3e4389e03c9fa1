"""SendGrid's Event Webhook: who may call it, and what it says."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from application.errors import Untrusted
from application.ports import Hook
from domain.events import BounceClass
from domain.feedback import Feedback, Kind
from infrastructure.providers import reading

TOLERANCE = timedelta(days=1)  # SendGrid tries for so long, and does not say that it signs anew each time

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
_SECONDS = re.compile(r"[0-9]{1,12}")


# -- verify


def verification_key(text: str) -> EllipticCurvePublicKey:
    """The webhook's key as SendGrid shows it: base64 without armour. Raises ValueError."""
    try:
        key = load_der_public_key(b64decode(text.replace(" ", "+"), validate=True))  # a URL's `+` came as a space
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("webhook_key must be a verification key: the base64 text of a P-256 public key")
    return key


def verify(hook: Hook, keys: Sequence[EllipticCurvePublicKey], now: datetime, tolerance: timedelta = TOLERANCE) -> str:
    """The delivery's key, if one of the keys has signed it not too long ago. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    given, seconds = hook.headers.get(_SIGNATURE), hook.headers.get(_TIMESTAMP)
    if not given or not seconds:
        raise Untrusted("missing_header")
    if not _SECONDS.fullmatch(seconds):
        raise Untrusted("malformed")
    signature, signed = _decoded(given), seconds.encode() + hook.body
    if not any(_has_signed(key, signature, signed) for key in keys):
        raise Untrusted("bad_signature")
    if abs(now.timestamp() - int(seconds)) > tolerance.total_seconds():
        raise Untrusted("stale")
    return reading.key(hook.body)  # repetitions have the body in common, and nothing else that is documented


def _decoded(given: str) -> bytes:
    try:
        signature = b64decode(given, validate=True)
    except ValueError:
        raise Untrusted("malformed") from None
    if b64encode(signature).decode() != given:  # base64 has spare bits that anybody may change
        raise Untrusted("malformed")
    return signature


def _has_signed(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# -- FEEDBACK


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word of SendGrid's is to us."""

    kind: Kind
    reason: str | None = None
    bounce_class: BounceClass | None = None
    terminal: bool = False
    add_to_suppression: bool = False


def _hard(reason: str) -> Meaning:
    return Meaning(Kind.BOUNCED, reason, "hard", terminal=True, add_to_suppression=True)


def _soft(reason: str) -> Meaning:
    return Meaning(Kind.BOUNCED, reason, "soft", terminal=True)


def _undetermined(reason: str) -> Meaning:
    return Meaning(Kind.BOUNCED, reason, "undetermined", terminal=True)


def _suppressed(reason: str) -> Meaning:
    return Meaning(Kind.SUPPRESSED, reason, terminal=True, add_to_suppression=True)


def _rejected(reason: str, *, add_to_suppression: bool = False) -> Meaning:
    return Meaning(Kind.REJECTED, reason, terminal=True, add_to_suppression=add_to_suppression)


# `event`; the meaning of those that are not certain by that alone is completed below.
FEEDBACK: Mapping[str, Meaning] = {
    "processed": Meaning(Kind.ACCEPTED),
    "dropped": _rejected("dropped"),
    "delivered": Meaning(Kind.DELIVERED),
    "deferred": Meaning(Kind.DEFERRED),
    "bounce": _undetermined("bounced"),
    "open": Meaning(Kind.OPENED),
    "click": Meaning(Kind.CLICKED),
    "spamreport": Meaning(Kind.COMPLAINED, terminal=True, add_to_suppression=True),
    "unsubscribe": Meaning(Kind.UNSUBSCRIBED, "global", add_to_suppression=True),
    "group_unsubscribe": Meaning(Kind.UNSUBSCRIBED, "group", add_to_suppression=True),
    "group_resubscribe": Meaning(Kind.RESUBSCRIBED, "group"),
    "account_status_change": Meaning(Kind.PROVIDER_ACCOUNT),
}
# `reason` of `dropped`, in lower case.
DROPPED: Mapping[str, Meaning] = {
    "bounced address": _suppressed("bounce"),
    "unsubscribed address": _suppressed("unsubscribe"),
    "spam reporting address": _suppressed("complaint"),
    "invalid": _rejected("invalid_address", add_to_suppression=True),
    "spam content": _rejected("content"),
    "invalid smtpapi header": _rejected("invalid_header"),
    "recipient list over package quota": _rejected("quota"),
}
# `bounce_classification` in lower case. The suppression API spells two of them differently.
CLASSIFICATIONS: Mapping[str, Meaning] = {
    "invalid address": _hard("invalid_address"),
    "technical": _soft("technical"),
    "technical failure": _soft("technical"),
    "content": _soft("content"),
    "reputation": _soft("reputation"),
    "frequency/volume": _soft("frequency"),
    "frequency or volume too high": _soft("frequency"),
    "mailbox unavailable": _soft("mailbox_unavailable"),
    "unclassified": _undetermined("unclassified"),
}
# Enhanced statuses that say more than any classification but `Invalid Address`.
STATUSES: Mapping[str, Meaning] = {
    "5.1.7": _soft("sender"),  # RFC 3463: the sender's address is at fault, not this one
    "5.1.8": _soft("sender"),
    "5.2.1": _hard("mailbox_disabled"),
    "5.2.2": _soft("mailbox_full"),
    "4.2.2": _soft("mailbox_full"),
}

_Event = Mapping[str, Any]


def _dropped(event: _Event) -> Meaning:
    return DROPPED.get(reading.word(event.get("reason")), FEEDBACK["dropped"])


def _bounce(event: _Event) -> Meaning:
    classification, kind = reading.word(event.get("bounce_classification")), reading.word(event.get("type"))
    by_class, by_status = CLASSIFICATIONS.get(classification), _by_status(_smtp(event)[1])
    if by_class is not None and by_class.bounce_class == "hard":
        by_status = None
    known = by_status or by_class
    if kind == "blocked":  # a refusal of this message, not of this address: SendGrid will try the address again
        return _soft(known.reason if known and known.reason else "blocked")
    if known is None and kind == "bounce" and not classification:  # SendGrid takes it for the address's fault, too
        return _hard("bounced")
    return known or FEEDBACK["bounce"]


def _by_status(status: str | None) -> Meaning | None:
    if status is None or status in STATUSES:
        return STATUSES.get(status or "")
    return _hard("invalid_address") if status.startswith("5.1.") else None


def _group(event: _Event) -> Meaning:
    group = reading.text(event.get("asm_group_id"))
    return replace(FEEDBACK[reading.word(event.get("event"))], reason=f"group:{group}" if group else "group")


def _account(event: _Event) -> Meaning:
    return replace(FEEDBACK["account_status_change"], reason=reading.text(event.get("type")))


_COMPLETED: Mapping[str, Callable[[_Event], Meaning]] = {
    "dropped": _dropped,
    "bounce": _bounce,
    "group_unsubscribe": _group,
    "group_resubscribe": _group,
    "account_status_change": _account,
}


# -- translate

_SMTP = frozenset({Kind.DELIVERED, Kind.DEFERRED, Kind.BOUNCED})  # of `dropped`, the status is SendGrid's own 5.0.0
_SCOPED = frozenset({Kind.UNSUBSCRIBED, Kind.RESUBSCRIBED})
_REPLY = re.compile(r"\s*([2-5][0-9]{2})\b(?:[ -]+([245]\.[0-9]{1,3}\.[0-9]{1,3})\b)?")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_SERVER = re.compile(r"(.+?)\.(?:filter|recvd)")  # how the name of the server that took the message begins
# What a repetition has in common with the first, though its sg_event_id may be another (sendgrid-nodejs#1435).
_SAME = (
    *("event", "sg_message_id", "smtp-id", "email", "timestamp", "type", "reason", "response", "attempt"),
    *("url", "asm_group_id", "useragent", "ip", "sg_machine_open"),
)


def translate(hook: Hook) -> list[Feedback]:
    """One Feedback for each event, in the order of the batch."""
    said = reading.json(hook.body)
    events = [said] if isinstance(said, dict) else said
    if not isinstance(events, list):
        return [_unreadable(hook.body)]
    return [_feedback(event) if isinstance(event, dict) else _unreadable(hook.body) for event in events]


def _unreadable(body: bytes) -> Feedback:
    return Feedback(kind=Kind.IGNORED, provider_type="unreadable", keys=(reading.key(body),))


def _feedback(event: _Event) -> Feedback:
    word, event_id = reading.word(event.get("event")), reading.text(event.get("sg_event_id"))
    meaning = _COMPLETED[word](event) if word in _COMPLETED else FEEDBACK.get(word, Meaning(Kind.IGNORED))
    smtp_status, enhanced_status = _smtp(event) if meaning.kind in _SMTP else (None, None)
    smtp_id = reading.text(event.get("smtp-id"))
    return Feedback(
        kind=meaning.kind,
        provider_type=reading.text(event.get("event")) or "unknown",
        keys=reading.keys(event_id, _content_key(event)),
        occurred_at=reading.unix_time(event.get("timestamp")),
        email_id=reading.uuid(event.get("pl_email_id")) or _our_message_id(smtp_id),
        recipient_id=reading.uuid(event.get("pl_recipient_id")),
        recipient=reading.text(event.get("email")),
        provider_message_id=message_id(reading.text(event.get("sg_message_id")), smtp_id),
        provider_event_id=event_id,
        bounce_class=meaning.bounce_class,
        reason=meaning.reason,
        smtp_status=smtp_status,
        enhanced_status=enhanced_status,
        words=_words(event),
        machine=event.get("sg_machine_open") in (True, "true"),
        url=reading.text(event.get("url")),
        scope=meaning.reason if meaning.kind in _SCOPED else None,
        terminal=meaning.terminal,
        add_to_suppression=meaning.add_to_suppression,
    )


def message_id(full: str | None, smtp_id: str | None = None) -> str | None:
    """The X-Message-Id of the answer. `full` is that with the server's name after it; both may have dots.

    `smtp_id` begins with the X-Message-Id, unless the message had a Message-ID of its own, as ours have.
    """
    local = _local_part(smtp_id)
    if full is None:
        return None if _our_message_id(smtp_id) else local or None
    if local and (full == local or full.startswith(f"{local}.")):
        return local
    server = _SERVER.match(full)
    return server[1] if server else full.partition(".")[0] or None


def _local_part(smtp_id: str | None) -> str:
    return (smtp_id or "").strip("<> ").partition("@")[0]


def _our_message_id(smtp_id: str | None) -> UUID | None:
    """The email's id, where the message is known by our own Message-ID: late bounces come without custom args."""
    local = _local_part(smtp_id)
    known = reading.uuid(local)
    return known if str(known) == local else None


def _content_key(event: _Event) -> str:
    index = reading.get(event, "url_offset", "index")  # the same link twice in one message
    return reading.key(*map(event.get, _SAME), index)


def _words(event: _Event) -> str:
    return reading.text(event.get("reason")) or reading.text(event.get("response")) or ""


def _smtp(event: _Event) -> tuple[int | None, str | None]:
    """Reply code and enhanced status, from the server's words and SendGrid's own field."""
    given, reply = reading.text(event.get("status")) or "", _REPLY.match(_words(event))
    enhanced = given if _ENHANCED.fullmatch(given) else None
    return (int(reply[1]), enhanced or reply[2]) if reply else (None, enhanced)
