"""Complaints in the abuse reporting format (RFC 5965), which mailbox providers send when somebody calls mail spam.

Quirks:
* Most providers redact the recipient; our ids come back in the copy of the message.
* `not-spam` is the opposite of a complaint, and reports of failed authentication (RFC 6591) share the format.
"""

from collections.abc import Mapping

from domain.feedback import Feedback, Kind
from infrastructure.providers import reading, xtext
from infrastructure.providers.bounced_original import original_of
from infrastructure.providers.received_mail import ReceivedMail, fields, moment

FEEDBACK: Mapping[str, Kind] = {
    "abuse": Kind.COMPLAINED,
    "fraud": Kind.COMPLAINED,
    "virus": Kind.COMPLAINED,
    "other": Kind.COMPLAINED,
    "miscategorized": Kind.COMPLAINED,
    "opt-out": Kind.UNSUBSCRIBED,  # from the drafts of the format, and still in use
    "opt-out-list": Kind.UNSUBSCRIBED,
    "not-spam": Kind.IGNORED,
    "auth-failure": Kind.IGNORED,
    "dkim": Kind.IGNORED,
}


def complaint(mail: ReceivedMail) -> list[Feedback]:
    """The complaint in the mail; none when it is no such mail."""
    part = mail.part("message/feedback-report")
    if part is None:
        return []
    report = fields(part.content.strip(b"\n"))
    original = original_of(mail, report)
    said = reading.word(report.get("feedback-type"))
    kind = FEEDBACK.get(said, Kind.IGNORED)
    # Arrival-Date, once called Received-Date, is when the message came in: nobody had complained yet.
    at = original.moment or moment(report.get("arrival-date")) or moment(report.get("received-date"))
    unwanted = kind is not Kind.IGNORED
    recipient = _address(report.get("original-rcpt-to"))
    return [
        Feedback(
            kind=kind,
            provider_type=f"arf/{said or 'unknown'}",
            keys=(reading.key("arf", said, original.key, recipient, at),),
            occurred_at=at,
            email_id=original.email_id,
            recipient_id=original.recipient_id,
            recipient=recipient,
            provider_message_id=original.message_id,
            reason=said or None,
            terminal=kind is Kind.COMPLAINED,
            add_to_suppression=unwanted,
        )
    ]


def _address(written: str | None) -> str | None:
    """The address in `<ada@example.com>` or `rfc822; ada@example.com`."""
    address = xtext.decoded((written or "").rpartition(";")[2].strip().strip("<>"))
    return reading.text(address) if "@" in address else None
