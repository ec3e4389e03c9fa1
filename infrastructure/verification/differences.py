"""Which rows of two tables differ: found in SQL, whole tables at a time, and read one by one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal_column, select, union_all

from projections.projection import stream_column, told

Row = tuple[Any, ...]

_AT_ONCE = 500  # streams named in one statement; and rows fetched


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
    yield from _pairs(connection, is_, _unequal(is_, should_be))


def different_rows_of(connection: Connection, is_: Table, should_be: Table, places: Iterable[Any]) -> Iterator[Pair]:
    """As above, of the rows whose stream column is one of `places`."""
    column, left = str(stream_column(is_)), sorted(places)
    for start in range(0, len(left), _AT_ONCE):
        some = left[start : start + _AT_ONCE]
        query = _unequal(is_, should_be, lambda table, some=some: table.c[column].in_(some))
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


def _unequal(is_: Table, should_be: Table, condition: Any = None) -> Select[Any]:
    """Rows that one side has more often than the other: the values, and by how much. Equal is equal, NULLs too."""
    names = told(is_)
    sides = union_all(*(_side(table, names, sign, condition) for table, sign in ((is_, "1"), (should_be, "-1"))))
    both = sides.subquery()
    columns, more = [both.c[name] for name in names], func.sum(both.c["_side"])
    order = [both.c[column.name] for column in is_.primary_key] or columns
    return select(*columns, more).group_by(*columns).having(more != 0).order_by(*order)


def _side(table: Table, names: Sequence[str], sign: str, condition: Any) -> Select[Any]:
    side: ColumnElement[int] = literal_column(sign)
    query = select(*(table.c[name] for name in names), side.label("_side"))
    return query if condition is None else query.where(condition(table))


def _pairs(connection: Connection, table: Table, query: Select[Any]) -> Iterator[Pair]:
    """Neighbours with the same primary key are the same row."""
    names = told(table)
    places = [names.index(column.name) for column in table.primary_key]
    if not places:
        for *row, more in _stream(connection, query):
            pair = Pair(names, tuple(row), None) if more > 0 else Pair(names, None, tuple(row))
            yield from (pair for _ in range(abs(int(more))))
        return
    for _, some in groupby(_stream(connection, query), key=lambda row: [row[place] for place in places]):
        found = {row[-1] > 0: tuple(row[:-1]) for row in some}
        yield Pair(names, found.get(True), found.get(False))


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Row]:
    result = connection.execute(query, execution_options={"stream_results": True, "yield_per": _AT_ONCE})
    for row in result:
        yield tuple(row)
