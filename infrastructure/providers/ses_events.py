"""What SES's events say, in our words: FEEDBACK and `translate`, part of the provider in `ses`.

Events come in two shapes with the same insides: event publishing (`eventType`, with tags) and identity notifications
(`notificationType`, no tags, and headers only when asked for). Either comes in an SNS envelope or bare, from a queue
with raw delivery.

* A type's part is not its name in lower case: `Rendering Failure` has `failure`, `DeliveryDelay` has `deliveryDelay`.
* `Transient/General` is often an out-of-office reply and comes after `Delivery` (listmonk once took it for a hard
  bounce): it is never the last word.
* A complaint may list everybody at the complainer's domain. Opens, clicks, Send and Reject list all recipients. Where
  there are several, nobody is named.
* A topic's first message is plain text and says that it works.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from application.ports import Hook
from domain.events import BounceClass
from domain.feedback import Feedback, Kind
from infrastructure.providers import sns
from infrastructure.providers.reading import (
    first,
    get,
    iso_time,
    items,
    json,
    key,
    keys,
    mapping,
    smtp_status,
    text,
    uuid,
    word,
)


class Meaning(NamedTuple):
    """What a word of SES is in ours."""

    kind: Kind
    bounce_class: BounceClass | None = None
    reason: str | None = None
    terminal: bool = False
    suppress: bool = False  # the address


def _suppressed(reason: str) -> Meaning:
    return Meaning(Kind.SUPPRESSED, None, reason, terminal=True, suppress=True)


def _soft(reason: str | None) -> Meaning:
    return Meaning(Kind.BOUNCED, "soft", reason, terminal=True)


_NO_SUCH_ADDRESS = Meaning(Kind.BOUNCED, "hard", "invalid_address", terminal=True, suppress=True)
_UNDETERMINED = Meaning(Kind.BOUNCED, "undetermined", None, terminal=True)

# The type, then its sub-types, in lower case; what is not there is looked for without its last word.
FEEDBACK: Mapping[str, Meaning] = {
    "send": Meaning(Kind.SENT),
    "delivery": Meaning(Kind.DELIVERED),
    "bounce": _UNDETERMINED,
    "bounce/undetermined": _UNDETERMINED,
    "bounce/permanent": Meaning(Kind.BOUNCED, "hard", None, terminal=True),  # a cause we do not know: not the address
    "bounce/permanent/general": _NO_SUCH_ADDRESS,
    "bounce/permanent/noemail": _NO_SUCH_ADDRESS,
    "bounce/permanent/suppressed": _suppressed("global_suppression_list"),
    "bounce/permanent/onaccountsuppressionlist": _suppressed("account_suppression_list"),
    "bounce/permanent/ontenantsuppressionlist": _suppressed("tenant_suppression_list"),
    "bounce/permanent/emailvalidationsuppressed": _suppressed("invalid_address"),
    "bounce/permanent/unsubscribedrecipient": _suppressed("unsubscribe"),
    "bounce/transient": Meaning(Kind.BOUNCED, "soft", "general"),
    "bounce/transient/general": Meaning(Kind.BOUNCED, "soft", "general"),
    "bounce/transient/mailboxfull": _soft("mailbox_full"),
    "bounce/transient/messagetoolarge": _soft("too_large"),
    "bounce/transient/contentrejected": _soft("content"),
    "bounce/transient/attachmentrejected": _soft("attachment"),
    "bounce/transient/customtimeoutexceeded": _soft("timeout"),
    "complaint": Meaning(Kind.COMPLAINED, terminal=True, suppress=True),
    "complaint/abuse": Meaning(Kind.COMPLAINED, None, "abuse", terminal=True, suppress=True),
    "complaint/auth-failure": Meaning(Kind.COMPLAINED, None, "auth-failure", terminal=True, suppress=True),
    "complaint/fraud": Meaning(Kind.COMPLAINED, None, "fraud", terminal=True, suppress=True),
    "complaint/other": Meaning(Kind.COMPLAINED, None, "other", terminal=True, suppress=True),
    "complaint/virus": Meaning(Kind.COMPLAINED, None, "virus", terminal=True, suppress=True),
    "complaint/not-spam": Meaning(Kind.IGNORED, None, "not-spam"),  # somebody took it out of the junk folder
    "complaint/onaccountsuppressionlist": _suppressed("account_suppression_list"),  # nobody complained: not sent
    "reject": Meaning(Kind.REJECTED, terminal=True),
    "reject/bad content": Meaning(Kind.REJECTED, None, "virus", terminal=True),
    "rendering failure": Meaning(Kind.REJECTED, None, "rendering", terminal=True),
    "deliverydelay": Meaning(Kind.DEFERRED),
    "deliverydelay/internalfailure": Meaning(Kind.DEFERRED, reason="internal"),
    "deliverydelay/general": Meaning(Kind.DEFERRED, reason="general"),
    "deliverydelay/mailboxfull": Meaning(Kind.DEFERRED, reason="mailbox_full"),
    "deliverydelay/spamdetected": Meaning(Kind.DEFERRED, reason="spam_content"),
    "deliverydelay/recipientservererror": Meaning(Kind.DEFERRED, reason="recipient_server"),
    "deliverydelay/ipfailure": Meaning(Kind.DEFERRED, reason="reputation"),
    "deliverydelay/transientcommunicationfailure": Meaning(Kind.DEFERRED, reason="connection"),
    "deliverydelay/byoiphostnamelookupunavailable": Meaning(Kind.DEFERRED, reason="dns"),
    "deliverydelay/sendingdeferral": Meaning(Kind.DEFERRED, reason="sending_deferral"),
    "open": Meaning(Kind.OPENED),
    "click": Meaning(Kind.CLICKED),
    "subscription": Meaning(Kind.RESUBSCRIBED),
    "subscription/all": Meaning(Kind.UNSUBSCRIBED, None, "all", suppress=True),
    "subscription/topic": Meaning(Kind.UNSUBSCRIBED, None, "topic"),
}
_IGNORED = Meaning(Kind.IGNORED)


def _sub_types(kind: str, part: Mapping[str, Any]) -> tuple[str, ...]:
    match kind:
        case "bounce":
            return (word(part.get("bounceType")), word(part.get("bounceSubType")))
        case "complaint":
            return (word(part.get("complaintSubType")) or word(part.get("complaintFeedbackType")),)
        case "reject":
            return (word(part.get("reason")),)
        case "deliverydelay":
            return (word(part.get("delayType")),)
        case "subscription":
            return (_left(part),)
        case _:
            return ()


def _left(part: Mapping[str, Any]) -> str:
    """What a subscriber has just left: `all`, a `topic`, or nothing."""
    new, old = mapping(part.get("newTopicPreferences")), mapping(part.get("oldTopicPreferences"))
    if new.get("unsubscribeAll") is True:
        return "all"
    return "topic" if _opted_out(new) - _opted_out(old) else ""


def _opted_out(preferences: Mapping[str, Any]) -> set[str]:
    topics = [mapping(each) for each in items(preferences.get("topicSubscriptionStatus"))]
    return {text(each.get("topicName")) or "" for each in topics if word(each.get("subscriptionStatus")) == "optout"}


class Shape(NamedTuple):
    """Where a type keeps its own part, and in it those it is about."""

    part: str
    recipients: str = ""


SHAPES: Mapping[str, Shape] = {
    "send": Shape("send"),
    "delivery": Shape("delivery", "recipients"),
    "bounce": Shape("bounce", "bouncedRecipients"),
    "complaint": Shape("complaint", "complainedRecipients"),
    "reject": Shape("reject"),
    "rendering failure": Shape("failure"),
    "deliverydelay": Shape("deliveryDelay", "delayedRecipients"),
    "open": Shape("open"),
    "click": Shape("click"),
    "subscription": Shape("subscription"),
}

_VALIDATED = b"Successfully validated SNS topic"
_REPLY = re.compile(
    r"(?:[\w-]+; ?)?([2-5][0-9]{2})(?![0-9])(?:[ -]+([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9]))?", re.ASCII
)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_APPLE_PROXY = "Mozilla/5.0"  # Mail Privacy Protection fetches under this bare name; SES itself has no flag for it


@dataclass(frozen=True, slots=True)
class _Whom:
    """One recipient as an event has it, and what their server said."""

    address: str | None = field(default=None, repr=False)
    status: str | None = None
    words: str = field(default="", repr=False)


def translate(hook: Hook) -> list[Feedback]:
    """What a delivery says. Never raises."""
    envelope = sns.envelope(hook.body)
    if envelope and envelope["Type"] != "Notification":
        return []  # about a subscription
    body = envelope["Message"].encode("utf-8", "replace") if envelope else hook.body
    if body.lstrip().startswith(_VALIDATED):
        return []
    said = json(body)
    if not isinstance(said, dict):
        return [Feedback(kind=Kind.IGNORED, provider_type="unreadable", keys=keys(key(body)))]
    return _statements(said, text(envelope.get("MessageId")))


def _statements(said: Mapping[str, Any], event_id: str | None) -> list[Feedback]:
    provider_type = text(said.get("eventType")) or text(said.get("notificationType")) or "unknown"
    kind = provider_type.lower()
    shape = SHAPES.get(kind, Shape(""))
    part, mail = mapping(said.get(shape.part)), mapping(said.get("mail"))
    meaning = _meaning(kind, part)
    about = Feedback(
        kind=meaning.kind,
        provider_type=provider_type,
        keys=(),
        occurred_at=iso_time(part.get("timestamp")) or iso_time(mail.get("timestamp")),
        email_id=_carried(mail, "pl_email_id", "x-postledger-email-id"),
        provider_message_id=text(mail.get("messageId")),
        provider_event_id=event_id,
        bounce_class=meaning.bounce_class,
        reason=meaning.reason,
        machine=kind == "open" and text(part.get("userAgent")) == _APPLE_PROXY,
        url=text(part.get("link")) if kind == "click" else None,
        scope=_scope(part) if kind == "subscription" else None,
        terminal=meaning.terminal,
        add_to_suppression=meaning.suppress,
    )
    named = _named(part, shape, meaning)
    return [_about(about, whom, part, mail) for whom in named or _only_destination(mail, part)]


def _meaning(kind: str, part: Mapping[str, Any]) -> Meaning:
    words = [kind, *_sub_types(kind, part)]
    known = ("/".join(words[:length]) for length in range(len(words), 0, -1))
    return next((FEEDBACK[each] for each in known if each in FEEDBACK), _IGNORED)


def _about(about: Feedback, whom: _Whom, part: Mapping[str, Any], mail: Mapping[str, Any]) -> Feedback:
    """The statement about one recipient; without one, nobody's id."""
    reply = _REPLY.match(whom.words)
    enhanced = _ENHANCED.match(whom.status or "")
    recipient_id = _carried(mail, "pl_recipient_id", "x-postledger-recipient-id")
    timestamp = part.get("timestamp") or mail.get("timestamp")
    detail = part.get("feedbackId") or part.get("link") or part.get("delayType")
    kind = about.provider_type.lower()
    return replace(
        about,
        keys=keys(key("ses", kind, about.provider_message_id, (whom.address or "").lower(), timestamp, detail)),
        recipient=whom.address,
        recipient_id=recipient_id if whom.address else None,
        smtp_status=smtp_status(reply[1]) if reply else None,
        enhanced_status=enhanced[0] if enhanced else reply[2] if reply else None,
        words=whom.words,
    )


