"""What a read model is: tables, and how events change them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model.

    `tables(suffix)` describes its tables under names that end in `suffix`: `""` for the live ones, something else for
    those that a rebuild fills beside them. `fold` writes what a batch of events means, and relies on seeing every event
    once and in order. Raise `version`, which is part of the tables' names, when either changes.
    """

    name: str
    version: int
    tables: Callable[[str], Tables]
    fold: Callable[[Connection, Tables, Events], None]
    carry: Callable[[Connection, Tables, Tables], None] | None = None  # (live, rebuilt): what no event tells
