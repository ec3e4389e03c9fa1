"""Plain SMTP (RFC 5321): any relay or submission server.

Quirks:
* There is no idempotency. The Message-ID is the same in every attempt, so that receivers can drop a second copy; it is
  also what we call the message by, because the server's queue id is free text (it stays in the answer's words).
* There is no look-up. A connection lost after the final dot was written is in doubt until the policy decides.
* One transaction carries all recipients of an attempt; each is taken, refused or put off by its own reply.
* 250 means accepted, not delivered: bounces may come hours later, as mail.
* A message refused after DATA is refused for all; with several recipients that says nothing about any one address.
* A pooled connection may have been closed by the server meanwhile. One that breaks before the final dot is replaced
  by a new one, once. RSET follows only a transaction that came to nothing: a 250 after the dot has cleared the rest.
* Without SMTPUTF8, an address whose local part is not ASCII cannot be sent to; the other recipients still are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid5

from application.ports import Clock, OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from domain.events import AttachmentRef, EmailRecipientDeliveryFailed, ProviderMessage, Recipient
from infrastructure.mime import build_mime
from infrastructure.providers.smtp_connection import AnswerLost, SmtpConnection, SmtpTrouble
from infrastructure.providers.smtp_pool import SmtpPool
from infrastructure.providers.smtp_replies import Classified, classify, printable
from infrastructure.providers.smtp_settings import SmtpSettings

__all__ = ["SmtpProvider", "SmtpSettings"]

_GREYLISTING = timedelta(minutes=5)  # the shortest wait that common greylisting servers ask for
_TOO_LARGE = Classified(ErrorClass.PERMANENT, reason="too_large")
_NO_SMTPUTF8 = Classified(ErrorClass.PERMANENT, "soft", "smtputf8_not_offered")
# When recipients were put off for several reasons, the one that is over soonest decides when to try again.
_SOONEST = (ErrorClass.TRANSIENT, ErrorClass.RATE_LIMITED, ErrorClass.CONFIG, ErrorClass.QUOTA)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one recipient was not taken."""

    recipient: Recipient
    classified: Classified
    code: int | None = None
    words: str = ""

    @property
    def final(self) -> bool:
        return self.classified.outcome is ErrorClass.PERMANENT


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is to be said to the server: addresses as it takes them, and the message."""

    sender: str
    options: str
    recipients: tuple[tuple[Recipient, str], ...]
    body: bytes
    impossible: tuple[Verdict, ...] = ()


def build(
    message: OutgoingMessage, attachments: Sequence[tuple[AttachmentRef, bytes]], mime: bytes, offers: Mapping[str, str]
) -> Transaction | Classified:
    """The transaction for a server that offers these EHLO keywords, or why there cannot be one.

    `mime` is the message as it should be; it is only built anew for a server that cannot take it so.
    """
    utf8 = "smtputf8" in offers
    sender = _wire(message.email.sender.address, utf8)
    if sender is None:
        return replace(_NO_SMTPUTF8, bounce_class=None)
    body = mime if utf8 or mime.isascii() else build_mime(message, attachments, smtputf8=False)
    limit = offers.get("size", "")
    if limit.isdecimal() and 0 < int(limit) < len(body):  # RFC 1870: SIZE 0 means no limit
        return _TOO_LARGE
    written = [(recipient, _wire(recipient.address, utf8)) for recipient in message.recipients]
    possible = tuple((recipient, address) for recipient, address in written if address)
    impossible = tuple(Verdict(recipient, _NO_SMTPUTF8) for recipient, address in written if not address)
    needs_utf8 = not (body.isascii() and sender.isascii() and all(address.isascii() for _, address in possible))
    options = f" SIZE={len(body)}" if "size" in offers else ""
    options += " SMTPUTF8" if needs_utf8 else ""
    options += " BODY=8BITMIME" if "8bitmime" in offers and not body.isascii() else ""
    return Transaction(sender, options, possible, body, impossible)


def _wire(address: str, utf8: bool) -> str | None:
    return ascii_address(address) or (address if utf8 else None)


def no_answer_from(trouble: SmtpTrouble) -> Answer:
    """The session or the sender was refused: nothing is known about any recipient."""
    return _all_alike(classify(trouble.stage, trouble.code, trouble.text), f"{trouble.code or ''} {trouble.text}")


def _all_alike(classified: Classified, words: str = "") -> Answer:
    return Answer(
        error_class=classified.error_class or ErrorClass.TRANSIENT,
        reason=classified.reason,
        words=printable(words),
        retry_after=_retry_after([classified]),
    )


def after_data(taken: Sequence[Recipient], trouble: SmtpTrouble) -> list[Verdict]:
    """The message was refused for all whose RCPT had been taken. One of several cannot be blamed."""
    classified = classify(trouble.stage, trouble.code, trouble.text)
    if classified.bounce_class and len(taken) > 1:
        classified = replace(classified, bounce_class="undetermined", add_to_suppression=False)
    return [Verdict(recipient, classified, trouble.code, trouble.text) for recipient in taken]


def parse(message: OutgoingMessage, verdicts: Sequence[Verdict], words: str, provider: str, now: datetime) -> Answer:
    """The answer, from what was said about each recipient. Whoever has no verdict was taken."""
    message_id = message.message_id.strip("<>")
    judged = {verdict.recipient.id for verdict in verdicts}
    refused = [verdict for verdict in verdicts if verdict.final]
    put_off = [verdict for verdict in verdicts if not verdict.final]
    taken = [recipient for recipient in message.recipients if recipient.id not in judged]
    why = _why(put_off or ([] if taken else refused))
    return Answer(
        messages=tuple(ProviderMessage(recipient_id=each.id, message_id=message_id) for each in taken),
        put_off=tuple(verdict.recipient.id for verdict in put_off),
        reports=tuple(_report(verdict, message.attempt.attempt, provider, now) for verdict in refused),
        error_class=why.classified.error_class if why else None,
        reason=why.classified.reason if why else None,
        words=printable(words) if taken or why is None else printable(f"{why.code or ''} {why.words}"),
        retry_after=_retry_after(verdict.classified for verdict in put_off),
    )


def _why(verdicts: Sequence[Verdict]) -> Verdict | None:
    def wait(verdict: Verdict) -> int:
        error_class = verdict.classified.error_class
        return _SOONEST.index(error_class) if error_class in _SOONEST else len(_SOONEST)

    return min(verdicts, key=wait, default=None)


def _retry_after(put_off: Iterable[Classified]) -> timedelta | None:
    return _GREYLISTING if any(each.reason == "greylisted" for each in put_off) else None


def _report(verdict: Verdict, attempt: int, provider: str, now: datetime) -> RecipientReport:
    classified = verdict.classified
    return RecipientReport(
        EmailRecipientDeliveryFailed,
        verdict.recipient.id,
        provider,
        now,
        provider_event_id=str(uuid5(verdict.recipient.id, f"{attempt} refused")),
        details={
            "bounce_class": classified.bounce_class or "undetermined",
            "reason": classified.reason,
            "smtp_status": verdict.code,
            "enhanced_status": classified.enhanced_status,
            "words": printable(verdict.words),
            "add_to_suppression": classified.add_to_suppression,
        },
    )


_Build = Callable[[Mapping[str, str]], Transaction | Classified]  # from what the server offers


class SmtpProvider:
    """An EmailProvider for one SMTP server."""

    separate = False

    def __init__(self, name: str, settings: SmtpSettings, clock: Clock) -> None:
        self.name = name
        self._pool = SmtpPool(settings)
        self._clock = clock

    async def send(self, message: OutgoingMessage) -> Answer:
        attachments = [(attachment, await message.read(attachment)) for attachment in message.email.attachments]
        mime = build_mime(message, attachments)
        try:
            return await self._attempt(message, partial(build, message, attachments, mime))
        except SmtpTrouble as trouble:
            return no_answer_from(trouble)
        except AnswerLost as lost:
            return Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost", words=str(lost))

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        """SMTP has no way to ask."""
        return None

    async def check(self) -> str | None:
        try:
            connection = await self._pool.open()
            try:
                await connection.noop()
            finally:
                await connection.quit()
        except SmtpTrouble as trouble:
            return printable(str(trouble))
        return None

    async def close(self) -> None:
        await self._pool.close()

    async def _attempt(self, message: OutgoingMessage, build_for: _Build) -> Answer:
        reused = False
        try:
            async with self._pool.connection() as connection:
                reused = connection.messages > 0
                return await self._transact(connection, message, build_for)
        except SmtpTrouble as trouble:
            if not (reused and trouble.ends_session):
                raise
        async with self._pool.connection(fresh=True) as connection:
            return await self._transact(connection, message, build_for)

    async def _transact(self, connection: SmtpConnection, message: OutgoingMessage, build_for: _Build) -> Answer:
        transaction = build_for(connection.offers)
        if isinstance(transaction, Classified):
            return _all_alike(transaction)
        if not transaction.recipients:
            return parse(message, transaction.impossible, "", self.name, self._clock())
        try:
            await connection.mail(transaction.sender, transaction.options)
        except SmtpTrouble as trouble:
            if trouble.ends_session:
                raise
            return no_answer_from(trouble)
        verdicts, words = await _hand_over(connection, transaction)
        return parse(message, verdicts, words, self.name, self._clock())


async def _hand_over(connection: SmtpConnection, transaction: Transaction) -> tuple[list[Verdict], str]:
    """Recipients, then the message if any was taken. Returns who was not taken and why, and the server's last words."""
    verdicts, taken = list(transaction.impossible), []
    for recipient, address in transaction.recipients:
        reply = await connection.rcpt(address)
        classified = classify("rcpt_to", reply.code, reply.message)
        if classified.outcome == "accepted":  # 250, 251, and 252 too
            taken.append(recipient)
        else:
            verdicts.append(Verdict(recipient, classified, reply.code, reply.message))
    if not taken:
        return verdicts, ""
    try:
        return verdicts, await connection.data(transaction.body)
    except SmtpTrouble as trouble:
        if trouble.ends_session:
            raise
        return verdicts + after_data(taken, trouble), trouble.text
