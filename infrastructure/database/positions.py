"""How far each read model has come: the table, and the fence that lets only one runner move it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from infrastructure.database.parked import PARKED, counts
from projections.columns import Instant
from projections.projection import Projection

POSITIONS = Table(
    "projection_positions",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_at", Instant),
    Column("error", String),  # class and position of what holds it, never data
)
_c = POSITIONS.c
_CREATING = 0x706C_7074  # "plpt": who creates tables


class Overtaken(Exception):
    """Another runner has moved this read model in the meantime."""


@dataclass(frozen=True, slots=True)
class ProjectionPosition:
    """Where a read model stands, how many positions it is behind the ledger, and why if it is held."""

    name: str
    version: int
    position: int
    lag: int
    error: str | None
    updated_at: datetime | None
    parked: int = 0  # streams
    lag_seconds: float = 0.0  # how old the first event is that is not folded


def create(connection: Connection, projections: Sequence[Projection]) -> None:
    """Create what is missing: live tables, and positions at 0. Safe for many processes at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    for metadata in (POSITIONS.metadata, PARKED.metadata, *(p.tables("")[0].metadata for p in projections)):
        metadata.create_all(connection)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for p in projections:
        begin = insert(POSITIONS).values(name=p.name, version=p.version, position=0)
        connection.execute(begin.on_conflict_do_nothing())


def positions(connection: Connection, projections: Sequence[Projection]) -> dict[str, int]:
    """The position of each of these by name; 0 for one that has not begun."""
    known = {(name, version): position for name, version, position in connection.execute(_ALL)}
    return {p.name: known.get((p.name, p.version), 0) for p in projections}


_ALL = select(_c.name, _c.version, _c.position)


def standings(connection: Connection, projections: Sequence[Projection], head: int) -> list[ProjectionPosition]:
    """All there is to tell about each of these, for operators."""
    known = {(row.name, row.version): row for row in connection.execute(select(POSITIONS))}
    rows = [known[p.name, p.version] for p in projections if (p.name, p.version) in known]
    parked = counts(connection)
    return [
        ProjectionPosition(
            *(r.name, r.version, r.position, max(0, head - r.position), r.error, r.updated_at),
            parked=parked.get((r.name, r.version), 0),
        )
        for r in rows
    ]


def advance(connection: Connection, projection: Projection, old: int, new: int, now: datetime) -> None:
    """Move from `old` to `new` in this transaction, or raise Overtaken. Locks out other runners until its end."""
    fence = (_c.name == projection.name) & (_c.version == projection.version) & (_c.position == old)
    moved = connection.execute(update(POSITIONS).where(fence).values(position=new, updated_at=now, error=None))
    if moved.rowcount != 1:
        raise Overtaken(projection.name)


def hold(connection: Connection, projection: Projection) -> int:
    """Lock this read model against all runners until the end of the transaction, and return its position."""
    row = (_c.name == projection.name) & (_c.version == projection.version)
    return int(connection.execute(select(_c.position).where(row).with_for_update()).scalar_one())


def record_error(connection: Connection, projection: Projection, error: str) -> None:
    row = (_c.name == projection.name) & (_c.version == projection.version)
    connection.execute(update(POSITIONS).where(row).values(error=error))
