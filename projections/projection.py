"""What a read model is: tables, and how events change them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, Table

from domain.events import Event


class Placed(Protocol):
    """An event with its place in the global order."""

    @property
    def position(self) -> int: ...

    @property
    def event(self) -> Event: ...


Events = Sequence[Placed]
Tables = tuple[Table, ...]

# What a table says of itself as `info`. The first kind, `of_stream(COLUMN)`, has rows that are each about one stream;
# the column holds the stream's id or, when it is a BigInteger, the position of its first event. The second kind has
# counters that any stream adds to: the last column is a sum, the others are the key. There is no third kind, so that
# parts of the streams can be folded side by side, and what one stream made of a read model can be folded again.
SUMS: dict[Any, Any] = {"sums": True}
UNTOLD: dict[Any, Any] = {"untold": True}  # `info` of a column that no event tells


_E = TypeVar("_E", bound=Event)


def of_kinds(events: Events, kinds: Iterable[type[_E]]) -> list[tuple[int, _E]]:
    """Position and event of those that are of exactly these kinds."""
    wanted = frozenset[type[Event]](kinds)
    return [(placed.position, cast(_E, placed.event)) for placed in events if type(placed.event) in wanted]


def of_stream(column: str) -> dict[Any, Any]:
    """The `info` of a table whose rows are each about the stream named by that column."""
    return {"stream": column}


def stream_column(table: Table) -> str | None:
    """Which column names the stream; None for a table of sums."""
    found: str | None = table.info.get("stream")
    return found


def told(table: Table) -> list[str]:
    """The columns that events alone determine."""
    return [column.name for column in table.columns if not column.info.get("untold")]


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model.

    `tables(suffix)` describes its tables under names that end in `suffix`: `""` for the live ones, something else for
    those that a rebuild fills beside them; each says by `of_stream` or `SUMS` what its rows are. `fold` writes what a
    batch of events means, and relies on seeing every event of a stream once and in order; events of several streams may
    come in any order. Raise `version`, which is part of the tables' names, when either changes.
    """

    name: str
    version: int
    tables: Callable[[str], Tables]
    fold: Callable[[Connection, Tables, Events], None]
    carry: Callable[[Connection, Tables, Tables], None] | None = None  # (live, rebuilt): what no event tells
