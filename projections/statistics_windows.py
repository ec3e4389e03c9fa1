"""Spans of time cut into hours, or into the days of a time zone: everything is counted by the hour of UTC.

An hour belongs to the day in which it begins. Where clocks differ from UTC by half an hour, or a quarter, that is not
quite where the day there begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import groupby
from typing import Literal

from projections.statistics_measures import hour_of, start_of

Per = Literal["hour", "day"]
LONGEST: dict[Per, timedelta] = {"hour": timedelta(days=31), "day": timedelta(days=400)}

_HOUR = timedelta(hours=1)


class TooLong(ValueError):
    """More time than can be shown piece by piece."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of a window: hours since 1970, and the number that all hours of it have."""

    number: int
    first: int
    end: int

    @property
    def since(self) -> datetime:
        return start_of(self.first)

    @property
    def until(self) -> datetime:
        return start_of(self.end)


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours, or whole days up to a last one that may be going on."""

    first: int
    end: int
    per: Per | None
    slots: Sequence[Slot]
    shifts: Sequence[tuple[int, int]]  # by how many hours days are shifted, and up to before which hour

    @classmethod
    def between(cls, since: datetime, until: datetime, per: Per | None, zone: tzinfo) -> "Window":
        """What holds all from `since` to before `until`. Raises TooLong, ValueError."""
        if since >= until:
            raise ValueError("must be before the end")
        if per and until - since > LONGEST[per]:
            raise TooLong(f"is more than {LONGEST[per].days} days before the end, which is too long to show by {per}")
        first, end = hour_of(since), hour_of(until - timedelta(microseconds=1)) + 1
        if per is None:
            return cls(first, end, per, (Slot(0, first, end),), ())
        if per == "hour":
            return cls(first, end, per, [Slot(hour, hour, hour + 1) for hour in range(first, end)], ())
        while _day(first - 1, zone) == _day(first, zone):
            first -= 1
        days = groupby(range(first, end), lambda hour: _day(hour, zone))
        slots = [Slot(day, hours[0], hours[-1] + 1) for day, hours in ((day, list(some)) for day, some in days)]
        return cls(first, end, per, slots, list(_shifts(first, end, zone)))


def _shift(hour: int, zone: tzinfo) -> int:
    """By how many whole hours the clocks are ahead of UTC."""
    return (start_of(hour).astimezone(zone).utcoffset() or timedelta(0)) // _HOUR


def _day(hour: int, zone: tzinfo) -> int:
    return (hour + _shift(hour, zone)) // 24


def _shifts(first: int, end: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
    for shift, some in groupby(range(first, end), lambda hour: _shift(hour, zone)):
        yield shift, list(some)[-1] + 1
