"""Amazon SES: a call for each recipient; SNS signs what it says."""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import cache
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from application.errors import VerificationUnavailable
from application.ports import Clock
from infrastructure.providers.reading import key as content_key
from infrastructure.providers.ses import SesProvider, SesSettings
from tests.providers.http_stub import Answered, Received, json_answer
from tests.providers.tellers.http_office import http_office
from tests.providers.tellers.teller import Letter, Post, Teller, Word, about, iso, payload

TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_FILES = {
    "delivered": "notifications/delivery",
    "bounced": "event_publishing/bounce_permanent_general",
    "opened": "event_publishing/open",
}
_PARTS = {"delivered": "delivery", "bounced": "bounce", "opened": "open"}


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def _certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(name, name, _key().public_key(), x509.random_serial_number())
    since = datetime(2026, 1, 1, tzinfo=UTC)
    whole = builder.not_valid_before(since).not_valid_after(since + timedelta(days=3650)).sign(_key(), SHA256())
    return whole.public_bytes(Encoding.PEM)


async def fetch(wanted: str) -> bytes:
    """The certificate's host."""
    if wanted != CERTIFICATE:
        raise VerificationUnavailable("there is no such certificate")
    return _certificate()


def make(name: str, url: str, clock: Clock) -> SesProvider:
    return SesProvider(name, SesSettings.from_url(url), clock, fetch)


def url(host: str, timeout: float) -> str:
    options = f"region=eu-west-1&configuration_set=events&tls=off&timeout={timeout}&topic_arn={TOPIC}"
    return f"ses://AKIAEXAMPLEEXAMPLE00:s3cret@{host}?{options}"


def _message_id(number: int) -> str:
    return f"0102019b7f3a2c10-1c2d3e4f-5a6b-4c7d-8e9f-0a1b2c3d{number:04x}-000000"


def _taken(number: int) -> Answered:
    return json_answer({"MessageId": _message_id(number)})


def _letter(request: Received, number: int) -> Letter:
    said = request.json()
    tags = {tag["Name"]: tag["Value"] for tag in said["EmailTags"]}
    mime = message_from_bytes(b64decode(said["Content"]["Raw"]["Data"]))
    ids = tags["pl_email_id"], tags["pl_recipient_id"]
    assert (mime["X-Postledger-Email-Id"], mime["X-Postledger-Recipient-Id"]) == ids
    return Letter(*ids, tuple(said["Destination"]["ToAddresses"]), _message_id(number))


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    changes = {**about(letter, address), _message_id(0x4E5F): letter.message_id}
    said = payload(f"ses/{_FILES[word]}.json", changes)
    said[_PARTS[word]]["timestamp"] = iso(at)
    return json.dumps(said).encode()


def notification(message: str, at: datetime, id: str, **changes: Any) -> dict[str, Any]:
    """An envelope of SNS, signed after the changes."""
    said = {
        "Type": "Notification",
        "MessageId": str(UUID(content_key(id))),
        "TopicArn": TOPIC,
        "Message": message,
        "Timestamp": iso(at),
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE,
        **changes,
    }
    text = "".join(f"{name}\n{said[name]}\n" for name in _SIGNED if name in said)
    signature = _key().sign(text.encode("utf-8", "replace"), PKCS1v15(), SHA256())
    return {**said, "Signature": b64encode(signature).decode()}


def post(said: dict[str, Any]) -> Post:
    headers = {"Content-Type": "text/plain; charset=UTF-8", "X-Amz-Sns-Message-Type": said["Type"]}
    return Post(headers, json.dumps(said).encode())


def sign(message: bytes, at: datetime, id: str) -> Post:
    return post(notification(message.decode("utf-8", "replace"), at, id))


TELLER = Teller(
    kind="ses",
    url=url,
    office=lambda timeout: http_office(lambda host: url(host, timeout), _taken, _letter),
    make=make,
    event=event,
    sign=sign,
    separate=True,
)
