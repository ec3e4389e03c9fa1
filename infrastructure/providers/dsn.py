"""Mail about a message of ours: delivery status notifications (RFC 3464, RFC 6533), and what else comes to a bounce
address.

Quirks:
* Everything in such a mail may be invented: whom it is about is decided by a token of ours (see `smtp.py`), not here.
* A status such as 5.0.0, which Exim writes for every failure, says less than the reply in `Diagnostic-Code`.
* Failed with a status of class 4 means that a server gave up trying: soft, whatever the subject.
* A group or a forwarding address may fail because of an address behind it. Then the one that we know is not to blame.
* Some servers undo the xtext of ORCPT and ENVID, some send it back as it was.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from domain.feedback import Feedback, Kind
from infrastructure.providers import bounce, reading, xtext
from infrastructure.providers.arf import complaint
from infrastructure.providers.bounced_original import Original, original_of
from infrastructure.providers.plain_bounce import automatic_reply, plain_bounce
from infrastructure.providers.received_mail import Fields, ReceivedMail, fields, moment

FEEDBACK: Mapping[str, Kind] = {
    "failed": Kind.BOUNCED,
    "delayed": Kind.DEFERRED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.IGNORED,  # to a server that will not report: as much as we knew before
    "expanded": Kind.IGNORED,  # to the members of a list, who are not ours
}
_WITHOUT_ACTION: Mapping[str, str] = {"5": "failed", "4": "delayed", "2": "delivered"}  # by class of status
_MOST_BLOCKS = 50
_LONGEST = 256 * 1024  # bytes of a report
_BLANK = re.compile(rb"\n[ \t]*\n")


def translate_message(body: bytes) -> list[Feedback]:
    """What a mail says, one Feedback for each recipient it reports on. Never raises; what it cannot read is IGNORED."""
    mail = ReceivedMail.of(body)
    ways: Sequence[Callable[[ReceivedMail], list[Feedback]]] = (
        *(delivery_reports, complaint, _other_report, automatic_reply, plain_bounce),
    )
    found = next((feedback for way in ways if (feedback := way(mail))), [])
    return found or [_ignored("unreadable", original_of(mail), reading.key(body))]


def delivery_reports(mail: ReceivedMail) -> list[Feedback]:
    """One Feedback for each recipient in a delivery status notification; none when it is no such mail."""
    part = mail.part("message/delivery-status", "message/global-delivery-status")
    if part is None:
        return []
    blocks = [found for block in _BLANK.split(part.content[:_LONGEST], _MOST_BLOCKS) if (found := fields(block))]
    message = next((block for block in blocks if "reporting-mta" in block), blocks[0] if blocks else {})
    original = original_of(mail, message)
    return [_of_recipient(_Block(each, message), original) for each in blocks if "action" in each or "status" in each]


@dataclass(frozen=True, slots=True)
class _Block:
    """What is said about one recipient, and about the message."""

    fields: Fields
    message: Fields

    @property
    def status(self) -> str | None:
        return bounce.enhanced_status(self.fields.get("status", ""))

    @property
    def action(self) -> str:
        """Their word; from the status where there is none."""
        words = self.fields.get("action", "").lower().split()
        return words[0] if words else _WITHOUT_ACTION.get((self.status or "")[:1], "")

    @property
    def words(self) -> str:
        kind, semicolon, words = self.fields.get("diagnostic-code", "").partition(";")
        return (words if semicolon and len(kind.split()) == 1 else f"{kind}{semicolon}{words}").strip()

    @property
    def recipient(self) -> str | None:
        """As we wrote it, else as the reporting server has it."""
        return _address(self.fields.get("original-recipient")) or _address(self.fields.get("final-recipient"))

    @property
    def passed_on(self) -> bool:
        """Whether it went to another address in the end."""
        written, reached = (_address(self.fields.get(name)) for name in ("original-recipient", "final-recipient"))
        return bool(written and reached) and (written or "").casefold() != (reached or "").casefold()


def _of_recipient(block: _Block, original: Original) -> Feedback:
    kind = FEEDBACK.get(block.action, Kind.IGNORED)
    # The message's Arrival-Date comes last: it is when the server took it, before anything became of it.
    at = moment(block.fields.get("last-attempt-date")) or original.moment or moment(block.message.get("arrival-date"))
    feedback = Feedback(
        kind=kind,
        provider_type=f"dsn/{reading.text(block.action) or 'unknown'}",
        keys=(reading.key("dsn", block.action, block.status, original.key, block.recipient, at),),
        occurred_at=at,
        email_id=original.email_id,
        recipient_id=original.recipient_id,
        recipient=block.recipient,
        provider_message_id=original.message_id,
        enhanced_status=block.status,
        words=bounce.shown(block.words),
    )
    if kind is Kind.BOUNCED:
        return bounce.bounced(feedback, _blameless(bounce.failed(block.status, block.words), block))
    return bounce.deferred(feedback, bounce.put_off(block.status, block.words)) if kind is Kind.DEFERRED else feedback


def _blameless(why: bounce.Bounce, block: _Block) -> bounce.Bounce:
    return replace(why, add_to_suppression=False) if block.passed_on else why


def _address(written: str | None) -> str | None:
    """The address in `rfc822; ada@example.com`."""
    _, semicolon, address = (written or "").partition(";")
    address = xtext.decoded((address if semicolon else written or "").strip().strip("<>"))
    return reading.text(address) if "@" in address else None


def _other_report(mail: ReceivedMail) -> list[Feedback]:
    """A report about something else: that it was read (RFC 8098), or a sum of many."""
    if mail.parts[0].media_type != "multipart/report":
        return []
    kind = reading.text(mail.parts[0].parameter("report-type").lower())
    if kind in (None, "delivery-status"):
        return []
    original = original_of(mail)
    return [_ignored(f"report/{kind}", original, reading.key("report", kind, original.key, original.moment))]


def _ignored(provider_type: str, original: Original, key: str) -> Feedback:
    return Feedback(
        kind=Kind.IGNORED,
        provider_type=provider_type,
        keys=(key,),
        occurred_at=original.moment,
        email_id=original.email_id,
        recipient_id=original.recipient_id,
        provider_message_id=original.message_id,
    )
