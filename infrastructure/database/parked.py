"""The streams that a read model could not fold: kept aside with the reason, while all others move on."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    select,
    update,
)

from projections import rows
from projections.columns import Id, Instant

PARKED = Table(
    "parked_streams",
    MetaData(),
    Column("name", String, primary_key=True),  # of the read model
    Column("version", Integer, primary_key=True),
    Column("build", String, primary_key=True),  # "" for the live tables, otherwise what their names end in
    Column("stream_id", Id, primary_key=True),
    Column("position", BigInteger, nullable=False),  # of the first event that is not folded
    Column("topic", String, nullable=False),
    Column("error", Text, nullable=False),  # what went wrong, never data
    Column("parked_at", Instant, nullable=False),
)
_c = PARKED.c


@dataclass(frozen=True, slots=True)
class Parked:
    """One stream that one read model stopped following."""

    name: str
    version: int
    build: str
    stream_id: UUID
    position: int
    topic: str
    error: str
    parked_at: datetime


def streams(connection: Connection, name: str, version: int, build: str = "") -> set[UUID]:
    """Those of one read model."""
    return set(connection.execute(select(_c.stream_id).where(_of(name, version, build))).scalars())


def park(connection: Connection, found: Collection[Parked]) -> None:
    rows.insert(connection, PARKED, [tuple(getattr(each, f.name) for f in fields(Parked)) for each in found])


def unpark(connection: Connection, name: str, version: int, build: str, stream_ids: Iterable[UUID]) -> None:
    wanted = _c.stream_id.in_(list(stream_ids))
    connection.execute(delete(PARKED).where(_of(name, version, build), wanted))


def clear(connection: Connection, name: str, version: int, build: str) -> None:
    """Forget what some tables have parked."""
    connection.execute(delete(PARKED).where(_of(name, version, build)))


def move(connection: Connection, name: str, version: int, old: str, new: str) -> None:
    """Some tables got another name."""
    connection.execute(update(PARKED).where(_of(name, version, old)).values(build=new))


def counts(connection: Connection) -> dict[tuple[str, int], int]:
    """How many streams each live read model has parked, by name and version."""
    query = select(_c.name, _c.version, func.count()).where(_c.build == "").group_by(_c.name, _c.version)
    return {(name, version): count for name, version, count in connection.execute(query)}


def everything(connection: Connection) -> list[Parked]:
    """Of all read models, in the order of the log."""
    return [Parked(*row) for row in connection.execute(select(PARKED).order_by(_c.position, _c.name))]


def _of(name: str, version: int, build: str) -> ColumnElement[bool]:
    return and_(_c.name == name, _c.version == version, _c.build == build)
