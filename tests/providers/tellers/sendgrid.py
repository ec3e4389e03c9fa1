"""SendGrid: one call for all, a signature over the raw body."""

import json
from base64 import b64encode
from datetime import datetime
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infrastructure.provider_table import PROVIDERS
from infrastructure.providers.reading import key as content_key
from tests.providers.http_stub import Answered, Received
from tests.providers.tellers.http_office import http_office
from tests.providers.tellers.teller import EMAIL, Letter, Post, Teller, Word, about, carried, payload

SIGNATURE, TIMESTAMP = "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"
_KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
_PUBLIC = b64encode(_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
_FILES = {"delivered": "delivered", "bounced": "bounce_hard", "opened": "open"}


def url(host: str, timeout: float) -> str:
    return f"sendgrid://SG.s3cret@{host}?tls=off&timeout={timeout}&webhook_key={quote(_PUBLIC, safe='')}"


def _message_id(number: int) -> str:
    return f"4kYb2Vv9Qm2aXo1pR7{number:04}"


def _letter(request: Received, number: int) -> Letter:
    (one,) = request.json()["personalizations"]
    addresses = tuple(each["email"] for each in one["to"])
    arguments = one["custom_args"]
    return Letter(arguments["pl_email_id"], arguments.get("pl_recipient_id"), addresses, _message_id(number))


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    changes = {**about(letter, address), "4kYb2Vv9Qm2aXo1pR7sT0A": letter.message_id}
    (said,) = payload(f"sendgrid/{_FILES[word]}.json", changes)
    said |= {"timestamp": int(at.timestamp()), "sg_event_id": content_key(EMAIL, letter, word, address, at)}
    return json.dumps([carried(said, letter)]).encode()


def sign(body: bytes, at: datetime, id: str) -> Post:
    seconds = str(int(at.timestamp()))
    signature = _KEY.sign(seconds.encode() + body, ec.ECDSA(SHA256()))
    return Post({SIGNATURE: b64encode(signature).decode(), TIMESTAMP: seconds}, body)


TELLER = Teller(
    kind="sendgrid",
    url=url,
    office=lambda timeout: http_office(
        lambda host: url(host, timeout), lambda number: Answered(202, {"X-Message-Id": _message_id(number)}), _letter
    ),
    make=PROVIDERS["sendgrid"],
    event=event,
    sign=sign,
)
