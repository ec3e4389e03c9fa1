"""Resend's webhooks: signed by Svix as Standard Webhooks has it, told in the words of SES.

- `svix-id` is the event's id; it stays the same over repetitions and replays (resend-laravel#109).
- An event does not name the recipient it is about: with several it is about none in particular.
- Older events say in the text alone that an address is suppressed.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from application.errors import Untrusted
from application.ports import Hook
from domain.events import BounceClass
from domain.feedback import Feedback, Kind
from infrastructure.providers import reading

# --- Signature

_TOLERANCE = 300  # seconds, inclusive as in Svix's own libraries; every repetition is signed anew
_ID = re.compile(r"[!-\-/-~]{1,200}")  # without a dot, which separates what is signed
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES = 16  # that are looked at; there is one for each secret in rotation


@dataclass(frozen=True, slots=True)
class WebhookKey:
    """What a webhook is signed with: a shared secret (v1, HMAC-SHA256) or the public half of a pair (v1a, Ed25519)."""

    version: Literal["v1", "v1a"]
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        prefix, _, encoded = text.strip().replace(" ", "+").partition("_")  # a URL's query has + for a space
        try:
            key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except ValueError:
            key = b""
        if prefix == "whsec" and key:
            return cls("v1", key)
        if prefix == "whpk" and len(key) == 32:
            return cls("v1a", key)
        raise ValueError("webhook_key must be the webhook's signing secret: whsec_…")

    def signed(self, content: bytes, signature: str) -> bool:
        if self.version == "v1":
            expected = b64encode(hmac.digest(self.key, content, "sha256"))
            return hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        try:
            raw = b64decode(signature, validate=True)
            Ed25519PublicKey.from_public_bytes(self.key).verify(raw, content)
        except (ValueError, InvalidSignature):
            return False
        return b64encode(raw).decode() == signature


def verify(hook: Hook, keys: Sequence[WebhookKey], now: datetime) -> str:
    """The message's id, the same for every repetition and replay. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    event_id, timestamp, signatures = _signed_headers(hook.headers)
    if not (event_id and timestamp and signatures):
        raise Untrusted("missing_header")
    if not _ID.fullmatch(event_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise Untrusted("malformed")
    content = f"{event_id}.{timestamp}.".encode() + hook.body
    entries = [entry.partition(",") for entry in signatures.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]]
    if not any(key.signed(content, text) for version, _, text in entries for key in keys if key.version == version):
        raise Untrusted("bad_signature")
    if abs(now.timestamp() - int(timestamp)) > _TOLERANCE:
        raise Untrusted("stale")
    return event_id


def _signed_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """Id, timestamp, signatures: all of one family, or an id could be told that was never signed."""
    family = "svix" if "svix-id" in headers else "webhook"
    said = {part: headers.get(f"{family}-{part}", "") for part in ("id", "timestamp", "signature")}
    return said["id"], said["timestamp"], said["signature"]


# --- Feedback

FEEDBACK: Mapping[str, Kind] = {
    "email.scheduled": Kind.ACCEPTED,
    "email.sent": Kind.SENT,
    "email.delivered": Kind.DELIVERED,
    "email.delivery_delayed": Kind.DEFERRED,
    "email.bounced": Kind.BOUNCED,  # or SUPPRESSED, see SUPPRESSIONS
    "email.suppressed": Kind.SUPPRESSED,
    "email.complained": Kind.COMPLAINED,
    "email.failed": Kind.REJECTED,
    "email.opened": Kind.OPENED,
    "email.clicked": Kind.CLICKED,
    "suppression.added": Kind.SUPPRESSION_ADDED,  # in the Python SDK since 2.52
    "domain.created": Kind.PROVIDER_ACCOUNT,
    "domain.updated": Kind.PROVIDER_ACCOUNT,
    "domain.deleted": Kind.PROVIDER_ACCOUNT,
}
_NOT_ABOUT_A_MESSAGE = frozenset({Kind.IGNORED, Kind.PROVIDER_ACCOUNT, Kind.SUPPRESSION_ADDED})

BOUNCES: Mapping[str, BounceClass] = {"permanent": "hard", "transient": "soft", "temporary": "soft"}
SUBTYPES: Mapping[str, str] = {
    "noemail": "invalid_address",
    "mailboxfull": "mailbox_full",
    "messagetoolarge": "too_large",
    "contentrejected": "content",
    "attachmentrejected": "content",
    "messagerejected": "blocked",
    "customtimeoutexceeded": "timeout",
}
GENERAL: Mapping[BounceClass, str] = {"hard": "invalid_address", "soft": "general"}
SUPPRESSIONS: Mapping[str, str] = {
    "suppressed": "suppression_list",
    "onaccountsuppressionlist": "account_suppression_list",
    "ontenantsuppressionlist": "account_suppression_list",
    "emailvalidationsuppressed": "invalid_address",
    "unsubscribedrecipient": "unsubscribe",
}
CAUSES: Mapping[str, str] = {"previous_bounce": "bounce", "previous_complaint": "complaint"}
FAILURES: Mapping[str, str] = {"reached_daily_quota": "quota", "reached_monthly_quota": "quota"}
_LEGACY_SUPPRESSION = "suppressed sending"  # before there were types, this was all that said so
# `smtp; 550 5.1.1 …`, `550 …`, `… said: 550 5.1.1 …`
_SMTP_STATUS = re.compile(r"(?ai)^\s*(?:smtp\s*;\s*)?([245]\d\d)(?![\d.])|(?<![\d.])([245]\d\d)[ -]+[245]\.\d")
_ENHANCED_STATUS = re.compile(r"(?a)(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?!\d|\.\d)")
_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,60}")

