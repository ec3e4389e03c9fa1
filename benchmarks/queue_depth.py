"""Claims from a queue of a million due emails against one of a thousand, and from one with a million for later."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from application.ports import Claim, Wanted
from benchmarks.result import Result, paired
from benchmarks.servers import durable_postgres
from domain.events import Priority
from infrastructure.bootstrap import now
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from projections.dispatch_queue import QUEUE

_AT_ONCE = 64
_TENANTS = 10
_FILL = """
INSERT INTO {table} (email_id, tenant, priority, due_at, attempt, state, reached, lane, claimable_at)
SELECT gen_random_uuid(), 'tenant' || mod(n, {tenants}), 1 + mod(n, 2), at, 0, 'waiting', '', '', at
FROM (SELECT n, now() + {offset} * interval '1 second' - n * interval '1 millisecond' AS at
      FROM generate_series(1, {count}) AS n) AS emails
"""


def measure(quick: bool) -> list[Result]:
    many, rounds, runs = (20_000, 20, 1) if quick else (1_000_000, 150, 3)
    with durable_postgres() as postgres:
        shallow, deep, later = (Database.open(postgres.fresh_database()) for _ in range(3))
        for database, due, scheduled in ((shallow, 1_000, 0), (deep, many, 0), (later, 1_000, many)):
            _fill(database, due, scheduled)
        rate = {id(d): _claims(d, rounds) for d in (shallow, deep, later)}
        in_deep, in_shallow = paired(runs, rate[id(deep)], rate[id(shallow)])
        with_later, again = paired(runs, rate[id(later)], rate[id(shallow)])
        for database in (shallow, deep, later):
            database.close()
    return [
        Result(f"claims with {many:,} emails due / with 1,000", "emails/s", in_deep, in_shallow, "ratio >= 0.8"),
        Result(
            f"claims with {many:,} emails for later beside 1,000 due", "emails/s", with_later, again, "ratio >= 0.8"
        ),
    ]


def _fill(database: Database, due: int, scheduled: int) -> None:
    with database.write() as connection:
        QUEUE.metadata.create_all(connection)
        _insert(connection, due, 0)
        if scheduled:
            _insert(connection, scheduled, 30 * 24 * 3600)
    with database.write() as connection:
        connection.exec_driver_sql(f"ANALYZE {QUEUE.name}")


def _insert(connection: Connection, count: int, offset: int) -> None:
    connection.exec_driver_sql(_FILL.format(table=QUEUE.name, tenants=_TENANTS, count=count, offset=offset))


def _claims(database: Database, rounds: int) -> Callable[[], float]:
    """Emails claimed per second; what was claimed is done with, and as much comes in, outside of the measurement."""

    async def run() -> float:
        queue, spent, claimed = SqlDispatchQueue(database, Wakeups(database.url)), 0.0, 0
        for _ in range(rounds):
            started = time.perf_counter()
            claims = await queue.claim(_wanted(), now())
            spent += time.perf_counter() - started
            claimed += len(claims)
            await database.tell(_replace, claims)
        return claimed / spent

    return lambda: asyncio.run(run())


def _wanted() -> Wanted:
    priorities = (Priority.NORMAL, Priority.BULK)
    return Wanted("benchmark", _AT_ONCE, timedelta(seconds=60), priorities, lambda lane, tenant: 1_000_000)


def _replace(connection: Connection, claims: list[Claim]) -> None:
    ids: list[UUID] = [claim.email_id for claim in claims]
    connection.exec_driver_sql(f"DELETE FROM {QUEUE.name} WHERE email_id = ANY(%s)", (ids,))
    _insert(connection, len(ids), 0)
