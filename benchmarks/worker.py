"""Emails dispatched by a worker process of ours, all events and read models durable in PostgreSQL."""

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.servers import service
from domain.email import Email
from domain.ids import uuid7
from infrastructure.bootstrap import now
from infrastructure.database.engines import Database
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from tests.samples import draft, stamp, stored_content


def queued_emails(count: int) -> list[Email]:
    at = now()
    ids = [uuid7(at) for _ in range(count)]
    return [
        Email.queue(id, "default", draft(id, f"customer{place}@example.com"), stamp(at)) for place, id in enumerate(ids)
    ]


def through_a_worker(provider: str, url: str, home: Path, count: int, workers: int = 1) -> float:
    """Emails per second from the first intent until the read models show the last one as dispatched."""
    asyncio.run(accept(url, count))
    database = Database.open(url)
    with ExitStack() as running:
        for _ in range(workers):
            running.enter_context(service("worker", url, home, POSTLEDGER_PROVIDERS=provider))
        first = _when(database, "SELECT count(*) FROM events WHERE originator_version = 2", 1)
        last = _when(database, "SELECT count(*) FROM emails_v2 WHERE status = 'dispatched'", count)
    database.close()
    return count / (last - first)


async def accept(url: str, count: int) -> None:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    emails = queued_emails(count)
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
