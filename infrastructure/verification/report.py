"""What a verification found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

Kind = Literal["missing", "extra", "different", "sum"]
Values = Mapping[str, Any]

_MOST = 10_000  # streams that are kept in mind; where more are wrong, a rebuild is the better remedy


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what the log says. Its values may be personal, and are for those who ask for them."""

    table: str
    kind: Kind  # there is no such row; there should be none; it says something else; its sum is wrong
    stream_id: UUID | None  # None: a sum, or no stream that there is
    columns: tuple[str, ...] = ()  # that differ
    key: Values = field(default_factory=dict)  # what of it cannot be personal; of a table without one: of the row
    is_: Values = field(default_factory=dict, repr=False)  # of `columns`, or of all when one side is missing
    should_be: Values = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Verdict:
    """About one read model."""

    name: str
    version: int
    position: int  # at which it was compared
    rows: int = 0  # that there should be
    counts: Counter[tuple[str, Kind]] = field(default_factory=Counter)  # of differences, by table
    differences: list[Difference] = field(default_factory=list)  # the first of them
    wrong: dict[UUID, set[str]] = field(default_factory=dict)  # streams, and the tables in which they differ
    strays: dict[str, set[Any]] = field(default_factory=dict)  # by table: what names no stream that there is
    parked: Mapping[UUID, int] = field(default_factory=dict)  # left out: it does not follow them from there on
    unfolded: Mapping[UUID, str] = field(default_factory=dict)  # left out: they cannot be folded now, and why
    left_out: tuple[str, ...] = ()  # tables of sums that could not be compared

    @property
    def right(self) -> bool:
        return not self.counts and not self.unfolded

    @property
    def too_many(self) -> bool:
        """Whether more streams differ than are named."""
        return len(self.wrong) >= _MOST

    def add(self, found: Difference, streams: Sequence[UUID], strays: Sequence[Any], shown: int) -> None:
        """`streams` are those that the row is about; `strays` what it says in their place that names none."""
        self.counts[found.table, found.kind] += 1
        if len(self.differences) < shown:
            self.differences.append(found)
        if self.too_many:
            return
        for id in streams:
            self.wrong.setdefault(id, set()).add(found.table)
        if strays:
            self.strays.setdefault(found.table, set()).update(strays)


@dataclass(frozen=True, slots=True)
class Report:
    """About all read models that were verified."""

    verdicts: Sequence[Verdict]
    streams: int | None = None  # that were picked; None: all
    seed: int | None = None  # by which they were

    @property
    def right(self) -> bool:
        return all(verdict.right for verdict in self.verdicts)