Details = Mapping[str, Any]


def translate(hook: Hook) -> list[Feedback]:
    """What it says: always one statement."""
    event_id = reading.text(_signed_headers(hook.headers)[0])
    document = reading.mapping(reading.json(hook.body))
    provider_type = (reading.text(document.get("type")) or "unreadable")[:100]
    kind = FEEDBACK.get(provider_type.lower(), Kind.IGNORED)
    data = reading.mapping(document.get("data"))
    known: dict[str, Any] = {
        "kind": kind,
        "provider_type": provider_type,
        "keys": (event_id or reading.key(hook.body),),
        "provider_event_id": event_id,
        "occurred_at": reading.iso_time(document.get("created_at")),
    }
    if kind not in _NOT_ABOUT_A_MESSAGE:
        known |= _about(data)
    if special := _SPECIAL.get(kind):
        known |= special(data)
    return [Feedback(**known)]


def _about(data: Details) -> Details:
    addressed = [each for name in ("to", "cc", "bcc") for each in _several(data.get(name))]
    return {
        "email_id": reading.uuid(reading.get(data, "tags", "pl_email_id")),
        "recipient_id": reading.uuid(reading.get(data, "tags", "pl_recipient_id")),
        "recipient": bare_address(addressed[0]) if len(addressed) == 1 else None,
        "provider_message_id": reading.text(data.get("email_id")),
    }


def _several(value: object) -> Sequence[object]:
    return [value] if isinstance(value, str) else reading.items(value)


def bare_address(value: object) -> str | None:
    """`ada@example.com`, also of `Ada <ada@example.com>`."""
    return reading.text((reading.text(value) or "").rpartition("<")[2].removesuffix(">"))


def plain_word(word: str) -> str | None:
    """The word, if it may stand as a reason of ours."""
    return word if _PLAIN.fullmatch(word) else None


def _bounced(data: Details) -> Details:
    bounce = reading.mapping(data.get("bounce"))
    subtype = reading.word(bounce.get("subType"))
    if subtype in SUPPRESSIONS or _LEGACY_SUPPRESSION in reading.word(bounce.get("message")):
        return _suppression(SUPPRESSIONS.get(subtype, "account_suppression_list"), bounce)
    bounce_class = BOUNCES.get(reading.word(bounce.get("type")), "undetermined")
    general = subtype in ("", "general")
    reason = GENERAL.get(bounce_class) if general else SUBTYPES.get(subtype)
    return {
        "bounce_class": bounce_class,
        "reason": reason,
        # SES calls an out-of-office reply Transient/General; it may follow a delivery.
        "terminal": not (bounce_class == "soft" and general),
        "add_to_suppression": bounce_class == "hard" and reason == "invalid_address",
        **_diagnosis(bounce),
    }


def _suppressed(data: Details) -> Details:
    said = reading.mapping(data.get("suppressed"))
    by_type = SUPPRESSIONS.get(reading.word(said.get("type")), "suppression_list")
    return _suppression(CAUSES.get(reading.word(said.get("reason")), by_type), said)


def _suppression(reason: str, said: Details) -> Details:
    return {
        "kind": Kind.SUPPRESSED,
        "reason": reason,
        "terminal": True,
        "add_to_suppression": True,
        **_diagnosis(said),
    }


def _diagnosis(said: Details) -> Details:
    """The receiving server's words if there are any, with the numbers in them, or else Resend's."""
    codes = [text for code in _several(said.get("diagnosticCode")) if (text := reading.text(code))]
    status = reading.first(filter(None, map(_SMTP_STATUS.search, codes)))
    enhanced = reading.first(filter(None, map(_ENHANCED_STATUS.search, codes)))
    return {
        "words": " ".join(codes)[:1000] or reading.text(said.get("message")) or "",
        "smtp_status": reading.smtp_status(status[1] or status[2]) if status else None,
        "enhanced_status": enhanced[0] if enhanced else None,
    }


def _failed(data: Details) -> Details:
    reason = reading.word(reading.get(data, "failed", "reason"))
    return {"reason": FAILURES.get(reason) or plain_word(reason), "words": reason, "terminal": True}


def _complained(_: Details) -> Details:
    return {"terminal": True, "add_to_suppression": True}


def _clicked(data: Details) -> Details:
    return {"url": reading.text(reading.get(data, "click", "link"))}


def _listed(data: Details) -> Details:
    reason = plain_word(reading.word(data.get("origin")))
    return {"recipient": bare_address(data.get("email")), "reason": reason, "add_to_suppression": True}


_SPECIAL: Mapping[Kind, Callable[[Details], Details]] = {
    Kind.BOUNCED: _bounced,
    Kind.SUPPRESSED: _suppressed,
    Kind.REJECTED: _failed,
    Kind.COMPLAINED: _complained,
    Kind.CLICKED: _clicked,
    Kind.SUPPRESSION_ADDED: _listed,
}
