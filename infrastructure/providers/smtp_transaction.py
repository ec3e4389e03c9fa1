"""One email to one recipient, as it is said to an SMTP server, and what is made of the replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self
from uuid import uuid5

from application.ports import OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from domain.events import AttachmentRef, EmailRecipientDeliveryFailed, ProviderMessage, Recipient
from infrastructure.mime import build_mime
from infrastructure.providers import verp, xtext
from infrastructure.providers.smtp_replies import Classified, printable
from infrastructure.providers.smtp_settings import SmtpSettings

_GREYLISTING = timedelta(minutes=5)  # the shortest wait that common greylisting servers ask for
_THROTTLED = timedelta(seconds=10)  # a relay that says we are too fast does not say for how long
_TOO_LARGE = Classified(ErrorClass.PERMANENT, reason="too_large")
_NO_SMTPUTF8 = Classified(ErrorClass.PERMANENT, "soft", "smtputf8_not_offered")


class Letter:
    """The message in bytes, which all its recipients share."""

    def __init__(self, message: OutgoingMessage, attachments: Sequence[tuple[AttachmentRef, bytes]]) -> None:
        self.message = message
        self._attachments = attachments
        self._mime = build_mime(message, attachments)

    @classmethod
    async def of(cls, message: OutgoingMessage) -> Self:
        """With its attachments read. Raises BlobMissing and BlobStoreUnavailable."""
        return cls(message, [(each, await message.read(each)) for each in message.email.attachments])

    def body(self, recipient: Recipient, *, smtputf8: bool) -> bytes:
        """The message to one recipient, whose id stands above it: a bounce brings it back."""
        mime = self._mime if smtputf8 or self._mime.isascii() else self._ascii
        return b"X-Postledger-Recipient-Id: %s\r\n%s" % (str(recipient.id).encode(), mime)

    @cached_property
    def _ascii(self) -> bytes:
        return build_mime(self.message, self._attachments, smtputf8=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is to be said to the server: addresses as it takes them, their parameters, and the message."""

    sender: str
    recipient: str
    body: bytes
    mail_options: str = ""
    rcpt_options: str = ""


def build(
    letter: Letter, recipient: Recipient, settings: SmtpSettings, offers: Mapping[str, str]
) -> Transaction | Classified:
    """The transaction for a server that offers these EHLO keywords, or why there cannot be one."""
    utf8 = "smtputf8" in offers
    sender, address = _wire(letter.message.email.sender.address, utf8), _wire(recipient.address, utf8)
    if sender is None:
        return replace(_NO_SMTPUTF8, bounce_class=None)
    if address is None:
        return _NO_SMTPUTF8
    body = letter.body(recipient, smtputf8=utf8)
    limit = offers.get("size", "")
    if limit.isdecimal() and 0 < int(limit) < len(body):  # RFC 1870: SIZE 0 means no limit
        return _TOO_LARGE
    token = _token(letter.message, recipient, settings)
    envelope = _bounce_address(settings, token) or sender
    mail, rcpt = _notifications(address, token, offers) if settings.bounce else ("", "")
    return Transaction(envelope, address, body, _mail_options(body, envelope, address, offers) + mail, rcpt)


def _wire(address: str, utf8: bool) -> str | None:
    return ascii_address(address) or (address if utf8 else None)


def _token(message: OutgoingMessage, recipient: Recipient, settings: SmtpSettings) -> str | None:
    index = verp.index_of(message.email.originator_id, recipient.id)
    if index is None or not settings.verp_keys:
        return None
    return verp.make(settings.verp_keys[0], message.email.originator_id, index)


def _bounce_address(settings: SmtpSettings, token: str | None) -> str | None:
    if settings.bounce is None or token is None:
        return settings.bounce
    user, _, domain = settings.bounce.partition("@")
    return f"{user}+{token}@{domain}"


def _mail_options(body: bytes, sender: str, recipient: str, offers: Mapping[str, str]) -> str:
    needs_utf8 = not (body.isascii() and sender.isascii() and recipient.isascii())
    options = f" SIZE={len(body)}" if "size" in offers else ""
    options += " SMTPUTF8" if needs_utf8 else ""
    return options + (" BODY=8BITMIME" if "8bitmime" in offers and not body.isascii() else "")


def _notifications(recipient: str, token: str | None, offers: Mapping[str, str]) -> tuple[str, str]:
    """What is to be told and how (RFC 3461), as parameters of MAIL and RCPT."""
    if "dsn" not in offers:
        return "", ""
    envelope_id = f" ENVID={token}" if token else ""
    return f" RET=HDRS{envelope_id}", f" NOTIFY=FAILURE,DELAY ORCPT={xtext.original_recipient(recipient)}"


def taken(message: OutgoingMessage, recipient: Recipient, words: str) -> Answer:
    known = ProviderMessage(recipient_id=recipient.id, message_id=message.message_id.strip("<>"))
    return Answer(messages=(known,), words=printable(words))


def not_taken(
    message: OutgoingMessage,
    recipient: Recipient,
    why: Classified,
    now: datetime,
    provider: str,
    code: int | None = None,
    words: str = "",
) -> Answer:
    """The answer for one recipient. A refusal that is about the recipient is reported as a bounce."""
    answer = nothing_known(why, f"{code or ''} {words}")
    if why.outcome is not ErrorClass.PERMANENT or why.bounce_class is None:
        return answer
    report = RecipientReport(
        EmailRecipientDeliveryFailed,
        recipient.id,
        provider,
        now,
        provider_event_id=str(uuid5(recipient.id, f"{message.attempt.attempt} refused")),
        details={
            "bounce_class": why.bounce_class,
            "reason": why.reason,
            "smtp_status": code,
            "enhanced_status": why.enhanced_status,
            "words": printable(words),
            "add_to_suppression": why.add_to_suppression,
        },
    )
    return replace(answer, reports=(report,))


def nothing_known(why: Classified, words: str = "") -> Answer:
    """The answer where nothing was said about the recipient: the session, the sender or the message was refused."""
    return Answer(
        error_class=why.error_class or ErrorClass.TRANSIENT,
        reason=why.reason,
        words=printable(words),
        retry_after=_GREYLISTING if why.reason == "greylisted" else None,
        pause=_THROTTLED if why.error_class is ErrorClass.RATE_LIMITED else None,
        about_message=why.about_message,
    )
