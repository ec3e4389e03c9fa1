"""SMTP dispatch with all events and read models durable, against a bare aiosmtplib client sending the same mail."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aiosmtplib
import uvloop

from application.ports import OutgoingMessage
from benchmarks.result import Result
from benchmarks.servers import durable_postgres, free_port, process, service
from domain.email import Email
from domain.ids import uuid7
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.bootstrap import now, tune_garbage_collection
from infrastructure.database.engines import Database
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.mime import build_mime
from tests.samples import content, draft, stamp, stored_content

CONNECTIONS = 10


def measure(quick: bool) -> list[Result]:
    count, runs = (500, 1) if quick else (4_000, 3)
    tune_garbage_collection()
    sink = free_port()
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.sink", str(sink)):
        floors, ours = [], []
        for _ in range(runs):
            floors.append(uvloop.run(_bare(sink, count)))
            ours.append(_through_the_worker(postgres.fresh_database(), Path(home), sink, count))
    name = "SMTP dispatch, one worker, events and read models durable"
    return [Result(name, "emails/s", median(ours), median(floors), "ratio >= 0.4")]


def _emails(count: int) -> list[Email]:
    at = now()
    ids = [uuid7(at) for _ in range(count)]
    return [
        Email.queue(id, "default", draft(id, f"customer{place}@example.com"), stamp(at)) for place, id in enumerate(ids)
    ]


async def _bare(sink: int, count: int) -> float:
    """Mails per second over ten open connections, one after another on each. The messages are made beforehand."""
    mails = iter([_mime(email) for email in _emails(count)])
    clients = [aiosmtplib.SMTP(hostname="127.0.0.1", port=sink, start_tls=False) for _ in range(CONNECTIONS)]
    await _connect(clients)

    async def send(client: aiosmtplib.SMTP) -> None:
        for recipient, mime in mails:
            await client.sendmail("service@example.org", [recipient], mime)

    started = time.perf_counter()
    await asyncio.gather(*map(send, clients))
    elapsed = time.perf_counter() - started
    for client in clients:
        client.close()
    return count / elapsed


async def _connect(clients: list[aiosmtplib.SMTP]) -> None:
    for _ in range(100):
        try:
            for client in clients:
                if not client.is_connected:
                    await client.connect()
            return
        except aiosmtplib.SMTPConnectError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the sink does not answer")


def _mime(email: Email) -> tuple[str, bytes]:
    email.start_delivery("bare", "", timedelta(seconds=60), stamp())
    message = OutgoingMessage(email.queued, email.attempts[1], content(), email.first_due, FilesystemBlobs(Path()))
    return email.queued.recipients[0].address, build_mime(message, [])


def _through_the_worker(url: str, home: Path, sink: int, count: int) -> float:
    """Mails per second from the first intent until the read models show the last one as dispatched."""
    asyncio.run(_accept(url, count))
    smtp = f"smtp://127.0.0.1:{sink}?starttls=off&pool={CONNECTIONS}"
    database = Database.open(url)
    with service("worker", url, home, POSTLEDGER_PROVIDERS=smtp):
        first = _when(database, "SELECT count(*) FROM events WHERE originator_version = 2", 1)
        last = _when(database, "SELECT count(*) FROM emails_v1 WHERE status = 'dispatched'", count)
    database.close()
    return count / (last - first)


async def _accept(url: str, count: int) -> None:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    emails = _emails(count)
    await asyncio.gather(*(ledger.append(email.collect_events(), [stored_content(email)]) for email in emails))
    await ledger.close()


def _when(database: Database, question: str, enough: int) -> float:
    """The moment at which the count is reached; asks forty times a second."""
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            with database.read() as connection:
                if int(connection.exec_driver_sql(question).scalar_one()) >= enough:
                    return time.perf_counter()
        except Exception:  # noqa: BLE001, S110 - the table is not there yet
            pass
        time.sleep(0.025)
    raise RuntimeError(f"not reached: {question}")
