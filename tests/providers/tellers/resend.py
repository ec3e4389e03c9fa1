"""Resend: one call for all; an event names everybody whom the email was for, and so nobody."""

import hmac
import json
from base64 import b64encode
from datetime import datetime

from infrastructure.provider_table import PROVIDERS
from infrastructure.providers.reading import key as content_key
from tests.providers.http_stub import Answered, Received, json_answer
from tests.providers.tellers.http_office import http_office
from tests.providers.tellers.teller import ADDRESS, Letter, Post, Teller, Word, about, carried, iso, payload

_KEY = bytes(range(24))
_FILES = {"delivered": "email_delivered", "bounced": "email_bounced_permanent", "opened": "email_delivered"}
_SAMPLE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def url(host: str, timeout: float) -> str:
    return f"resend://re_0123456789@{host}?tls=off&timeout={timeout}&webhook_key=whsec_{b64encode(_KEY).decode()}"


def _message_id(number: int) -> str:
    return f"{_SAMPLE[:-4]}{number:04}"


def _taken(number: int) -> Answered:
    return json_answer({"id": _message_id(number)})


def _letter(request: Received, number: int) -> Letter:
    said = request.json()
    tags = {tag["name"]: tag["value"] for tag in said["tags"]}
    return Letter(tags["pl_email_id"], tags.get("pl_recipient_id"), tuple(said["to"]), _message_id(number))


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    said = payload(f"resend/{_FILES[word]}.json", {**about(letter, ADDRESS), _SAMPLE: letter.message_id})
    said |= {"type": f"email.{word}", "created_at": iso(at)}
    said["data"] |= {"to": list(letter.addresses), "tags": carried(said["data"]["tags"], letter)}
    return json.dumps(said).encode()


def sign(body: bytes, at: datetime, id: str) -> Post:
    event_id, seconds = f"msg_{content_key(id)}", str(int(at.timestamp()))
    mac = hmac.digest(_KEY, f"{event_id}.{seconds}.".encode() + body, "sha256")
    headers = {"svix-id": event_id, "svix-timestamp": seconds, "svix-signature": f"v1,{b64encode(mac).decode()}"}
    return Post({"Content-Type": "application/json", **headers}, body)


TELLER = Teller(
    kind="resend",
    url=url,
    office=lambda timeout: http_office(lambda host: url(host, timeout), _taken, _letter),
    make=PROVIDERS["resend"],
    event=event,
    sign=sign,
    names=False,
)
