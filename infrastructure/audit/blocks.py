"""The chain as a table: blocks of up to 1,024 events, each added once and never changed."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from infrastructure.audit import log
from infrastructure.audit.chain import HASH, Entry, entry, linked, pack, unpack
from projections.columns import Instant

MOST = 1024  # events in a block
_CREATING = 0x706C_6163  # "plac": who creates the table

AUDIT_BLOCKS = Table(
    "audit_blocks",
    MetaData(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # the fence: who adds it first, has added it
    Column("first", BigInteger, nullable=False),  # positions
    Column("last", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),  # events up to the end of this block
    Column("entries", LargeBinary, nullable=False),  # for each event 8 bytes of position, big endian, and its leaf
    Column("chain", LargeBinary, nullable=False),  # the chain's hash after the last event
    Column("made_at", Instant, nullable=False),
)
_c = AUDIT_BLOCKS.c


@dataclass(frozen=True, slots=True)
class Block:
    """Some events in a row. Number 0 stands for the beginning: no events, and the log's id as the chain's hash."""

    number: int
    first: int
    last: int
    count: int
    total: int
    packed: bytes
    chain: bytes

    @property
    def entries(self) -> list[Entry]:
        return unpack(self.packed)


_COLUMNS = (_c.number, _c.first, _c.last, _c.count, _c.total, _c.entries, _c.chain)


def create(connection: Connection, now: datetime) -> None:
    """The table, and the log's id. Safe for many processes at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    AUDIT_BLOCKS.metadata.create_all(connection)
    if connection.execute(select(func.count()).select_from(AUDIT_BLOCKS).where(_c.number == 0)).scalar_one() == 0:
        append(connection, Block(0, 0, 0, 0, 0, b"", secrets.token_bytes(HASH)), now)


def newest(connection: Connection) -> Block:
    """Without its entries."""
    columns = [column for column in _COLUMNS if column is not _c.entries]
    number, first, last, count, total, chain = connection.execute(
        select(*columns).order_by(_c.number.desc()).limit(1)
    ).one()
    return Block(number, first, last, count, total, b"", chain)


def log_id(connection: Connection) -> bytes | None:
    found: bytes | None = connection.execute(select(_c.chain).where(_c.number == 0)).scalar_one_or_none()
    return found


def after(connection: Connection, number: int, limit: int) -> list[Block]:
    """The next blocks after this one, in order."""
    query = select(*_COLUMNS).where(_c.number > number).order_by(_c.number).limit(limit)
    return [Block(*row) for row in connection.execute(query)]


def following(connection: Connection, most: int = MOST) -> Block | None:
    """The block that comes next, made of events that are in none yet; None when there are no such events."""
    last = newest(connection)
    entries = [entry(stored) for stored in log.page(connection, last.last, most)]
    if not entries:
        return None
    places = (entries[0].position, entries[-1].position, len(entries), last.total + len(entries))
    return Block(last.number + 1, *places, pack(entries), linked(last.chain, entries))


def append(connection: Connection, block: Block, now: datetime) -> bool:
    """False when somebody else has added a block of this number."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    names = ("number", "first", "last", "count", "total", "entries", "chain")
    values = (block.number, block.first, block.last, block.count, block.total, block.packed, block.chain)
    row = {**dict(zip(names, values, strict=True)), "made_at": now}
    fresh = insert(AUDIT_BLOCKS).values(row).on_conflict_do_nothing().returning(_c.number)
    return connection.execute(fresh).first() is not None
