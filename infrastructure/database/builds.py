"""The builds of read models under way, and the tables that the last ones replaced: what outlives those who work."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from secrets import token_hex

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateTable

from infrastructure.database.positions import Overtaken, retire, versions
from projections.columns import Instant
from projections.projection import Projection, Tables, stream_column

REPLAY, INDEX, READY = "replay", "index", "ready"  # what is to be done next; ready: catch up, check and swap

_META = MetaData()
BUILDS = Table(
    "projection_builds",
    _META,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),  # of the streams
    Column("parts", Integer, nullable=False),
    Column("suffix", String, nullable=False),  # what the names of its tables end in
    Column("position", BigInteger, nullable=False),  # up to which this part is folded
    Column("phase", String, nullable=False),
    Column("auto", Boolean(create_constraint=False), nullable=False),  # the workers see to it
    Column("started_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("error", Text),
)
PREVIOUS = Table(
    "projection_previous",
    _META,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("suffix", String, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("replaced_at", Instant, nullable=False),
)
_b, _p = BUILDS.c, PREVIOUS.c


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the streams in one build. A build that is not divided has one."""

    name: str
    version: int
    part: int
    parts: int
    suffix: str
    position: int
    phase: str
    auto: bool
    started_at: datetime
    updated_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Previous:
    """The tables that were live before."""

    name: str
    version: int
    suffix: str
    position: int
    replaced_at: datetime


def create(connection: Connection) -> None:
    """The tables of this module."""
    _META.create_all(connection)


def under_way(connection: Connection, *, lock: bool = False) -> list[Part]:
    """Every part of every build, in order; `lock` holds them to the end of the transaction."""
    query = select(BUILDS).order_by(_b.name, _b.version, _b.part)
    return [Part(*row) for row in connection.execute(query.with_for_update() if lock else query)]


def parts_of(connection: Connection, projection: Projection, *, lock: bool = False) -> list[Part]:
    return [p for p in under_way(connection, lock=lock) if (p.name, p.version) == _id(projection)]


def begin(connection: Connection, projection: Projection, parts: int, now: datetime, *, auto: bool) -> None:
    """Tables to fill, and a build to remember. Nothing, if one is under way already."""
    if parts_of(connection, projection):
        return
    suffix = f"__{token_hex(4)}"  # indexes keep their names when tables are renamed: it must never come again
    every = [projection.tables(suffix), *(tables_of(projection, suffix, part, parts) for part in range(parts))]
    for table in {table.name: table for tables in every for table in tables}.values():
        connection.execute(CreateTable(table))  # its indexes are built faster at the end
    _insert(
        connection, [Part(*_id(projection), n, parts, suffix, 0, REPLAY, auto, now, now, None) for n in range(parts)]
    )


def revive(connection: Connection, projection: Projection, now: datetime) -> bool:
    """Make a build of the tables that were live before. False if there are none, or a build is under way."""
    replaced = previous_of(connection, projection)
    if replaced is None or parts_of(connection, projection):
        return False
    forget_previous(connection, *_id(projection))
    name, version = _id(projection)
    _insert(connection, [Part(name, version, 0, 1, replaced.suffix, replaced.position, READY, False, now, now, None)])
    return True


def _insert(connection: Connection, parts: Sequence[Part]) -> None:
    connection.execute(insert(BUILDS), [asdict(part) for part in parts])


def _id(projection: Projection) -> tuple[str, int]:
    return projection.name, projection.version


def tables_of(projection: Projection, suffix: str, part: int, parts: int) -> Tables:
    """What one part writes into: the tables of the build, but sums of its own, so that no part waits for another."""
    if parts == 1:
        return projection.tables(suffix)
    own = projection.tables(f"{suffix}_{part}")
    return tuple(t if stream_column(t) else mine for t, mine in zip(projection.tables(suffix), own, strict=True))


def advance(connection: Connection, part: Part, position: int, now: datetime) -> None:
    """Move one part in this transaction, or raise Overtaken."""
    fence = _of(part.name, part.version) & (_b.part == part.part) & (_b.suffix == part.suffix)
    moved = connection.execute(
        update(BUILDS)
        .where(fence, _b.position == part.position, _b.parts == part.parts)
        .values(position=position, updated_at=now, error=None)
    )
    if moved.rowcount != 1:
        raise Overtaken(part.name)


