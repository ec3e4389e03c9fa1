"""Folding a log into real tables, and reading them back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from sqlalchemy import Connection, select

from application.ports import Recorded
from domain.events import Event
from infrastructure.database.engines import Database
from projections import (
    activity,
    audit,
    dead_letters,
    dispatch_queue,
    emails,
    providers,
    recipients,
    statistics,
    suppressions,
    unconfirmed,
)
from projections.projection import Projection

ALL: tuple[Projection, ...] = (
    emails.PROJECTION,
    recipients.PROJECTION,
    activity.PROJECTION,
    dispatch_queue.PROJECTION,
    suppressions.PROJECTION,
    dead_letters.PROJECTION,
    unconfirmed.PROJECTION,
    providers.PROJECTION,
    audit.PROJECTION,
    statistics.PROJECTION,
)
Rows = list[tuple[Any, ...]]


def numbered(events: Sequence[Event]) -> list[Recorded]:
    return [Recorded(position, event.topic(), event) for position, event in enumerate(events, 1)]


def batches(chance: Random, log: Sequence[Recorded]) -> Iterator[Sequence[Recorded]]:
    """The log in slices of random sizes."""
    start = 0
    while start < len(log):
        size = chance.choice((1, 2, 7, 40, 1000))
        yield log[start : start + size]
        start += size


@contextmanager
def scratch(database: Database, projections: Sequence[Projection] = ALL) -> Iterator[Connection]:
    """The projections' tables, empty, in a transaction that is never committed."""
    with database.write() as connection:
        for projection in projections:
            projection.tables("")[0].metadata.create_all(connection)
        yield connection
        connection.rollback()


def rows(connection: Connection, projections: Sequence[Projection] = ALL) -> dict[str, Rows]:
    """Everything that stands in the tables, in an order of its own; counters at zero stand for nothing."""
    tables = [table for projection in projections for table in projection.tables("")]
    found = {table.name: [tuple(row) for row in connection.execute(select(table))] for table in tables}
    for table in tables:
        if table.info.get("sums"):
            found[table.name] = [row for row in found[table.name] if row[-1]]
    return {name: sorted(some, key=repr) for name, some in found.items()}
