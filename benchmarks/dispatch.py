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
from benchmarks.servers import durable_postgres, free_port, process
from benchmarks.worker import queued_emails, through_a_worker
from domain.email import Email
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.bootstrap import tune_garbage_collection
from infrastructure.mime import build_mime
from tests.samples import content, stamp

CONNECTIONS = 10


def measure(quick: bool) -> list[Result]:
    count, runs = (500, 1) if quick else (4_000, 3)
    tune_garbage_collection()
    sink = free_port()
    smtp = f"smtp://127.0.0.1:{sink}?starttls=off&pool={CONNECTIONS}"
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.sink", str(sink)):
        floors, ours = [], []
        for _ in range(runs):
            floors.append(uvloop.run(_bare(sink, count)))
            ours.append(through_a_worker(smtp, postgres.fresh_database(), Path(home), count))
    name = "SMTP dispatch, one worker, events and read models durable"
    return [Result(name, "emails/s", median(ours), median(floors), "ratio >= 0.4")]


async def _bare(sink: int, count: int) -> float:
    """Mails per second over ten open connections, one after another on each. The messages are made beforehand."""
    mails = iter([_mime(email) for email in queued_emails(count)])
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
