"""Postmark: one call for all; nothing is signed, there is a password."""

import json
from base64 import b64encode
from datetime import datetime
from email.utils import getaddresses
from zlib import crc32

from infrastructure.provider_table import PROVIDERS
from tests.providers.http_stub import Answered, Received, json_answer
from tests.providers.tellers.http_office import http_office
from tests.providers.tellers.teller import Letter, Post, Teller, Word, about, carried, payload

USER, PASSWORD = "hooks", "s3cret-word"
_FILES = {"delivered": ("delivery", "DeliveredAt"), "bounced": ("bounce_hard", "BouncedAt")}


def url(host: str, timeout: float) -> str:
    return f"postmark://server-token@{host}?tls=off&timeout={timeout}&webhook_key={USER}:{PASSWORD}"


def _message_id(number: int) -> str:
    return f"883953f4-6105-42a2-a16a-77a8eac7{number:04}"


def _taken(number: int) -> Answered:
    return json_answer({"To": "", "MessageID": _message_id(number), "ErrorCode": 0, "Message": "OK"})


def _letter(request: Received, number: int) -> Letter:
    said = request.json()
    addresses = tuple(address for _, address in getaddresses([said["To"]]))
    metadata = said["Metadata"]
    return Letter(metadata["pl_email_id"], metadata.get("pl_recipient_id"), addresses, _message_id(number))


def event(word: Word, letter: Letter, address: str, at: datetime) -> bytes:
    changes = {**about(letter, address), _message_id(9483): letter.message_id}
    if word == "opened":
        said = payload("postmark/delivery.json", changes)
        said |= {"RecordType": "Open", "FirstOpen": True, "ReceivedAt": at.isoformat()}
    else:
        file, time = _FILES[word]
        said = payload(f"postmark/{file}.json", changes) | {time: at.isoformat()}
    said |= {"ID": crc32(f"{letter}{address}".encode())} if word == "bounced" else {}
    said["Metadata"] = carried(said["Metadata"], letter)
    return json.dumps(said).encode()


def sign(body: bytes, at: datetime, id: str) -> Post:
    credentials = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json", "User-Agent": "Postmark"}
    return Post(headers, body)


TELLER = Teller(
    kind="postmark",
    url=url,
    office=lambda timeout: http_office(lambda host: url(host, timeout), _taken, _letter),
    make=PROVIDERS["postmark"],
    event=event,
    sign=sign,
)
