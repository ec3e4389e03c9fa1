"""Quiet hours follow the clocks on the wall: over midnight, and when these are put forward or back."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.quiet_hours import QuietHours

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")


def hours(start: str, end: str, timezone: str = "Europe/Berlin") -> QuietHours:
    return QuietHours.model_validate({"from": start, "to": end, "timezone": timezone})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("quiet", "now", "end"),
    [
        (hours("22:00", "07:00"), "2026-03-01T20:59:59", None),
        (hours("22:00", "07:00"), "2026-03-01T21:00", "2026-03-02T06:00"),
        (hours("22:00", "07:00"), "2026-03-02T05:59:59", "2026-03-02T06:00"),
        (hours("22:00", "07:00"), "2026-03-02T06:00", None),
        (hours("12:00", "13:00"), "2026-03-01T11:30", "2026-03-01T12:00"),
        (hours("12:00", "13:00"), "2026-03-01T12:00", None),
        # Germany, 29 March 2026: the clocks go from 02:00 to 03:00 at 01:00 UTC
        (hours("22:00", "07:00"), "2026-03-28T23:00", "2026-03-29T05:00"),
        (hours("22:00", "02:30"), "2026-03-28T23:00", "2026-03-29T01:00"),
        (hours("02:30", "07:00"), "2026-03-29T00:59", None),
        (hours("02:30", "07:00"), "2026-03-29T01:00", "2026-03-29T05:00"),
        (hours("02:10", "02:50"), "2026-03-29T01:00", None),
        # Germany, 25 October 2026: the clocks go from 03:00 back to 02:00 at 01:00 UTC
        (hours("22:00", "07:00"), "2026-10-24T22:00", "2026-10-25T06:00"),
        (hours("22:00", "02:30"), "2026-10-25T00:45", "2026-10-25T01:30"),
        (hours("02:30", "07:00"), "2026-10-25T00:30", "2026-10-25T06:00"),
        (hours("02:30", "02:15"), "2026-10-24T12:00", "2026-10-26T01:15"),
    ],
)
def test_quiet_hours(quiet: QuietHours, now: str, end: str | None) -> None:
    assert quiet.until(at(now)) == (at(end) if end else None)


first, last = datetime(2024, 1, 1), datetime(2028, 1, 1)  # noqa: DTZ001 (Hypothesis wants naive bounds)
moments = st.datetimes(first, last, timezones=st.just(UTC))
transitions = st.builds(
    lambda day, minutes: at(day) + timedelta(minutes=minutes),
    st.sampled_from(["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04"]),
    st.integers(-1440, 1440),
)
minutes = st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59]))


@given(
    now=st.one_of(moments, transitions),
    span=st.lists(minutes, min_size=2, max_size=2, unique=True),
    zone=st.sampled_from(ZONES),
)
def test_it_is_quiet_exactly_while_the_clocks_show_such_a_time(now: datetime, span: list[time], zone: str) -> None:
    start, to = span
    end = QuietHours.model_validate({"from": start, "to": to, "timezone": zone}).until(now)
    wall = now.astimezone(ZoneInfo(zone))
    if wall.utcoffset() == wall.replace(fold=1 - wall.fold).utcoffset():  # not in an hour that comes twice
        assert (end is not None) == _between(start, wall.time(), to)


@given(
    now=st.one_of(moments, transitions),
    span=st.lists(minutes, min_size=2, max_size=2, unique=True),
    zone=st.sampled_from(ZONES),
)
def test_when_they_are_over_they_are_over(now: datetime, span: list[time], zone: str) -> None:
    quiet = QuietHours.model_validate({"from": span[0], "to": span[1], "timezone": zone})
    end = quiet.until(now)
    if end is None:
        return
    assert end > now
    assert quiet.until(end) is None
    assert quiet.until(end - timedelta(seconds=1)) == end, "until then it is quiet without a break"
    wall = end.astimezone(ZoneInfo(zone))
    jumped = (end - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).utcoffset() != wall.utcoffset()
    assert wall.time() == span[1] or jumped


def _between(start: time, at: time, end: time) -> bool:
    return start <= at < end if start < end else at >= start or at < end
