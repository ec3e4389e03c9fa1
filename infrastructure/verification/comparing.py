"""What differs between a read model and its copy, told by row, column and stream."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Connection, LargeBinary, Table, Text, func, select

from infrastructure.verification.copies import Copy
from infrastructure.verification.differences import Pair, Row, different_rows, different_rows_of, different_sums
from infrastructure.verification.reader import LogReader
from infrastructure.verification.report import Difference, Kind, Values, Verdict
from projections.columns import Id
from projections.projection import stream_column

_MAYBE_PERSONAL = (Text, LargeBinary, JSON)  # types of columns; names of ours, and of what we count, are Strings


class Comparing:
    """Of one read model, at the position where it and its copy have met."""

    def __init__(self, connection: Connection, log: LogReader, copy: Copy, shown: int) -> None:
        self._connection = connection
        self._log = log
        self._copy = copy
        self._shown = shown
        self._begun: dict[int, UUID | None] = {}  # streams by the position of their first event
        projection = copy.subject.projection
        self.verdict = Verdict(projection.name, projection.version, copy.position)
        self.verdict.parked, self.verdict.unfolded = dict(copy.parked), dict(copy.unfolded)

    def table(self, is_: Table, should_be: Table, only: Mapping[UUID, int] | None) -> None:
        """Compare a table, or what `only` some streams have in it (with where each begins)."""
        column = stream_column(is_)
        if column is None:
            self._sums(is_, should_be, only)
            return
        self.verdict.rows += self._connection.execute(select(func.count()).select_from(should_be)).scalar_one()
        if only is None:
            pairs = different_rows(self._connection, is_, should_be)
        else:
            places: Iterable[Any] = only if isinstance(is_.c[column].type, Id) else only.values()
            pairs = different_rows_of(self._connection, is_, should_be, places)
        for pair in pairs:
            self._row(is_, column, pair)

    def _sums(self, is_: Table, should_be: Table, only: Mapping[UUID, int] | None) -> None:
        if only is not None or self._copy.unfolded:
            self.verdict.left_out += (is_.name,)
            return
        *keys, last = is_.columns.keys()
        for key, now, then in different_sums(self._connection, is_, should_be):
            named = dict(zip(keys, key, strict=True))
            both: tuple[Values, Values] = ({**named, last: now}, {**named, last: then})
            self._tell(Difference(is_.name, "sum", None, (last,), _impersonal(is_, named), *both))

    def _row(self, table: Table, column: str, pair: Pair) -> None:
        places = pair.values(column)
        streams = [(place, self._stream(table, column, place)) for place in places]
        known = [id for _, id in streams if id is not None]
        if any(id in self._copy.parked or id in self._copy.unfolded for id in known):
            return
        first = streams[0][1]
        self._tell(_difference(table, first, pair), known, [place for place, id in streams if id is None])

    def _tell(self, found: Difference, streams: Sequence[UUID] = (), strays: Sequence[Any] = ()) -> None:
        self.verdict.add(found, streams, strays, self._shown)

    def _stream(self, table: Table, column: str, place: Any) -> UUID | None:
        if isinstance(table.c[column].type, Id):
            return place if isinstance(place, UUID) else None
        if not isinstance(place, int):
            return None
        if place not in self._begun and not self.verdict.too_many:
            self._begun[place] = self._log.begun([place])[0]
        return self._begun.get(place)


def _difference(table: Table, stream_id: UUID | None, pair: Pair) -> Difference:
    row: Row | None = pair.should_be or pair.is_
    values = dict(zip(pair.names, row or (), strict=True))
    key = {name: values[name] for name in [column.name for column in table.primary_key] or pair.names}
    kind: Kind = "different" if pair.is_ and pair.should_be else "missing" if pair.should_be else "extra"
    columns = pair.columns
    wanted = columns or tuple(pair.names)
    sides = [
        {name: value for name, value in zip(pair.names, side or (), strict=False) if name in wanted}
        for side in (pair.is_, pair.should_be)
    ]
    return Difference(table.name, kind, stream_id, columns, _impersonal(table, key), *sides)


def _impersonal(table: Table, values: Values) -> Values:
    return {name: value for name, value in values.items() if not isinstance(table.c[name].type, _MAYBE_PERSONAL)}
