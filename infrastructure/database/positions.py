"""How far each read model has come: the table, and the fence that lets only one runner move it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    delete,
    insert,
    select,
    text,
    update,
)

from infrastructure.database.parked import counts
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
    state: Literal["live", "building"] = "live"  # building: nothing can be read from it yet
    building: float | None = None  # how far a build of it is, in percent


def lock_creation(connection: Connection) -> None:
    """One process at a time creates tables, until the end of its transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))


def versions(connection: Connection) -> dict[str, set[int]]:
    """The versions of each read model that are, or once were, live."""
    found: dict[str, set[int]] = {}
    for name, version in connection.execute(select(_c.name, _c.version)):
        found.setdefault(name, set()).add(version)
    return found


def positions(connection: Connection, projections: Sequence[Projection]) -> dict[str, int]:
    """The position of each of these that is live, by name."""
    known = {(name, version): position for name, version, position in connection.execute(_ALL)}
    return {p.name: known[p.name, p.version] for p in projections if (p.name, p.version) in known}


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
    fence = _of(projection) & (_c.position == old)
    moved = connection.execute(update(POSITIONS).where(fence).values(position=new, updated_at=now, error=None))
    if moved.rowcount != 1:
        raise Overtaken(projection.name)


def hold(connection: Connection, projection: Projection) -> int | None:
    """Lock this read model against all runners until the end of the transaction. Its position; None: it is not live."""
    return connection.execute(select(_c.position).where(_of(projection)).with_for_update()).scalar_one_or_none()


def place(connection: Connection, projection: Projection, position: int, now: datetime) -> None:
    """Say where it stands, whoever thinks otherwise. Whoever does this has to `hold` it, if it is live."""
    values = {"position": position, "updated_at": now, "error": None}
    if connection.execute(update(POSITIONS).where(_of(projection)).values(values)).rowcount == 0:
        connection.execute(insert(POSITIONS).values(name=projection.name, version=projection.version, **values))


def retire(connection: Connection, name: str, version: int) -> None:
    """Forget a version whose tables are gone."""
    connection.execute(delete(POSITIONS).where(_c.name == name, _c.version == version))


def _of(projection: Projection) -> ColumnElement[bool]:
    return and_(_c.name == projection.name, _c.version == projection.version)


def record_error(connection: Connection, projection: Projection, error: str) -> None:
    connection.execute(update(POSITIONS).where(_of(projection)).values(error=error))
