"""Mailgun, acted out by the stub."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from itertools import count

from infrastructure.providers.mailgun import MailgunProvider, MailgunSettings
from tests.mail import NOW
from tests.providers.contract import RETRY_AFTER, Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, Received, json_answer

_LATER = format_datetime(NOW + timedelta(seconds=RETRY_AFTER), usegmt=True)
_NOT_ALLOWED = "Domain mg.example.com is not allowed to send: The domain is unverified and requires DNS configuration."


def queued(number: int = 0) -> Answered:
    return json_answer({"id": f"<20260301120000.{number}.48906CB1@mg.example.com>", "message": "Queued. Thank you."})


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: queued(),
    Behaviour.PERMANENT: json_answer({"message": "to parameter is not a valid address"}, 400),
    Behaviour.RATE_LIMIT: json_answer({"message": f"Domain request limit exceeded, try again after {_LATER}"}, 429),
    Behaviour.TRANSIENT: json_answer({"message": "Internal Server Error"}, 500),
    Behaviour.CONFIG: json_answer({"message": _NOT_ALLOWED}, 400),
    Behaviour.MALFORMED: Answered(200, {"Content-Type": "text/html"}, b"Mailgun Magnificent API"),
}


def settings(host: str, options: str = "") -> MailgunSettings:
    """Of a Mailgun at this host; `options` begin with an ampersand."""
    return MailgunSettings.from_url(
        f"mailgun://key-0123456789@{host}?tls=off&domain=mg.example.com&timeout=0.5{options}"
    )


@asynccontextmanager
async def mailgun() -> AsyncIterator[Rig]:
    async with HttpStub() as stub:
        rig = HttpRig(MailgunProvider("mailgun", settings(stub.host), lambda: NOW), stub, SAYS)
        numbers = count(1)

        def accept(_: Received) -> Answered:
            return queued(next(numbers))  # every call gets an id of its own

        stub.default = accept
        async with closing(rig) as closed_in_the_end:
            yield closed_in_the_end
