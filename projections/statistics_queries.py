"""Questions to the statistics: counts, rates and percentiles, in all, by hour or by day, and by one dimension."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ddsketch import DDSketch
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
)

from projections.statistics import COUNTS, TIMES
from projections.statistics_measures import ACCURACY, BOUNCES, BRIEF, ERROR, OUTCOMES, Dimension, typical
from projections.statistics_measures import TIMES as TIMED
from projections.statistics_windows import Slot, Window

_DAY = timedelta(days=1)
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# What share of what. Of an hour or a day both sides are what happened then, so that a rate may be above 1.
_RATES: Mapping[str, tuple[str, str]] = {
    "delivery": ("delivered", "asked"),
    "bounce": ("bounced", "asked"),
    "complaint": ("complained", "delivered"),
    "open": ("opened", "delivered"),
    "click": ("clicked", "delivered"),
    "unsubscribe": ("unsubscribed", "delivered"),
    "success": ("taken", "concluded"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: by one dimension, of one value of a dimension, or in all."""

    tenant: str | None  # None: all of them together
    window: Window
    by: Dimension | None = None  # with the `limit` that have most
    of: tuple[Dimension, str] | None = None  # with `by` the same dimension: what its values begin with
    limit: int = 20
    times: Sequence[str] = TIMED

    @property
    def dimension(self) -> Dimension:
        return self.by or (self.of[0] if self.of else "all")


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, in seconds: each quantile within `ACCURACY`."""

    count: int
    quantiles: Mapping[str, float]


@dataclass(slots=True)
class Figures:
    """What was counted in one slot, of one value if it was asked by a dimension."""

    slot: Slot
    value: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)  # those that are not zero
    times: Mapping[str, Times] = field(default_factory=dict)

    def __getitem__(self, measure: str) -> int:
        """Also `bounced`, `asked` (taken by a provider, or refused) and `concluded` (attempts)."""
        counts = self.counts
        if measure == "bounced":
            return sum(counts.get(each, 0) for each in BOUNCES)
        if measure == "asked":
            return counts.get("dispatched", 0) + counts.get("refused", 0)
        if measure == "concluded":
            return sum(counts.get(each, 0) for each in OUTCOMES) + sum(self.errors.values())
        return counts.get(measure, 0)

    @property
    def errors(self) -> dict[str, int]:
        """Attempts that failed, by error class."""
        return {name.removeprefix(ERROR): n for name, n in sorted(self.counts.items()) if name.startswith(ERROR)}

    def rate(self, name: str) -> float | None:
        """None where there is nothing to be a part of."""
        part, whole = (self[measure] for measure in _RATES[name])
        return round(part / whole, 4) if whole else None


@dataclass(frozen=True, slots=True)
class Answer:
    """By value (those that have most first), then by time."""

    figures: Sequence[Figures]
    has_more: bool = False  # whether other values were left out


def ask(connection: Connection, question: Question) -> Answer:
    values, has_more = _values(connection, question)
    found = {(v, s.number): Figures(s, v) for v in values for s in question.window.slots}
    counts: defaultdict[tuple[str | None, int], dict[str, int]] = defaultdict(dict)
    for value, slot, measure, total in _sums(connection, COUNTS, question, values):
        counts[value, slot][measure] = total
    for place, figures in found.items():
        figures.counts = counts.get(place, {})
    if question.dimension not in BRIEF:
        _add_times(connection, question, values, found)
    return Answer(list(found.values()), has_more)


def calls(connection: Connection, tenant: str | None, now: datetime) -> Mapping[str, Figures]:
    """How the calls to each provider went in the last 24 hours, by name; there are few providers."""
    window = Window.between(now - _DAY, now + timedelta.resolution, None, UTC)
    found = ask(connection, Question(tenant, window, by="provider", limit=1000, times=("provider_latency",))).figures
    return {figures.value: figures for figures in found if figures.value is not None}


def tenants(connection: Connection) -> list[str]:
    """All that anything was counted of; each is looked up, for a scan would see every row."""
    found: list[str] = []
    query = select(func.min(COUNTS.c.tenant))
    while name := connection.execute(query).scalar():
        found.append(name)
        query = select(func.min(COUNTS.c.tenant)).where(COUNTS.c.tenant > name)
    return found


def sketch(buckets: Iterable[tuple[int, int]]) -> Times:
    """Of (bucket, count) pairs, which may come in any order."""
    merged = DDSketch(ACCURACY)
    for bucket, count in buckets:
        merged.add(typical(bucket), count)
    return Times(int(merged.count), {name: _quantile(merged, quantile) for name, quantile in QUANTILES.items()})


def _quantile(merged: DDSketch, quantile: float) -> float:
    """The shortest time, in seconds, that so many did not exceed. The library counts ranks from 0 to the last one."""
    rank, last = math.ceil(quantile * merged.count) - 1, merged.count - 1
    milliseconds = merged.get_quantile_value(min((rank + 0.5) / last, 1) if last else 0)
    return round((milliseconds or 0) / 1000, 3)


def _add_times(
    connection: Connection,
    question: Question,
    values: Sequence[str | None],
    found: Mapping[tuple[str | None, int], Figures],
) -> None:
    buckets: defaultdict[tuple[str | None, int, str], list[tuple[int, int]]] = defaultdict(list)
    for value, slot, measure, bucket, count in _sums(connection, TIMES, question, values, TIMES.c.bucket):
        buckets[value, slot, measure].append((bucket, count))
    for (value, slot), figures in found.items():
        figures.times = {m: sketch(buckets[value, slot, m]) for m in question.times if (value, slot, m) in buckets}


# -- SQL -------------------------------------------------------------------------------------------------------------


def _mine(connection: Connection, table: Table, question: Question) -> ColumnElement[bool]:
    c, window = table.c, question.window
    whose = [question.tenant] if question.tenant is not None else tenants(connection)
    return c.tenant.in_(whose) & (c.dimension == question.dimension) & (c.hour >= window.first) & (c.hour < window.end)


def _values(connection: Connection, question: Question) -> tuple[list[str | None], bool]:
    """Which values are told of, and whether there are more; None stands for what is not asked by a dimension."""
    if question.by is None:
        return [None], False
    c = COUNTS.c
    most = "attempts" if question.by == "provider" else "recipients"
    rank = func.sum(case((c.measure == most, c.total), else_=0))
    query = select(c.value).where(_mine(connection, COUNTS, question)).group_by(c.value).having(func.sum(c.total) > 0)
    if question.of:
        query = query.where(func.substr(c.value, 1, len(question.of[1])) == question.of[1])
    found = connection.execute(query.order_by(rank.desc(), func.sum(c.total).desc(), c.value).limit(question.limit + 1))
    values: list[str | None] = list(found.scalars())
    return values[: question.limit], len(values) > question.limit


def _sums(
    connection: Connection, table: Table, question: Question, values: Sequence[str | None], *more: ColumnElement[Any]
) -> Iterable[Any]:
    """(value, slot, measure, …, sum), of what is not zero."""
    c = table.c
    which = null().label("which") if question.by is None else c.value.label("which")
    columns = which, _slot(table, question.window).label("slot"), c.measure, *more
    total = cast(func.sum(c.total), BigInteger)
    query = select(*columns, total).where(_mine(connection, table, question)).having(func.sum(c.total) > 0)
    if table is TIMES:
        query = query.where(c.measure.in_(question.times))
    if question.by is not None:
        query = query.where(c.value.in_(values))
    elif question.of is not None:
        query = query.where(c.value == question.of[1])
    return connection.execute(query.group_by(literal_column("which"), literal_column("slot"), c.measure, *more))


def _slot(table: Table, window: Window) -> ColumnElement[Any]:
    hour = table.c.hour
    if window.per is None:
        return literal_column("0")
    if window.per == "hour":
        return hour
    *others, (last, _) = window.shifts
    days = [(hour < end, (hour + shift) // 24) for shift, end in others]
    return case(*days, else_=(hour + last) // 24) if days else (hour + last) // 24