def unite(connection: Connection, projection: Projection, parts: Sequence[Part], position: int) -> None:
    """Make one of the parts, all of which stand at `position`: add up their sums."""
    suffix = parts[0].suffix
    for table in projection.tables(suffix):
        if stream_column(table) is None:
            _add_up(connection, table, [f"{table.name}_{part.part}" for part in parts])
    whole = _of(*_id(projection))
    connection.execute(delete(BUILDS).where(whole, _b.part > 0))
    connection.execute(update(BUILDS).where(whole).values(parts=1, position=position, phase=INDEX))


def _add_up(connection: Connection, table: Table, sources: Sequence[str]) -> None:
    *keys, last = (column.name for column in table.columns)
    key = ", ".join(keys)
    every = " UNION ALL ".join(f"SELECT {key}, {last} FROM {source}" for source in sources)  # noqa: S608
    total = f"CAST(sum({last}) AS bigint)"
    statement = f"INSERT INTO {table.name} ({key}, {last}) SELECT {key}, {total} FROM ({every}) AS s GROUP BY {key}"  # noqa: S608
    connection.execute(text(statement))
    drop_tables(connection, sources)


def enter(connection: Connection, projection: Projection, phase: str) -> None:
    connection.execute(update(BUILDS).where(_of(*_id(projection))).values(phase=phase))


def fail(connection: Connection, projection: Projection, error: str | None) -> None:
    """Say what is wrong with a build, never data."""
    connection.execute(update(BUILDS).where(_of(*_id(projection))).values(error=error))


def index(connection: Connection, tables: Tables) -> None:
    """Build what is missing of the secondary indexes."""
    for table in tables:
        for each in table.indexes:
            each.create(connection, checkfirst=True)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"ANALYZE {table.name}"))


def forget(connection: Connection, projection: Projection) -> None:
    """The build is over. What became of its tables is not said."""
    connection.execute(delete(BUILDS).where(_of(*_id(projection))))


def previous(connection: Connection) -> list[Previous]:
    return [Previous(*row) for row in connection.execute(select(PREVIOUS).order_by(_p.name, _p.version))]


def previous_of(connection: Connection, projection: Projection) -> Previous | None:
    found = [p for p in previous(connection) if (p.name, p.version) == _id(projection)]
    return found[0] if found else None


def keep(connection: Connection, replaced: Previous) -> None:
    """Remember the replaced tables, instead of those before them."""
    drop_previous(connection, replaced.name, replaced.version)
    connection.execute(insert(PREVIOUS).values(asdict(replaced)))


def forget_previous(connection: Connection, name: str, version: int) -> None:
    """Its tables are something else now."""
    connection.execute(delete(PREVIOUS).where(_p.name == name, _p.version == version))


def drop_previous(connection: Connection, name: str, version: int) -> list[str]:
    """Drop the tables that were live before. Returns their names."""
    gone: list[str] = []
    for each in previous(connection):
        if (each.name, each.version) == (name, version):
            gone += drop_tables(connection, [n for n in _all(connection) if n.endswith(each.suffix)])
    forget_previous(connection, name, version)
    return gone


def drop_build(connection: Connection, parts: Iterable[Part]) -> list[str]:
    """Drop the tables of a build. Returns their names."""
    endings = {re.compile(rf".*{re.escape(part.suffix)}(_\d+)?") for part in parts}
    return drop_tables(connection, [n for n in _all(connection) if any(e.fullmatch(n) for e in endings)])


def of_older_versions(connection: Connection, projection: Projection) -> list[str]:
    """Tables of this read model that an older version of the code made."""
    marks = [
        re.compile(rf"{re.escape(table.name.removesuffix(f'_v{projection.version}'))}_v(\d+)(__.*)?")
        for table in projection.tables("")
    ]
    found = [(name, mark.fullmatch(name)) for name in _all(connection) for mark in marks]
    return sorted({name for name, match in found if match and int(match[1]) < projection.version})


def retire_older(connection: Connection, projection: Projection) -> None:
    """Forget the positions of older versions, whose tables are gone."""
    for version in versions(connection).get(projection.name, ()):
        if version < projection.version:
            retire(connection, projection.name, version)
            drop_previous(connection, projection.name, version)


def drop_tables(connection: Connection, names: Iterable[str]) -> list[str]:
    gone = list(names)
    for name in gone:
        connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    return gone


def _all(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


def _of(name: str, version: int) -> ColumnElement[bool]:
    return and_(_b.name == name, _b.version == version)
