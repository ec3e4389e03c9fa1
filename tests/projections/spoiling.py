"""Tables made wrong by SQL, in every way there is, and what is to be found of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, insert, select, update

from domain.events import Event
from infrastructure.bootstrap import PROJECTIONS
from projections.columns import Id, Instant
from projections.projection import Projection, stream_column, told
from tests import docs_clicks
from tests.projections.test_providers import lived
from tests.samples import NOW
from tests.strategies import history, listed, woven

EVERY: tuple[Projection, ...] = (*PROJECTIONS, docs_clicks.PROJECTION)
Rows = list[tuple[Any, ...]]


def long_log(seed: int = 48, emails: int = 40) -> list[Event]:
    """Something for every table: emails, decisions about addresses, providers."""
    chance = Random(seed)
    return [*woven(chance, [*history(chance, emails, steps=14), *listed(chance, steps=14)]), *lived(chance)[1]]


LOG = long_log()


def stated(connection: Connection, projections: Sequence[Projection] = EVERY) -> dict[str, Rows]:
    """What the tables say of what events tell; sums of zero say nothing."""
    found: dict[str, Rows] = {}
    for table in (table for projection in projections for table in projection.tables("")):
        rows = [tuple(row) for row in connection.execute(select(*(table.c[name] for name in told(table))))]
        found[table.name] = sorted((row for row in rows if stream_column(table) or row[-1]), key=repr)
    return found


@dataclass
class Spoilt:
    """What was done to one read model."""

    streams: set[UUID] = field(default_factory=set)  # whose rows were touched, and those that were made up
    columns: set[tuple[str, UUID, tuple[str, ...]]] = field(default_factory=set)  # changed: table, stream, which
    sums: int = 0


def spoil(connection: Connection, projection: Projection, log: Sequence[Event]) -> Spoilt:
    """In each table change every column somewhere, take a row away, and add one."""
    done = Spoilt()
    for table in projection.tables(""):
        if stream_column(table):
            _spoil_rows(connection, table, log, done)
        else:
            done.sums += _spoil_sums(connection, table)
    return done


def _spoil_rows(connection: Connection, table: Table, log: Sequence[Event], done: Spoilt) -> None:
    rows = [row._asdict() for row in connection.execute(select(table).order_by(*_key(table)))]
    assert len(rows) > 2, f"{table.name} needs more rows"
    gone, *changed = rows
    done.streams.add(_stream(table, gone, log))
    connection.execute(delete(table).where(_is(table, gone)))
    made_up = {**gone, **{column.name: other(column, gone[column.name]) for column in table.columns}}
    connection.execute(insert(table).values(made_up))
    if isinstance(made := made_up[str(stream_column(table))], UUID):
        done.streams.add(made)
    names = [name for name in told(table) if name not in table.primary_key.columns]
    for place, row in enumerate(changed[: len(names)]):
        mine = names[place :: len(changed)]
        values = {name: other(table.c[name], row[name]) for name in mine}
        connection.execute(update(table).where(_is(table, row)).values(values))
        stream = _stream(table, row, log)
        done.streams.add(stream)
        if isinstance(instead := values.get(str(stream_column(table))), UUID):
            done.streams.add(instead)
        if table.primary_key.columns:
            done.columns.add((table.name, stream, tuple(name for name in told(table) if name in mine)))


def _spoil_sums(connection: Connection, table: Table) -> int:
    *keys, last = table.columns
    changed, gone = [row._asdict() for row in connection.execute(select(table).where(last != 0).order_by(*keys))][:2]
    connection.execute(update(table).where(_is(table, changed)).values({last.name: last + 7}))
    connection.execute(delete(table).where(_is(table, gone)))
    made_up = {column.name: other(column, gone[column.name]) for column in keys}
    connection.execute(insert(table).values({**made_up, last.name: 3}))
    return 3


def other(column: Column[Any], value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(column.type, Id):
        return uuid5(value or UUID(int=0), "other")
    if isinstance(column.type, Instant):
        return (value or NOW) + timedelta(seconds=1)
    kind = column.type.python_type
    if kind is bool:
        return not value
    return f"{value or ''}x" if kind is str else kind((value or 0) + 9000)


def _key(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns) or list(table.columns)


def _is(table: Table, row: dict[str, Any]) -> ColumnElement[bool]:
    return and_(*(column.is_not_distinct_from(row[column.name]) for column in _key(table)))


def _stream(table: Table, row: dict[str, Any], log: Sequence[Event]) -> UUID:
    place = row[str(stream_column(table))]
    return place if isinstance(place, UUID) else log[place - 1].originator_id
