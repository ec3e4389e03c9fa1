"""What an SMTP server's reply means for us (RFC 5321 codes, RFC 3463 enhanced codes, and the words servers use)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from domain.delivery import ErrorClass
from domain.events import BounceClass

Stage = Literal["connect", "banner", "ehlo", "starttls", "auth", "mail_from", "rcpt_to", "data"]
_CHANNEL: frozenset[Stage] = frozenset({"connect", "banner", "ehlo", "starttls", "auth"})


@dataclass(frozen=True, slots=True)
class Classified:
    """A reply in our words. `bounce_class` is set where it says something about a recipient."""

    outcome: ErrorClass | Literal["accepted", "continue"]
    bounce_class: BounceClass | None = None
    reason: str | None = None
    enhanced_status: str | None = None
    add_to_suppression: bool = False
    about_message: bool = False  # or about a recipient: it tells nothing of how the server is doing

    @property
    def error_class(self) -> ErrorClass | None:
        return self.outcome if isinstance(self.outcome, ErrorClass) else None


_PERMANENT, _TRANSIENT, _CONFIG = ErrorClass.PERMANENT, ErrorClass.TRANSIENT, ErrorClass.CONFIG


def _hard(reason: str) -> Classified:
    return Classified(_PERMANENT, "hard", reason, add_to_suppression=True)


def _soft(reason: str | None) -> Classified:
    return Classified(_PERMANENT, "soft", reason)


_UNDETERMINED = Classified(_PERMANENT, "undetermined")
_PROTOCOL = Classified(_PERMANENT, "undetermined", "protocol")  # our bug, most likely
_TOO_MANY = Classified(_TRANSIENT, reason="too_many_recipients")

# Subject and detail of an enhanced status (RFC 3463 section 3), whatever its class: the basic code decides that.
# `X.7` stands for all details of a subject that have no line of their own.
ENHANCED: Mapping[str, Classified] = {
    "1.1": _hard("invalid_address"),
    "1.2": _hard("invalid_domain"),
    "1.3": _hard("invalid_address"),
    "1.6": _hard("moved"),
    "1.7": Classified(_CONFIG, reason="sender"),
    "1.8": Classified(_CONFIG, reason="sender"),
    "1.10": _hard("invalid_domain"),  # null MX (RFC 7505)
    "2.1": _hard("mailbox_disabled"),
    "2.2": _soft("mailbox_full"),
    "2.3": _soft("too_large"),
    "X.2": _soft("mailbox"),
    "3.4": _soft("too_large"),
    "X.3": _soft("system"),
    "4.4": _soft("no_route"),
    "4.6": _soft("loop"),
    "4.7": _soft("expired"),
    "X.4": _soft("routing"),  # Microsoft 365 says 5.4.1 "Access denied" for unknown recipients too: not proof enough
    "5.3": _TOO_MANY,
    "X.5": _PROTOCOL,
    "X.6": _soft("content"),
    "X.7": _soft("policy"),
}

# Servers' words, first match wins: policy stands before unknown users, because "rejected" is in the words of both.
_RELAY = r"relay(?:ing)?(?: access)? (?:is )?(?:denied|not (?:permitted|allowed))|unable to relay|rcpthosts"
_UNKNOWN_USER = (
    r"user unknown|no such (?:user|recipient|mailbox)|does not exist|unknown (?:user|recipient)|invalid recipient|"
    r"mailbox (?:unavailable|not found)|recipient rejected"
)
_FULL = re.compile(r"quota|mailbox (?:is )?full|over ?quota", re.I)
_POLICY_WORDS: Mapping[re.Pattern[str], Classified] = {
    re.compile(_RELAY, re.I): Classified(_CONFIG, reason="relay_denied"),
    re.compile(r"block(?:ed|list)|black ?list|spamhaus|reputation|dnsbl|\brbl\b", re.I): _soft("reputation"),
    re.compile(r"dmarc|\bspf\b|dkim", re.I): _soft("authentication"),
    re.compile(r"spam|virus|malware|phish", re.I): _soft("content"),
    re.compile(r"policy", re.I): _soft("policy"),
}
_MAILBOX_WORDS: Mapping[re.Pattern[str], Classified] = {
    _FULL: _soft("mailbox_full"),
    re.compile(_UNKNOWN_USER, re.I): _hard("invalid_address"),
}
_SENDER_IS_AT_FAULT = Classified(_CONFIG, reason="sender")
_RATE = re.compile(r"throttl|\brate\b|rate.?limit|limit exceeded|too many (?:connections|messages|e?mails)", re.I)
_DAILY = re.compile(r"\b(?:daily|hourly|monthly|24.hour)\b.*\b(?:quota|limit)|sending (?:quota|limit)", re.I)
_GREYLISTED = re.compile(r"gr[ea]y.?list", re.I)
_TOO_MANY_WORDS = re.compile(r"too many recipients", re.I)

_STATUS = re.compile(r"(?:\d{3}[ -])?([245]\.\d{1,3}\.\d{1,3})\b")  # right after the code (RFC 2034)
_QUOTED_ADDRESS = re.compile(r"<[^<>@\s]{1,256}@[^<>\s]{0,256}>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST_WORDS = 1000  # as `ProviderWords` allows
_MAY_NAME_A_USER = frozenset({550, 551, 553})  # 552 and 554 are about the message


def classify(stage: Stage, code: int | None, text: str) -> Classified:
    """What a reply at a stage of the session means. `text` may begin with the code; lines may be several.

    Without a reply `code` is None and `text` names the exception: what broke was the channel.
    """
    if code is None:
        return (
            Classified(_CONFIG, reason="tls")
            if text.startswith("ssl.")
            else Classified(_TRANSIENT, reason="connection")
        )
    if code < 400:
        return Classified("accepted" if code < 300 else "continue", enhanced_status=_enhanced_status(text))
    if stage in _CHANNEL:
        verdict = _of_the_channel(stage, code, text)
    elif code < 500:
        verdict = _put_off(stage, code, text)
    else:
        verdict = _refused(stage, code, text)
    status = _enhanced_status(text)
    return replace(verdict, enhanced_status=status, about_message=_about_message(stage, code, verdict, status))


def printable(words: str) -> str:
    """A server's words as we keep them: on one line, valid Unicode (aiosmtplib lets surrogates through), not long."""
    valid = words.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROL.sub(" ", valid).strip()[:_LONGEST_WORDS]


