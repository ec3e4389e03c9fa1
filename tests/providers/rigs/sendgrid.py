"""SendGrid, acted out by a raw HTTP server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infrastructure.providers.sendgrid import SendGridProvider, SendGridSettings
from tests.mail import NOW
from tests.providers.contract import RETRY_AFTER, Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, json_answer

MESSAGE_ID = "4kYb2Vv9Qm2aXo1pR7sT0A"
ACCEPTED = Answered(202, {"X-Message-Id": MESSAGE_ID})


def refused(status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None) -> Answered:
    return json_answer({"errors": [{"message": message, "field": field, "help": None}]}, status, headers)


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: ACCEPTED,
    Behaviour.PERMANENT: refused(400, "Does not contain a valid address.", "personalizations.0.to.0.email"),
    Behaviour.RATE_LIMIT: refused(
        429, "too many requests", None, {"X-RateLimit-Reset": str(int(NOW.timestamp()) + RETRY_AFTER)}
    ),
    Behaviour.QUOTA: refused(401, "Maximum credits exceeded"),
    Behaviour.TRANSIENT: Answered(503),
    Behaviour.CONFIG: refused(403, "The from address does not match a verified Sender Identity.", "from"),
    Behaviour.MALFORMED: Answered(200),
}


def provider_at(host: str, options: str = "") -> SendGridProvider:
    url = f"sendgrid://SG.s3cret@{host}?tls=off&timeout=0.5{options}"
    return SendGridProvider("sendgrid", SendGridSettings.from_url(url), lambda: NOW)


@asynccontextmanager
async def sendgrid() -> AsyncIterator[Rig]:
    async with HttpStub() as stub, closing(HttpRig(provider_at(stub.host), stub, SAYS)) as rig:
        yield rig
