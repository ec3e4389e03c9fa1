"""Which rows of two tables differ: found in SQL, whole tables at a time, and read one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal_column, select, type_coerce, union_all
from sqlalchemy.types import UserDefinedType

from projections.projection import stream_column, told

Row = tuple[Any, ...]

_AT_ONCE = 500  # streams named in one statement; and rows fetched


class _Raw(UserDefinedType[Any]):
    """Whatever SQLite has stored."""

    cache_ok = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A row as it is and as it should be; None where there is none."""

    names: Sequence[str]
    is_: Row | None
    should_be: Row | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that differ, when both are there."""
        if self.is_ is None or self.should_be is None:
            return ()
        both = zip(self.names, self.is_, self.should_be, strict=True)
        return tuple(name for name, is_, should_be in both if is_ != should_be)

    def values(self, column: str) -> list[Any]:
        """What the two say in this column, each once."""
        place = list(self.names).index(column)
        return list(dict.fromkeys(row[place] for row in (self.should_be, self.is_) if row is not None))


def different_rows(connection: Connection, is_: Table, should_be: Table) -> Iterator[Pair]:
    """All rows that are there and should not be, or the other way round. Leases and the like do not count."""
    yield from _pairs(connection, is_, _unequal(connection, is_, should_be))


def different_rows_of(connection: Connection, is_: Table, should_be: Table, places: Iterable[Any]) -> Iterator[Pair]:
    """As above, of the rows whose stream column is one of `places`."""
    left = sorted(places)
    for start in range(0, len(left), _AT_ONCE):
        query = _unequal(connection, is_, should_be, left[start : start + _AT_ONCE])
        yield from _pairs(connection, is_, query)


def different_sums(connection: Connection, is_: Table, should_be: Table) -> Iterator[tuple[Row, int, int]]:
    """Keys, with the sum as it is and as it should be. A sum of zero is the same as none."""
    *keys, last = is_.columns.keys()
    zero: ColumnElement[int] = literal_column("0")
    sides = union_all(
        select(*(is_.c[name] for name in keys), is_.c[last].label("_is"), zero.label("_should_be")),
        select(*(should_be.c[name] for name in keys), zero.label("_is"), should_be.c[last].label("_should_be")),
    ).subquery()
    columns, found = [sides.c[name] for name in keys], (func.sum(sides.c["_is"]), func.sum(sides.c["_should_be"]))
    query = select(*columns, *found).group_by(*columns).having(found[0] != found[1]).order_by(*columns)
    for *key, now, then in _stream(connection, query):
        yield tuple(key), int(now), int(then)


def _unequal(connection: Connection, is_: Table, should_be: Table, places: Sequence[Any] | None = None) -> Select[Any]:
    """Rows that one side has more often than the other: the values, and by how much. Equal is equal, NULLs too."""
    sides = (_side(connection, table, sign, places) for table, sign in ((is_, "1"), (should_be, "-1")))
    both = union_all(*sides).subquery()
    columns, more = [both.c[name] for name in told(is_)], func.sum(both.c["_side"])
    order = [both.c[column.name] for column in is_.primary_key] or columns
    return select(*columns, more).group_by(*columns).having(more != 0).order_by(*order)


def _side(connection: Connection, table: Table, sign: str, places: Sequence[Any] | None) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [table.c[name] for name in told(table)]
    if _loose(connection):
        columns = [type_coerce(table.c[name], _Raw()).label(name) for name in told(table)]
    query: Select[Any] = select(*columns, literal_column(sign).label("_side"))
    if places is None:
        return query
    return query.where(written(connection, table.c[str(stream_column(table))], places))


def _loose(connection: Connection) -> bool:
    """Whether a column may hold what its type does not allow."""
    return connection.dialect.name == "sqlite"


def _pairs(connection: Connection, table: Table, query: Select[Any]) -> Iterator[Pair]:
    """Neighbours with the same primary key are the same row."""
    names, read = told(table), _reader(connection, table)
    places = [names.index(column.name) for column in table.primary_key]
    if not places:
        for *row, more in _stream(connection, query):
            pair = Pair(names, read(row), None) if more > 0 else Pair(names, None, read(row))
            yield from (pair for _ in range(abs(int(more))))
        return
    for _, some in groupby(_stream(connection, query), key=lambda row: [row[place] for place in places]):
        found = {row[-1] > 0: read(row[:-1]) for row in some}
        yield Pair(names, found.get(True), found.get(False))


def _reader(connection: Connection, table: Table) -> Callable[[Sequence[Any]], Row]:
    """Values as their columns mean them; what no column of that type can mean stays as it is."""
    if not _loose(connection):
        return tuple
    dialect = connection.dialect
    types = [table.c[name].type.dialect_impl(dialect) for name in told(table)]
    readers = [type_.result_processor(dialect, None) for type_ in types]

    def read(row: Sequence[Any]) -> Row:
        return tuple(
            value if reader is None else _read(reader, value) for reader, value in zip(readers, row, strict=True)
        )

    return read


def _read(reader: Callable[[Any], Any], value: Any) -> Any:
    try:
        return reader(value)
    except Exception:  # noqa: BLE001 (whatever stands there, it is to be told, and mended)
        return value


def written(connection: Connection, column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether the column says one of these, which may be nothing that a column of its type can mean."""
    if not _loose(connection):
        return column.in_(list(values))
    dialect = connection.dialect
    write = column.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)
    plain = (_read(write, value) for value in values)
    return type_coerce(column, _Raw()).in_([bytes(v) if isinstance(v, memoryview) else v for v in plain])


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Row]:
    result = connection.execute(query, execution_options={"stream_results": True, "yield_per": _AT_ONCE})
    for row in result:
        yield tuple(row)
