"""Set-wise reads and writes of rows as plain tuples: what makes a fold of a thousand events a handful of statements.

PostgreSQL takes binary COPY, for changed rows into a staged table; SQLite takes `executemany`. A row holds
the values of the named columns (by default all of the table's) in order.
"""
# ruff: noqa: S608 (names of tables and columns come from our own Table objects; values always are parameters)

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, Table

Row = tuple[Any, ...]
_AT_ONCE = 500  # values in one SQLite statement; its limit is 32,766 variables


def fetch(
    connection: Connection, table: Table, key: str, values: Collection[Any], columns: Sequence[str] = ()
) -> list[Row]:
    """The rows whose `key` is one of `values`; on PostgreSQL locked until the end of the transaction."""
    if not values:
        return []
    names = columns or table.columns.keys()
    if connection.dialect.name == "postgresql":
        return _fetch_any(connection, table, key, list(values), names)
    return _fetch_in(connection, table, key, values, names)


def insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add new rows."""
    if not rows:
        return
    names = table.columns.keys()
    if connection.dialect.name == "postgresql":
        _copy(connection, table.name, table, names, rows)
    else:
        places = ", ".join("?" * len(names))
        _many(connection, table, f"INSERT INTO {table.name} ({_list(names)}) VALUES ({places})", names, rows)


def update(connection: Connection, table: Table, rows: Sequence[Row], columns: Sequence[str], keys: int = 1) -> None:
    """Set the named columns of rows that exist; the first `keys` of them say which row."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _update_from(connection, table, rows, columns, keys)
        return
    changed, key = columns[keys:], columns[:keys]
    same = " AND ".join(f"{name} = ?" for name in key)
    statement = f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in changed)} WHERE {same}"
    _many(connection, table, statement, [*changed, *key], [row[keys:] + row[:keys] for row in rows])


def add(connection: Connection, table: Table, rows: Sequence[Row], keys: int) -> None:
    """Add to counters: the first `keys` columns say which row, the last one by how much; unknown rows begin at zero."""
    if not rows:
        return
    names = table.columns.keys()
    count = names[-1]
    end = f"ON CONFLICT ({_list(names[:keys])}) DO UPDATE SET {count} = {table.name}.{count} + excluded.{count}"
    start = f"INSERT INTO {table.name} ({_list(names)})"
    if connection.dialect.name == "postgresql":
        _unnest(connection, f"{start} SELECT * FROM unnest({_arrays(connection, table, names)}) {end}", rows)
    else:
        _many(connection, table, f"{start} VALUES ({', '.join('?' * len(names))}) {end}", names, rows)


def delete(connection: Connection, table: Table, key: str, values: Collection[Any]) -> None:
    """Remove the rows whose `key` is one of `values`."""
    if not values:
        return
    if connection.dialect.name == "postgresql":
        _cursor(connection).execute(f"DELETE FROM {table.name} WHERE {key} = ANY(%s)".encode(), [list(values)])
    else:
        statement = f"DELETE FROM {table.name} WHERE {key} = ?"
        _many(connection, table, statement, [key], [(value,) for value in values])


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


# What psycopg calls the types that SQL spells otherwise.
_WIRE = {"TIMESTAMP WITH TIME ZONE": "timestamptz", "INTEGER": "int4", "SMALLINT": "int2", "BIGINT": "int8"}
_FEW = 20  # rows for which a staged table is not worth its making


def _cursor(connection: Connection) -> Any:
    """Psycopg's own cursor: SQLAlchemy's would look at every row in Python."""
    raw: Any = connection.connection.driver_connection
    return raw.cursor(binary=True)


def _types(connection: Connection, table: Table, names: Sequence[str]) -> list[str]:
    """Without collations, which matter to what is kept and not on its way."""
    return [table.c[name].type.compile(connection.dialect).partition(" COLLATE")[0] for name in names]


def _arrays(connection: Connection, table: Table, names: Sequence[str]) -> str:
    return ", ".join(f"%s::{type_}[]" for type_ in _types(connection, table, names))


def _unnest(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    _cursor(connection).execute(statement.encode(), [list(column) for column in zip(*rows, strict=True)])


def _update_from(connection: Connection, table: Table, rows: Sequence[Row], columns: Sequence[str], keys: int) -> None:
    values = ", ".join(f"{name} = v.{name}" for name in columns[keys:])
    same = " AND ".join(f"t.{name} = v.{name}" for name in columns[:keys])
    change = f"UPDATE {table.name} AS t SET {values} FROM"
    if len(rows) > _FEW:
        staged = _stage(connection, table, columns, rows)
        _cursor(connection).execute(f"{change} {staged} AS v WHERE {same}".encode())
    else:
        arrays = f"unnest({_arrays(connection, table, columns)}) AS v({_list(columns)})"
        _unnest(connection, f"{change} {arrays} WHERE {same}", rows)


def _stage(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> str:
    """Put the rows into a temporary table: five times faster than arrays as parameters. Returns its name."""
    columns = _list(f"{n} {type_}" for n, type_ in zip(names, _types(connection, table, names), strict=True))
    staged = f"staged_{crc32(columns.encode()):08x}"  # made once per connection, emptied by every commit
    cursor = _cursor(connection)
    cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ({columns}) ON COMMIT DELETE ROWS".encode())
    cursor.execute(f"DELETE FROM {staged}".encode())
    _copy(connection, staged, table, names, rows)
    return staged


def _copy(connection: Connection, into: str, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    types = [_WIRE.get(type_, type_.lower()) for type_ in _types(connection, table, names)]
    with _cursor(connection).copy(f"COPY {into} ({_list(names)}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _fetch_any(connection: Connection, table: Table, key: str, values: list[Any], names: Sequence[str]) -> list[Row]:
    # One order of locking for all who touch several rows, so that none of them can block each other for ever.
    statement = f"SELECT {_list(names)} FROM {table.name} WHERE {key} = ANY(%s) ORDER BY {key} FOR UPDATE"
    return _cursor(connection).execute(statement.encode(), [values]).fetchall()  # type: ignore[no-any-return]


# -- SQLite ----------------------------------------------------------------------------------------------------------

_Processor = Callable[[Any], Any] | None


def _encoders(connection: Connection, table: Table, names: Sequence[str]) -> list[_Processor]:
    dialect = connection.dialect
    return [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]


def _decoders(connection: Connection, table: Table, names: Sequence[str]) -> list[_Processor]:
    dialect = connection.dialect
    return [table.c[name].type.dialect_impl(dialect).result_processor(dialect, None) for name in names]


def _converted(rows: Iterable[Sequence[Any]], processors: Sequence[_Processor]) -> list[Row]:
    return [tuple(p(v) if p else v for p, v in zip(processors, row, strict=True)) for row in rows]


def _many(connection: Connection, table: Table, statement: str, names: Sequence[str], rows: Iterable[Row]) -> None:
    connection.connection.cursor().executemany(statement, _converted(rows, _encoders(connection, table, names)))


def _fetch_in(
    connection: Connection, table: Table, key: str, values: Collection[Any], names: Sequence[str]
) -> list[Row]:
    encode = _encoders(connection, table, [key])[0]
    decoders = _decoders(connection, table, names)
    cursor, waiting, found = connection.connection.cursor(), iter(values), list[Row]()
    while some := list(islice(waiting, _AT_ONCE)):
        marks = ", ".join("?" * len(some))
        statement = f"SELECT {_list(names)} FROM {table.name} WHERE {key} IN ({marks})"
        cursor.execute(statement, [encode(value) for value in some] if encode else some)
        found += _converted(cursor.fetchall(), decoders)
    return found
