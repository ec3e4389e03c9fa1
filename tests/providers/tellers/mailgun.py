"""Mailgun: a call for each recipient; the signature stands in the body and covers nothing of the event."""

import hmac
import json
from datetime import datetime
from email import message_from_bytes
from hashlib import sha256

from infrastructure.provider_table import PROVIDERS
from infrastructure.providers.reading import key as content_key
from tests.providers.http_stub import Answered, Received, json_answer
from tests.providers.tellers.http_office import http_office
from tests.providers.tellers.teller import Letter, Post, Teller, Word, about, payload

KEY = "test-webhook-signing-key-0123456789abcdef"
_FILES = {"delivered": "delivered", "bounced": "failed_permanent_delayed_bounce", "opened": "opened"}


def url(host: str, timeout: float) -> str:
    return f"mailgun://key-0123456789@{host}?tls=off&domain=mg.example.com&timeout={timeout}&webhook_key={KEY}"


def _message_id(number: int) -> str:
    return f"20260101120000.{number}.48906CB188F1A454@mg.example.com"


def _taken(number: int) -> Answered:
    return json_answer({"id": f"<{_message_id(number)}>", "message": "Queued. Thank you."})


def _letter(request: Received, number: int) -> Letter:
    form = message_from_bytes(f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode() + request.body)
    parts = {str(part.get_param("name", header="content-disposition")): part for part in form.walk()}
    email_id, recipient_id, to = (
        str(parts[name].get_payload()) for name in ("v:pl_email_id", "v:pl_recipient_id", "to")
    )
    return Letter(email_id, recipient_id, (to,), _message_id(number))


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    changes = {**about(letter, address), _message_id(1): letter.message_id}
    said = payload(f"mailgun/{_FILES[word]}.json", changes)["event-data"]
    variables = {"pl_email_id": letter.email_id, "pl_recipient_id": letter.recipient_id}
    said |= {"timestamp": at.timestamp(), "id": content_key(letter, word, at), "user-variables": variables}
    return json.dumps(said).encode()


def signature(at: datetime, token: str) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    mac = hmac.new(KEY.encode(), f"{timestamp}{token}".encode(), "sha256").hexdigest()
    return {"timestamp": timestamp, "token": token, "signature": mac}


def sign(event: bytes, at: datetime, id: str) -> Post:
    """`event` becomes a part of the body."""
    block = json.dumps(signature(at, sha256(id.encode()).hexdigest()[:50])).encode()
    return Post({"Content-Type": "application/json"}, b'{"signature": %b, "event-data": %b}' % (block, event))


TELLER = Teller(
    kind="mailgun",
    url=url,
    office=lambda timeout: http_office(lambda host: url(host, timeout), _taken, _letter),
    make=PROVIDERS["mailgun"],
    event=event,
    sign=sign,
    separate=True,
)