def _about_message(stage: Stage, code: int, why: Classified, status: str | None) -> bool:
    """Whether another message, or the same to somebody else, may well be taken now."""
    if stage in _CHANNEL or code == 421 or why.reason == "auth" or why.error_class is ErrorClass.QUOTA:
        return False
    if why.reason == "sender":
        return True
    full_or_broken = status is not None and status.startswith("4.3.") and status != "4.3.4"  # the system, not a mailbox
    return stage != "mail_from" and not full_or_broken


def _of_the_channel(stage: Stage, code: int, text: str) -> Classified:
    if code < 500:
        limited = code == 421 and _RATE.search(text)
        return Classified(ErrorClass.RATE_LIMITED if limited else _TRANSIENT)
    if stage == "banner":
        return Classified(_TRANSIENT, reason="relay_refused")  # RFC 5321 section 3.1: this host not now, another may
    return Classified(_CONFIG)


def _put_off(stage: Stage, code: int, text: str) -> Classified:
    """4yz: the same message may be taken later."""
    if _GREYLISTED.search(text):
        return Classified(_TRANSIENT, reason="greylisted")
    if code == 421 or stage != "rcpt_to":  # at RCPT, rates and quotas are the recipient's
        if _DAILY.search(text):
            return Classified(ErrorClass.QUOTA)
        if _RATE.search(text):
            return Classified(ErrorClass.RATE_LIMITED)
    if _TOO_MANY_WORDS.search(text):
        return _TOO_MANY
    known = _by_enhanced_status(text) or _by_words(text, _MAILBOX_WORDS)
    full = known is not None and known.reason == "mailbox_full" and stage == "rcpt_to"
    reason = known.reason if known and known.bounce_class != "hard" else None
    return Classified(_TRANSIENT, "soft" if full else None, reason)


def _refused(stage: Stage, code: int, text: str) -> Classified:
    """5yz: this transaction, or this recipient, will not be taken."""
    if stage == "mail_from":
        return _sender_refused(code, text)
    if stage == "rcpt_to" and _TOO_MANY_WORDS.search(text):
        return _TOO_MANY  # RFC 5321 section 4.5.3.1.10: some say 552 where they mean 452
    if code in (530, 535):
        return Classified(_CONFIG, reason="auth")
    known = _by_enhanced_status(text)
    if known is None or known.reason == "policy":
        known = _by_words(text, _POLICY_WORDS) or known
    return known or _by_code(stage, code, text)


def _sender_refused(code: int, text: str) -> Classified:
    """A refusal at MAIL is about the message's size, our grammar, or the sender; never about a recipient."""
    known = _by_enhanced_status(text)
    if code == 552 or (known and known.reason == "too_large"):
        return Classified(_PERMANENT, reason="too_large")
    if known is _PROTOCOL or code in (500, 501, 503, 504, 555):
        return Classified(_PERMANENT, reason="protocol")
    if code in (530, 535):
        return Classified(_CONFIG, reason="auth")
    return _SENDER_IS_AT_FAULT


def _by_code(stage: Stage, code: int, text: str) -> Classified:
    """No enhanced status, or one that says nothing."""
    if stage == "data":
        return _soft("too_large") if code == 552 else _UNDETERMINED
    if code == 551:
        return _hard("moved")
    known = _by_words(text, _MAILBOX_WORDS)
    if known and (known.bounce_class == "soft" or code in _MAY_NAME_A_USER):
        return known
    return _soft(None) if code == 552 else _UNDETERMINED


def _by_words(text: str, table: Mapping[re.Pattern[str], Classified]) -> Classified | None:
    text = _QUOTED_ADDRESS.sub(" ", text)  # Postfix quotes the recipient, who may well be called `spam-reports`
    return next((verdict for words, verdict in table.items() if words.search(text)), None)


def _by_enhanced_status(text: str) -> Classified | None:
    if (status := _enhanced_status(text)) is None:
        return None
    _, subject, detail = status.split(".")
    return ENHANCED.get(f"{subject}.{detail}") or ENHANCED.get(f"X.{subject}")


def _enhanced_status(text: str) -> str | None:
    found = _STATUS.match(text)
    return found[1] if found else None
