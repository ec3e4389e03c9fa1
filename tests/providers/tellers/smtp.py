"""A mail server: a transaction for each recipient; its reports are mail to a bounce address that we signed."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from uuid import UUID

from infrastructure.provider_table import PROVIDERS
from infrastructure.providers import verp
from tests.providers.tellers.teller import PAYLOADS, Letter, Office, Post, Teller, Word, about
from tests.smtp_server import SILENCE, Received, Rudeness, SmtpSink

KEY = "a-key-of-these-tests"
_BOUNCES = "bounces@bounces.example.com"
_SAMPLE = "bounce+0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01=ada=example.com@bounces.mail.example.com"


def url(host: str, timeout: float) -> str:
    options = f"helo=client.test&timeout={timeout}&data_timeout={timeout}&bounce={_BOUNCES}&verp_key={KEY}"
    return f"smtp://{host}?{options}"


def letter(message: Received) -> Letter:
    """What a message carried in its headers and its bounce address."""
    parsed, token = message.parsed(), message.sender.partition("+")[2].partition("@")[0]
    named = verp.verify([KEY.encode()], token)
    ids = str(parsed["X-Postledger-Email-Id"]), str(parsed["X-Postledger-Recipient-Id"])
    assert named == verp.Named(*map(UUID, ids))
    return Letter(*ids, message.recipients, message.message_id, token)


@dataclass(frozen=True, slots=True)
class SmtpOffice:
    sink: SmtpSink
    url: str
    silences: deque[Rudeness] = field(default_factory=deque)

    @property
    def letters(self) -> list[Letter]:
        return [letter(message) for message in self.sink.messages]

    def fall_silent(self) -> None:
        self.silences.append(SILENCE)


@asynccontextmanager
async def office(timeout: float) -> AsyncIterator[Office]:
    silences: deque[Rudeness] = deque()
    reactions = iter(lambda: silences.popleft() if silences else None, "never")
    async with SmtpSink({"TAKEN": reactions}) as sink:
        yield SmtpOffice(sink, url(f"127.0.0.1:{sink.port}", timeout), silences)


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    text = (PAYLOADS / "smtp" / "dsn_failed_hard.eml").read_text()
    text = text.replace(_SAMPLE, _BOUNCES.replace("@", f"+{letter.token}@"))
    for old, new in about(letter, address).items():
        text = text.replace(old, new)
    if word == "delivered":
        text = text.replace("failed", "delivered").replace("5.1.1", "2.0.0").replace("550 ", "250 ")
    return f"Date: {format_datetime(at)}\n{text}".encode()


def token(email_id: str, index: int) -> str:
    """Of the bounce address of an email's recipient."""
    return verp.make(KEY.encode(), UUID(email_id), index)


def sign(mail: bytes, at: datetime, id: str) -> Post:
    """Whoever knows the bounce address has proved enough; a mail without one gets somebody's."""
    if any(verp.verify([KEY.encode()], each) for each in verp.candidates(mail)):
        return Post({"Content-Type": "message/rfc822"}, mail)
    known = token("0195f3a0-0000-7000-8000-000000000001", 0)
    return Post({"Content-Type": "message/rfc822"}, f"To: bounces+{known}@bounces.example.com\n\n".encode() + mail)


TELLER = Teller(
    kind="smtp",
    url=url,
    office=office,
    make=PROVIDERS["smtp"],
    event=event,
    sign=sign,
    words=("delivered", "bounced"),
    separate=True,
)
