"""What a failed or delayed delivery comes to, from an enhanced status and a server's words."""

import re
from dataclasses import dataclass, field, replace

from domain.delivery import ErrorClass
from domain.events import BounceClass
from domain.feedback import Feedback, Kind
from infrastructure.providers.smtp_replies import classify, printable

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?![.\d])")
_REPLY = re.compile(r"\s*(?P<code>[2-5]\d\d)(?:[\s-]+#?(?P<status>[245]\.\d{1,3}\.\d{1,3}))?(?![.\d])")
_SAYS_NOTHING = ("0.0", "1.0")  # the subject is left open, or what is wrong with the address
_LONGEST = 1000  # characters of words that are looked at


@dataclass(frozen=True, slots=True)
class Bounce:
    """Why a message did not reach a recipient."""

    bounce_class: BounceClass
    reason: str | None = None
    smtp_status: int | None = None
    enhanced_status: str | None = None
    words: str = field(default="", repr=False)
    add_to_suppression: bool = False


def enhanced_status(written: str) -> str | None:
    """The status in a report's field, which may have a comment."""
    found = _STATUS.match(written.strip())
    return found[0] if found else None


def failed(status: str | None, words: str) -> Bounce:
    """A final failure. `words` may begin with an SMTP reply.

    A status that leaves the reason open gives way to the one in the reply. Where the reply's code and the status are
    of different classes, the code is right. What was put off until it was too late is no proof against the address.
    """
    code, said, rest = _reply(words)
    known = status if status and not status.endswith(_SAYS_NOTHING) else said or status
    put_off = 400 <= code < 500 if code else bool(known and known.startswith("4."))
    why = classify("rcpt_to", code if code and code >= 500 else 550, f"{known or ''} {rest}".strip())
    bounce_class = why.bounce_class if why.outcome is ErrorClass.PERMANENT else "soft"
    bounce = Bounce(bounce_class or "undetermined", why.reason, code, known, shown(words), why.add_to_suppression)
    if put_off and bounce_class != "soft":
        return replace(bounce, bounce_class="soft", reason="expired", add_to_suppression=False)
    return bounce


def put_off(status: str | None, words: str) -> Bounce:
    """Not yet delivered; the server goes on trying. The class is of no matter."""
    code, said, rest = _reply(words)
    known = status if status and not status.endswith(_SAYS_NOTHING) else said or status
    why = classify("rcpt_to", code if code and 400 <= code < 500 else 450, f"{known or ''} {rest}".strip())
    return Bounce("soft", why.reason, code, known, shown(words))


def bounced(feedback: Feedback, why: Bounce) -> Feedback:
    """The feedback as one of a final failure."""
    return replace(
        feedback,
        kind=Kind.BOUNCED,
        bounce_class=why.bounce_class,
        reason=why.reason,
        smtp_status=why.smtp_status,
        enhanced_status=why.enhanced_status,
        words=why.words,
        terminal=True,
        add_to_suppression=why.add_to_suppression,
    )


def deferred(feedback: Feedback, why: Bounce) -> Feedback:
    """The feedback as one of a delay."""
    return replace(
        feedback,
        kind=Kind.DEFERRED,
        reason=why.reason,
        smtp_status=why.smtp_status,
        enhanced_status=why.enhanced_status,
        words=why.words,
    )


def shown(words: str) -> str:
    """A server's words as they are kept."""
    return printable(words[:_LONGEST])


def _reply(words: str) -> tuple[int | None, str | None, str]:
    """Code, enhanced status and the rest of what a server said."""
    words = words[:_LONGEST]
    found = _REPLY.match(words)
    if found is None:
        return None, None, words
    return int(found["code"]), found["status"], words[found.end() :].strip()
