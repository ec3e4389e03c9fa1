"""Plain SMTP (RFC 5321): any relay or submission server. Bounces and complaints come back as mail.

Quirks:
* There is no idempotency. The Message-ID is the same in every attempt, so that receivers can drop a second copy; it is
  also what we call the message by, because the server's queue id is free text (it stays in the answer's words).
* There is no look-up. A connection lost after the final dot was written is in doubt until the policy decides.
* Each recipient gets a transaction of its own, one after another over one connection: a refusal or a doubt is about
  that recipient alone, and the bounce address and the message's header can name the recipient.
* 250 means accepted, not delivered: bounces may come hours later, as mail.
* A pooled connection may have been closed by the server meanwhile. One that breaks before the final dot is replaced
  by a new one, once. RSET follows only a transaction that came to nothing: a 250 after the dot has cleared the rest.
* Without SMTPUTF8, an address whose local part is not ASCII cannot be sent to; the other recipients still are.
* Anybody can write a bounce. One is believed only with a token that we signed (`verp`), and only about the recipient
  whom that token names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.errors import Untrusted
from application.ports import Clock, Hook, Misconfigured, OutgoingMessage
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import Recipient
from domain.feedback import Feedback, Kind
from infrastructure.providers import reading, verp
from infrastructure.providers.dsn import translate_message
from infrastructure.providers.each import combine
from infrastructure.providers.smtp_connection import AnswerLost, NotOurs, SmtpConnection, SmtpTrouble
from infrastructure.providers.smtp_pool import SmtpPool
from infrastructure.providers.smtp_replies import Classified, Stage, classify, printable
from infrastructure.providers.smtp_settings import SmtpSettings
from infrastructure.providers.smtp_transaction import Letter, Transaction, build, not_taken, nothing_known, taken

__all__ = ["SmtpProvider", "SmtpSettings"]

_ABOUT_THE_SESSION = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.QUOTA, ErrorClass.CONFIG})


@dataclass(frozen=True, slots=True)
class _Said:
    """What came of one recipient's transaction. `general`: the next recipient would meet the same trouble."""

    answer: Answer
    general: bool = False


class SmtpProvider:
    """An EmailProvider for one SMTP server, and the FeedbackSource for bounces of what was sent through it."""

    separate = True

    def __init__(self, name: str, settings: SmtpSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._pool = SmtpPool(settings)
        self._clock = clock

    async def send(self, message: OutgoingMessage) -> Answer:
        letter = await Letter.of(message)
        answers: list[tuple[Recipient, Answer]] = []
        for recipient in message.recipients:
            said = await self._send_to(recipient, letter)
            answers.append((recipient, said.answer))
            if said.general:
                break
        return combine(message, answers, self.name, self._clock())

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
            wrong = printable(str(trouble))
            why = classify(trouble.stage, trouble.code, trouble.text)
            return Misconfigured(wrong) if why.error_class is ErrorClass.CONFIG else wrong
        return None

    async def close(self) -> None:
        await self._pool.close()

    async def verify(self, hook: Hook) -> str:
        """`hook.body` is a whole mail. Trusted is who can name a token of ours, anywhere in it."""
        named_by_us(hook.body, self._settings.verp_keys)
        return reading.key(hook.body)

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        """What a verified mail says about the recipient whom its token names; what it says about others is dropped.

        The address in it is left out: it may be another recipient's, of whom this token proves nothing.
        """
        try:
            named = named_by_us(hook.body, self._settings.verp_keys)
        except Untrusted:  # the key is no longer there
            return [Feedback(kind=Kind.IGNORED, provider_type="unverified", keys=(reading.key(hook.body),))]
        return [
            replace(each, email_id=named.email_id, recipient_id=named.recipient_id, recipient=None)
            for each in translate_message(hook.body)
            if each.email_id in (None, named.email_id) and each.recipient_id in (None, named.recipient_id)
        ]

    async def follow_up(self, hook: Hook) -> None:
        """A bounce asks for nothing."""

    async def _send_to(self, recipient: Recipient, letter: Letter) -> _Said:
        try:
            return await self._attempt(recipient, letter)
        except SmtpTrouble as trouble:
            why = classify(trouble.stage, trouble.code, trouble.text)
            return _Said(nothing_known(why, f"{trouble.code or ''} {trouble.text}"), general=True)
        except AnswerLost as lost:
            answer = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost", words=str(lost))
            return _Said(answer, general=True)
        except NotOurs:
            return _Said(Answer(error_class=ErrorClass.TRANSIENT, reason="lease_lost"), general=True)

    async def _attempt(self, recipient: Recipient, letter: Letter) -> _Said:
        reused = False
        try:
            async with self._pool.connection() as connection:
                reused = connection.messages > 0
                return await self._transact(connection, recipient, letter)
        except SmtpTrouble as trouble:
            if not (reused and trouble.ends_session):
                raise
        async with self._pool.connection(fresh=True) as connection:
            return await self._transact(connection, recipient, letter)

    async def _transact(self, connection: SmtpConnection, recipient: Recipient, letter: Letter) -> _Said:
        transaction = build(letter, recipient, self._settings, connection.offers)
        if isinstance(transaction, Classified):
            return _Said(not_taken(letter.message, recipient, transaction, self._clock(), self.name))
        try:
            words = await _hand_over(connection, transaction, letter.message)
        except SmtpTrouble as trouble:
            if trouble.ends_session:
                raise
            why = classify(trouble.stage, trouble.code, trouble.text)
            reply = (trouble.code, trouble.text)
            answer = not_taken(letter.message, recipient, why, self._clock(), self.name, *reply)
            return _Said(answer, general=_concerns_all(trouble.stage, why))
        return _Said(taken(letter.message, recipient, words))


async def _hand_over(connection: SmtpConnection, transaction: Transaction, message: OutgoingMessage) -> str:
    """The server's words when it has taken the message. Raises SmtpTrouble, AnswerLost and NotOurs."""
    await connection.mail(transaction.sender, transaction.mail_options)
    await connection.rcpt(transaction.recipient, transaction.rcpt_options)
    return await connection.data(transaction.body, message.still_ours)


def _concerns_all(stage: Stage, why: Classified) -> bool:
    """Whether a refusal says that the next recipient's transaction would fare no better.

    What a relay will not do for one domain it may do for another; and if one recipient's reply stopped the rest, who
    stands behind a greylisted address would never be sent to.
    """
    if why.outcome is ErrorClass.PERMANENT:
        return False
    return stage == "mail_from" or (why.error_class in _ABOUT_THE_SESSION and why.reason != "relay_denied")


def named_by_us(mail: bytes, keys: Sequence[bytes]) -> verp.Named:
    """Whom the first token that one of these keys signed names, wherever in the mail it stands. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    reason = "missing_token"
    for token in verp.candidates(mail):
        if named := verp.verify(keys, token):
            return named
        reason = "bad_signature"
    raise Untrusted(reason)
