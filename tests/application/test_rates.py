"""The sliding window: exact for every stretch of a period's length, and never a dead end."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.limits import parse_rate, written
from application.ports import Rate
from application.rates import PARTS, Spent
from tests.samples import NOW

PERIODS = st.sampled_from([timedelta(seconds=1), timedelta(seconds=7), timedelta(minutes=1), timedelta(days=1)])
RATES = st.builds(Rate, st.integers(1, 30), PERIODS)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Rate, list[tuple[datetime, int]]]:
    """A rate, and who asks for how much when, in order."""
    rate = draw(RATES)
    gaps = st.one_of(st.integers(0, 20), st.integers(0, 2_500_000), st.just(999_999), st.just(1_000_000))
    asked, now = [], NOW + draw(st.integers(0, 10**6)) * rate.period / 10**6
    for millionths, amount in draw(st.lists(st.tuples(gaps, st.integers(1, rate.count)), max_size=60)):
        now += millionths * rate.period / 10**6
        asked.append((now, amount))
    return rate, asked


@given(wishes())
@settings(max_examples=300)
def test_no_stretch_of_a_periods_length_ever_holds_more_than_the_count(
    asked: tuple[Rate, list[tuple[datetime, int]]],
) -> None:
    rate, wanted = asked
    spent, taken = Spent(), list[tuple[datetime, int]]()
    for now, amount in wanted:
        if spent.opens(rate, amount, now) is None:
            spent = spent.plus(rate.period, amount, now)
            taken.append((now, amount))
    for begin, _ in taken:
        assert sum(n for at, n in taken if begin <= at < begin + rate.period) <= rate.count


@given(wishes(), st.integers(1, 30))
def test_a_refusal_names_the_very_moment_from_which_asking_succeeds(
    asked: tuple[Rate, list[tuple[datetime, int]]], amount: int
) -> None:
    rate, wanted = asked
    amount = min(amount, rate.count)
    spent, now = Spent(), NOW
    for now, more in wanted:
        if spent.opens(rate, more, now) is None:
            spent = spent.plus(rate.period, more, now)
    opens = spent.opens(rate, amount, now)
    if opens is not None:
        assert now < opens <= now + rate.period * (PARTS + 1) / PARTS
        assert spent.opens(rate, amount, opens) is None
        assert spent.opens(rate, amount, opens - timedelta(microseconds=1)) is not None


@given(RATES)
def test_a_rate_that_is_always_wanted_is_used_to_95_percent(rate: Rate) -> None:
    spent, now, taken = Spent(), NOW, 0
    while now < NOW + 10 * rate.period:
        if opens := spent.opens(rate, 1, now):
            now = opens
        else:
            spent, taken = spent.plus(rate.period, 1, now), taken + 1
    assert taken >= int(10 * PARTS / (PARTS + 1)) * rate.count


def test_a_clock_that_is_behind_counts_for_the_window_of_the_one_that_is_ahead() -> None:
    rate, ahead = Rate(2, timedelta(seconds=1)), NOW + timedelta(seconds=30)
    spent = Spent().plus(rate.period, 1, ahead).plus(rate.period, 1, NOW)
    for now in (NOW, ahead):
        opens = spent.opens(rate, 1, now)
        assert opens is not None
        assert opens > ahead + rate.period


def test_a_clock_that_was_hours_ahead_leaves_nobody_waiting_for_hours() -> None:
    rate = Rate(2, timedelta(seconds=1))
    spent = Spent().plus(rate.period, 2, NOW + timedelta(hours=5))
    opens = spent.opens(rate, 1, NOW)
    assert opens is not None
    assert opens <= NOW + 2 * rate.period


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("14/second", Rate(14, timedelta(seconds=1))),
        ("50000/day", Rate(50_000, timedelta(days=1))),
        ("100/15m", Rate(100, timedelta(minutes=15))),
        (" 1 / hour ", Rate(1, timedelta(hours=1))),
        ("3/90s", Rate(3, timedelta(seconds=90))),
    ],
)
def test_a_rate_is_read_as_it_is_written(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(written(rate)) == rate


@pytest.mark.parametrize("text", ["", "14", "14/fortnight", "0/second", "-1/second", "5/0s", "1/32d", "1.5/second"])
def test_what_is_no_rate_is_refused_in_so_many_words(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_rate(text)