def _named(part: Mapping[str, Any], shape: Shape, meaning: Meaning) -> list[_Whom]:
    words = text(part.get("smtpResponse")) or ""
    found = [_whom(each, words) for each in items(part.get(shape.recipients))]
    known = [whom for whom in found if whom.address]
    return [] if meaning.kind is Kind.COMPLAINED and len(known) > 1 else known


def _whom(said: object, words: str) -> _Whom:
    if isinstance(said, str):
        return _Whom(_address(said), None, words)
    address, status, diagnosis = (get(said, name) for name in ("emailAddress", "status", "diagnosticCode"))
    return _Whom(_address(address), text(status), text(diagnosis) or words)


def _only_destination(mail: Mapping[str, Any], part: Mapping[str, Any]) -> Sequence[_Whom]:
    words = text(part.get("reason")) or text(part.get("errorMessage")) or ""
    everybody = items(mail.get("destination"))
    return [_Whom(_address(everybody[0]) if len(everybody) == 1 else None, None, words)]


def _address(said: object) -> str | None:
    """`ada@example.com`, also where it stands as `Ada <ada@example.com>`."""
    written = text(said) if isinstance(said, str) else None
    return (written.rpartition("<")[2].rstrip(">").strip() or None) if written else None


def _carried(mail: Mapping[str, Any], tag: str, header: str) -> UUID | None:
    """Our id: from the tags, or else from the headers, where they came along."""
    tagged = get(mail, "tags", tag)
    if ours := uuid(first(items(tagged)) if isinstance(tagged, list) else tagged):
        return ours
    headers = (mapping(each) for each in items(mail.get("headers")))
    return uuid(next((each.get("value") for each in headers if word(each.get("name")) == header), None))


def _scope(part: Mapping[str, Any]) -> str | None:
    contact_list = text(part.get("contactList"))
    return f"list:{contact_list}" if contact_list else None
