"""How far each follower of the ledger has come: the table, and the fence that lets only one process move it."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from projections.columns import Instant

FOLLOWERS = Table(
    "follower_positions",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_at", Instant),
    Column("error", String),  # class and position of what holds it, never data
)
_c = FOLLOWERS.c
_CREATING = 0x706C_6674  # "plft": who creates the table


def create(connection: Connection, name: str) -> None:
    """Create what is missing; a new follower stands at 0. Safe for many processes at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    FOLLOWERS.metadata.create_all(connection)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(FOLLOWERS).values(name=name, position=0).on_conflict_do_nothing())


def position(connection: Connection, name: str) -> int:
    return int(connection.execute(select(_c.position).where(_c.name == name)).scalar_one())


def advance(connection: Connection, name: str, old: int, new: int, now: datetime) -> bool:
    """Move from `old` to `new`. False when another process has moved it in the meantime."""
    fence = (_c.name == name) & (_c.position == old)
    moved = connection.execute(update(FOLLOWERS).where(fence).values(position=new, updated_at=now, error=None))
    return moved.rowcount == 1


def error(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(select(_c.error).where(_c.name == name)).scalar_one_or_none()
    return found


def record_error(connection: Connection, name: str, what: str) -> None:
    connection.execute(update(FOLLOWERS).where(_c.name == name).values(error=what))
