"""Which of our emails a received mail is about, and whom of its recipients."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from infrastructure.providers import reading, verp
from infrastructure.providers.received_mail import Fields, ReceivedMail, moment

_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_TOKEN_ADDRESS = re.compile(rf"\+({verp.PATTERN})@")
_UUID_ADDRESS = re.compile(rf"\+({_UUID})(?:=[^@\s<>]*)?@", re.I)
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,900})>")
_OUR_MESSAGE_ID = re.compile(rf"({_UUID})@", re.I)
# Where the address that a bounce was sent to may stand: in the mail, in a report, in what was sent back.
_ADDRESSED = ("to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-failed-recipients")
_BOUNCE_ADDRESS = ("original-mail-from", "return-path", "x-envelope-from")


@dataclass(frozen=True, slots=True)
class Original:
    """What was sent, as far as the mail says. `moment` is when the mail itself was written."""

    email_id: UUID | None
    recipient_id: UUID | None
    message_id: str | None
    moment: datetime | None

    @property
    def key(self) -> str:
        """Tells it from other emails, for content keys."""
        return str(self.email_id or self.message_id or "")


def original_of(mail: ReceivedMail, report: Fields | None = None) -> Original:
    """From the best evidence there is; nothing of it is proof. `report` is the part of a report about the message."""
    fields = mail.original
    found = _MESSAGE_ID.search(fields.get("message-id", ""))
    message_id = found[1] if found else None
    named = _from_token(mail, report or {})
    email_id = named.email_id if named else _email_id(mail, report or {}, message_id)
    recipient_id = named.recipient_id if named else None
    if recipient_id is None and email_id == (_uuid(fields, "x-postledger-email-id") or email_id):
        recipient_id = _uuid(fields, "x-postledger-recipient-id")
    return Original(email_id, recipient_id, message_id, moment(mail.fields.get("date")))


def _from_token(mail: ReceivedMail, report: Fields) -> verp.Named | None:
    envelope_id = report.get("original-envelope-id", "").strip()
    written = (*(found[1] for text in _addresses(mail, report) for found in _TOKEN_ADDRESS.finditer(text)), envelope_id)
    return next((named for token in written if (named := verp.read(token))), None)


def _email_id(mail: ReceivedMail, report: Fields, message_id: str | None) -> UUID | None:
    candidates = (
        reading.uuid(report.get("original-envelope-id", "").strip()),
        *(reading.uuid(found[1]) for text in _addresses(mail, report) if (found := _UUID_ADDRESS.search(text))),
        _uuid(mail.original, "x-postledger-email-id"),
        reading.uuid(found[1]) if message_id and (found := _OUR_MESSAGE_ID.match(message_id)) else None,
    )
    return next(filter(None, candidates), None)


def _addresses(mail: ReceivedMail, report: Fields) -> Iterator[str]:
    yield from (mail.fields.get(name, "") for name in _ADDRESSED)
    yield from (each.get(name, "") for each in (report, mail.original) for name in _BOUNCE_ADDRESS)


def _uuid(fields: Fields, name: str) -> UUID | None:
    return reading.uuid(fields.get(name, "").strip())
