"""Resend, acted out by the stub."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infrastructure.providers.resend import ResendProvider, ResendSettings
from tests.mail import NOW
from tests.providers.contract import RETRY_AFTER, Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, json_answer

KEY = "re_0123456789"
MESSAGE_ID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
TAKEN = json_answer({"id": MESSAGE_ID})


def refused(status: int, name: str, headers: Mapping[str, str] | None = None, words: str = "No.") -> Answered:
    return json_answer({"statusCode": status, "name": name, "message": words}, status, headers)


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: TAKEN,
    Behaviour.PERMANENT: refused(422, "validation_error"),
    Behaviour.RATE_LIMIT: refused(429, "rate_limit_exceeded", {"retry-after": str(RETRY_AFTER)}),
    Behaviour.QUOTA: refused(429, "daily_quota_exceeded"),
    Behaviour.TRANSIENT: refused(500, "application_error"),
    Behaviour.CONFIG: refused(403, "invalid_api_key"),
    Behaviour.CONFLICT: refused(409, "invalid_idempotent_request"),
    Behaviour.MALFORMED: json_answer({"object": "email"}),
}


def settings(host: str, options: str = "") -> ResendSettings:
    """Of a Resend at this host; `options` begin with an ampersand."""
    return ResendSettings.from_url(f"resend://{KEY}@{host}?tls=off&timeout=0.5{options}")


@asynccontextmanager
async def resend() -> AsyncIterator[Rig]:
    async with HttpStub() as stub:
        rig = HttpRig(ResendProvider("resend", settings(stub.host), lambda: NOW), stub, SAYS)
        async with closing(rig) as closed_in_the_end:
            yield closed_in_the_end
