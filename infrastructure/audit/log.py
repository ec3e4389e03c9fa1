"""Reads the events as they are stored: nothing is decoded, so nothing that is stored there can stop it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from infrastructure.audit.chain import Stored

_TYPES = "text integer text blob"  # what the ledger writes on SQLite, where a column takes any type
_SQLITE = (
    "SELECT rowid, CAST(originator_id AS BLOB), CAST(originator_version AS BLOB), CAST(topic AS BLOB),"
    " CAST(state AS BLOB),"
    " typeof(originator_id) || ' ' || typeof(originator_version) || ' ' || typeof(topic) || ' ' || typeof(state)"
    " FROM events WHERE rowid >= ? AND rowid <= ? ORDER BY rowid LIMIT ?"
)
_POSTGRESQL = (
    b"SELECT notification_id, originator_id, originator_version, topic, state FROM events"
    b" WHERE notification_id >= %s AND notification_id <= %s ORDER BY notification_id LIMIT %s"
)
_BROKEN = (
    "SELECT originator_id, max(originator_version) FROM events GROUP BY originator_id"
    " HAVING min(originator_version) <> 1 OR max(originator_version) <> count(*) ORDER BY originator_id LIMIT "
)
_END = 2**63 - 1
EVERYTHING = -(2**63) - 1  # a position before all there can be, those below zero that nobody has given out included


def page(connection: Connection, after: int, limit: int, up_to: int = _END) -> list[Stored]:
    """The next events after a position, in order."""
    values = (after + 1, up_to, limit)
    if connection.dialect.name == "postgresql":
        return [_from_postgresql(row) for row in _psycopg(connection, _POSTGRESQL, values)]
    return [_from_sqlite(row) for row in connection.connection.cursor().execute(_SQLITE, values)]


def count(connection: Connection, after: int) -> int:
    """How many events there are after a position."""
    place = _place(connection)
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM events WHERE {place} > {after:d}").scalar_one())  # noqa: S608


def broken_streams(connection: Connection, limit: int) -> list[tuple[str, list[int]]]:
    """Streams whose versions are not 1, 2, … n: the stream's id in hex, and which versions are missing of it."""
    found = connection.exec_driver_sql(_BROKEN + str(limit)).all()
    return [(_hex(id), _missing(connection, id, last)) for id, last in found]


def _missing(connection: Connection, stream: Any, last: Any) -> list[int]:
    place = "%s" if connection.dialect.name == "postgresql" else "?"
    query = f"SELECT originator_version FROM events WHERE originator_id = {place}"  # noqa: S608
    versions = {row[0] for row in connection.exec_driver_sql(query, (stream,))}
    end = last if isinstance(last, int) and last < 100_000 else len(versions) + 1
    return [version for version in range(1, end + 1) if version not in versions][:20]


def _hex(id: Any) -> str:
    return getattr(id, "hex", None) or str(id)


def _place(connection: Connection) -> str:
    return "notification_id" if connection.dialect.name == "postgresql" else "rowid"


def _psycopg(connection: Connection, statement: bytes, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    raw: Any = connection.connection.driver_connection
    return raw.cursor(binary=True).execute(statement, values, prepare=True).fetchall()  # type: ignore[no-any-return]


def _from_postgresql(row: tuple[Any, ...]) -> Stored:
    position, stream, version, topic, state = row
    return Stored(position, stream.hex.encode(), b"%d" % version, topic.encode(), state)


def _from_sqlite(row: tuple[Any, ...]) -> Stored:
    position, stream, version, topic, state, types = row
    odd = b"" if types == _TYPES else types.encode()
    return Stored(position, stream or b"", version or b"", topic or b"", state or b"", odd)
