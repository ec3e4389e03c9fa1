"""Postmark, acted out by a raw HTTP server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infrastructure.providers.postmark import PostmarkProvider, PostmarkSettings
from tests.mail import NOW
from tests.providers.contract import Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, json_answer

MESSAGE_ID = "883953f4-6105-42a2-a16a-77a8eac79483"
ACCEPTED = {
    "To": "ada@example.com",
    "SubmittedAt": "2026-01-01T12:00:00.1234567Z",
    "MessageID": MESSAGE_ID,
    "ErrorCode": 0,
    "Message": "OK",
}


def refused(status: int, code: int, message: str) -> Answered:
    return json_answer({"ErrorCode": code, "Message": message}, status)


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: json_answer(ACCEPTED),
    Behaviour.SUPPRESS: refused(
        422, 406, "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: ."
    ),
    Behaviour.PERMANENT: refused(422, 300, "Invalid 'To' address: 'nope'."),
    Behaviour.RATE_LIMIT: refused(429, 429, "Rate Limit Exceeded"),
    Behaviour.QUOTA: refused(422, 405, "Not allowed to send"),
    Behaviour.TRANSIENT: refused(503, 100, "Down for maintenance"),
    Behaviour.CONFIG: refused(401, 10, "Bad or missing API token"),
    Behaviour.MALFORMED: json_answer({"Message": "OK"}),
}


def provider_at(host: str, options: str = "") -> PostmarkProvider:
    url = f"postmark://server-token@{host}?tls=off&timeout=0.5{options}"
    return PostmarkProvider("postmark", PostmarkSettings.from_url(url), lambda: NOW)


@asynccontextmanager
async def postmark() -> AsyncIterator[Rig]:
    async with HttpStub() as stub, closing(HttpRig(provider_at(stub.host), stub, SAYS)) as rig:
        yield rig
