"""Appending through group commit, against raw binary COPY of the same rows."""

import asyncio
import time
from statistics import median
from uuid import UUID

import psycopg

from application.ports import StoredContent
from benchmarks.result import Result
from benchmarks.servers import durable_postgres
from domain.events import Event
from infrastructure.bootstrap import tune_garbage_collection
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.mapper import EventMapper
from infrastructure.ledger.postgres import PostgresEventStore
from tests.samples import queued, stored_content

TASKS = 1_000  # callers at once, and rows per commit of the floor

Accepted = list[tuple[list[Event], StoredContent]]
Row = tuple[UUID, int, str, bytes, bytes]


def measure(quick: bool) -> list[Result]:
    count, runs = (5_000, 1) if quick else (30_000, 5)
    tune_garbage_collection()
    with durable_postgres() as postgres:
        url = postgres.fresh_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_FLOOR_TABLES)
            pairs = []
            for _ in range(runs):
                pairs.append((_copy(connection, _rows(_emails(count))), asyncio.run(_append(url, _emails(count)))))
    name = f"append, {TASKS} callers of one email (event and content row) each"
    floor, ours = (median(pair[place] for pair in pairs) for place in (0, 1))
    return [Result(name, "emails/s", ours, floor, "ratio >= 0.6", "the floor's rows are encoded beforehand")]


_FLOOR_TABLES = """
CREATE TABLE floor_events (originator_id uuid, originator_version bigint, topic text, state bytea,
                           notification_id bigserial, PRIMARY KEY (originator_id, originator_version));
CREATE UNIQUE INDEX ON floor_events (notification_id);
CREATE TABLE floor_content (email_id uuid PRIMARY KEY, body bytea NOT NULL)
"""


def _emails(count: int) -> Accepted:
    emails = [queued(f"customer{number}@example.com") for number in range(count)]
    return [(email.collect_events(), stored_content(email)) for email in emails]


def _rows(emails: Accepted) -> list[Row]:
    mapper = EventMapper()
    stored = [(mapper.to_stored_event(events[0]), content) for events, content in emails]
    return [(content.email_id, e.originator_version, e.topic, e.state, content.body) for e, content in stored]


def _copy(connection: psycopg.Connection[tuple[object, ...]], rows: list[Row]) -> float:
    """Rows per second of nothing but COPY and COMMIT."""
    started = time.perf_counter()
    for first in range(0, len(rows), TASKS):
        page = rows[first : first + TASKS]
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(
                "COPY floor_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)"
            ) as copy:
                copy.set_types(["uuid", "int8", "text", "bytea"])
                for row in page:
                    copy.write_row(row[:4])
            with cursor.copy("COPY floor_content FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["uuid", "bytea"])
                for row in page:
                    copy.write_row((row[0], row[4]))
    return len(rows) / (time.perf_counter() - started)


async def _append(url: str, emails: Accepted) -> float:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    await ledger.position()  # connected, and the schema is there
    waiting = iter(emails)

    async def caller() -> None:
        for events, content in waiting:
            await ledger.append(events, [content])

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(TASKS)))
    elapsed = time.perf_counter() - started
    await ledger.close()
    return len(emails) / elapsed
