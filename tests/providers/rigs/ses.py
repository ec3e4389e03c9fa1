"""Amazon SES, acted out over HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count

from infrastructure.providers.ses import SesProvider, SesSettings
from tests.mail import NOW
from tests.providers.contract import Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, Received, json_answer

KEY, SECRET = "AKIAEXAMPLEEXAMPLE00", "wJalr/XUtn+EXAMPLE"


def url(host: str, **options: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"ses://{KEY}:wJalr%2FXUtn%2BEXAMPLE@{host}?region=eu-west-1&tls=off{more}"


def accepted(number: int = 0) -> Answered:
    return json_answer({"MessageId": f"0102019b7f3a2c10-1c2d3e4f-5a6b-4c7d-8e9f-0a1b2c3d{number:04x}-000000"})


def refused(code: str, message: str = "no", status: int = 400) -> Answered:
    """As SES has it on the wire."""
    return json_answer({"message": message}, status, {"x-amzn-ErrorType": code})


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: accepted(),
    Behaviour.PERMANENT: refused("MessageRejected", "Message length is more than 41943040 bytes long"),
    Behaviour.RATE_LIMIT: refused("ThrottlingException", "Maximum sending rate exceeded."),
    Behaviour.QUOTA: refused("ThrottlingException", "Daily message quota exceeded"),
    Behaviour.TRANSIENT: refused("InternalServiceErrorException", status=500),
    Behaviour.CONFIG: refused("AccessDeniedException", status=403),
    Behaviour.MALFORMED: json_answer({"taken": True}),
}


@asynccontextmanager
async def ses() -> AsyncIterator[Rig]:
    numbers = count(1)

    def accept(_: Received) -> Answered:
        return accepted(next(numbers))

    async with HttpStub() as stub:
        provider = SesProvider("ses", SesSettings.from_url(url(stub.host, timeout="0.5")), lambda: NOW)
        rig = HttpRig(provider, stub, SAYS)
        stub.default = accept
        async with closing(rig) as closed_later:
            yield closed_later
