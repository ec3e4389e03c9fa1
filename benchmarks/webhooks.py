"""Webhook events per second, SendGrid-like: verified, stored, translated, appended and folded into every read model.

The floor is a bare endpoint that verifies the same requests and inserts the same number of rows: one for the delivery
and one for each event, committed before it answers.
"""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import quote
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks import load
from benchmarks.result import Result
from benchmarks.servers import durable_postgres, free_port, process, service, wait_for_http
from domain.email import Email
from domain.ids import uuid7
from infrastructure.bootstrap import now, tune_garbage_collection
from infrastructure.database.engines import Database
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from tests.samples import draft, stamp, stored_content, taken

CONNECTIONS = 16
_EACH = 2  # events told about each email: delivered, opened
_PATIENCE = 120.0  # seconds


def measure(quick: bool) -> list[Result]:
    tune_garbage_collection()
    count, runs = (1_000, 1) if quick else (10_000, 3)
    key = generate_private_key(SECP256R1())
    results = []
    with durable_postgres() as postgres, TemporaryDirectory() as home:
        for batch in (10, 500):
            ours, floors = [], []
            for _ in range(runs):
                floors.append(_bare(postgres.fresh_database(), key, count, batch))
                ours.append(_through_us(postgres.fresh_database(), Path(home), key, count, batch))
            name = f"webhook events in batches of {batch}, one process, all read models folded"
            results.append(Result(name, "events/s", median(ours), median(floors), "ratio >= 0.4"))
    return results


def _bare(url: str, key: EllipticCurvePrivateKey, count: int, batch: int) -> float:
    port = free_port()
    with process("-m", "benchmarks.webhook_floor", str(port), url, _public(key)):
        wait_for_http(f"http://127.0.0.1:{port}/readyz")
        requests = _requests([uuid7(now()) for _ in range(count)], key, batch)
        started = time.perf_counter()
        load.run(port, len(requests), CONNECTIONS, requests.__getitem__, b"HTTP/1.1 200")
        return count * _EACH / (time.perf_counter() - started)


def _through_us(url: str, home: Path, key: EllipticCurvePrivateKey, count: int, batch: int) -> float:
    ids = asyncio.run(_sent(url, count))
    database = Database.open(url)
    provider = f"sendgrid://key@127.0.0.1:9?tls=off&webhook_key={quote(_public(key), safe='')}"
    with service("all", url, home, POSTLEDGER_PROVIDERS=provider) as port:
        _until(database, "SELECT min(position) FROM projection_positions", _head(database))
        requests = _requests(ids, key, batch)
        started = time.perf_counter()
        load.run(port, len(requests), CONNECTIONS, requests.__getitem__, b"HTTP/1.1 200")
        events = count * _EACH
        _until(database, "SELECT count(*) FROM events WHERE topic LIKE 'email.recipient_%%'", events)
        _until(database, "SELECT min(position) FROM projection_positions", _head(database))
        took = time.perf_counter() - started
    database.close()
    return events / took


async def _sent(url: str, count: int) -> list[UUID]:
    """Emails that the provider has taken."""
    at = now()
    ledger = EventLedger(PostgresEventStore(url), Signal())
    emails = [_dispatched(f"customer{place}@example.com") for place in range(count)]
    await asyncio.gather(*(ledger.append(email.collect_events(), [stored_content(email)]) for email in emails))
    await ledger.close()
    assert all(email.queued.occurred_at >= at for email in emails)
    return [email.id for email in emails]


def _dispatched(address: str) -> Email:
    at = now()
    id = uuid7(at)
    email = Email.queue(id, "default", draft(id, address), stamp(at))
    email.start_delivery("sendgrid", "the only provider", timedelta(seconds=60), stamp(at))
    email.conclude(1, taken(email), stamp(at), chance=0)
    return email


def _requests(ids: Sequence[UUID], key: EllipticCurvePrivateKey, batch: int) -> list[bytes]:
    told = [_told(place, id, what) for what in ("delivered", "open") for place, id in enumerate(ids)]
    return [_signed(told[start : start + batch], key) for start in range(0, len(told), batch)]


def _told(place: int, id: UUID, what: str) -> dict[str, object]:
    return {
        "email": f"customer{place}@example.com",
        "timestamp": int(time.time()) + (1 if what == "open" else 0),
        "smtp-id": f"<{id}@example.org>",
        "event": what,
        "category": ["invoice"],
        "sg_event_id": f"{what}-{id}",
        "sg_message_id": f"m{id.hex[:20]}.recvd-5f6c9d7b8c-abcde-1-695660C0-1A.0",
        "response": "250 2.0.0 OK 1767268805 d2e1a72fcca58-7b4d3f1a8a2si12345678b3a.123 - gsmtp",
        "useragent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "ip": "192.0.2.10",
        "tls": 1,
        "pl_email_id": str(id),
    }


def _signed(events: Sequence[object], key: EllipticCurvePrivateKey) -> bytes:
    body, timestamp = json.dumps(events).encode(), str(int(time.time()))
    signature = b64encode(key.sign(timestamp.encode() + body, ECDSA(SHA256()))).decode()
    head = (
        "POST /hooks/sendgrid HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Twilio-Email-Event-Webhook-Signature: {signature}\r\n"
        f"X-Twilio-Email-Event-Webhook-Timestamp: {timestamp}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _public(key: EllipticCurvePrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def _head(database: Database) -> int:
    with database.read() as connection:
        return int(connection.exec_driver_sql("SELECT max(notification_id) FROM events").scalar_one())


def _until(database: Database, question: str, enough: int) -> None:
    deadline = time.perf_counter() + _PATIENCE
    while time.perf_counter() < deadline:
        with database.read() as connection:
            if int(connection.exec_driver_sql(question).scalar_one() or 0) >= enough:
                return
        time.sleep(0.05)
    raise RuntimeError(f"not reached: {question}")
