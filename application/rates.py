"""How much of a rate is used up: counts of small windows, exact and pure.

A period is cut into PARTS windows, and what is taken counts for the window it is taken in. A window is forgotten only
once all of it lies a period back, so PARTS + 1 windows are remembered, and they never hold more than the rate's count.

Bound: in no stretch of a period's length, wherever it begins, is more taken than the rate's count. For such a stretch
touches at most PARTS + 1 windows, one after another, and at the last taking in it all of these were remembered. The
price is that a rate that is always wanted is used to PARTS in PARTS + 1 only, at worst: 95 %.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from application.ports import Rate

PARTS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SKEW = timedelta(minutes=1)  # how far apart the clocks of two machines may be; a clock beyond that was wrong


@dataclass(frozen=True, slots=True)
class Spent:
    """What was taken lately from rates of one period. `counts` ends with the window number `last`."""

    last: int = 0
    counts: tuple[int, ...] = ()

    def opens(self, rate: Rate, amount: int, now: datetime) -> datetime | None:
        """None when there is room for so much now; else when there will be, should nobody else take any.

        More than the rate's count never has room.
        """
        spent = self._at(rate.period, now)
        missing = sum(spent.counts) + amount - rate.count
        if missing <= 0:
            return None
        for number, count in enumerate(spent.counts, spent.last + 1 - len(spent.counts)):
            missing -= count
            if missing <= 0:
                return _begin(rate.period, number + PARTS + 1)
        return now + rate.period

    def plus(self, period: timedelta, amount: int, now: datetime) -> "Spent":
        """After so much was taken."""
        spent = self._at(period, now)
        return Spent(spent.last, (*spent.counts[:-1], spent.counts[-1] + amount))

    def forgotten_at(self, period: timedelta) -> datetime:
        """From then on it is as if nothing had ever been taken."""
        return _begin(period, self.last + PARTS + 1)

    def _at(self, period: timedelta, now: datetime) -> "Spent":
        """With the window of `now` as its last; with an earlier `now`, of a clock that is behind, as it is."""
        window = _window(period)
        number = (now - _EPOCH) // window
        if not self.counts:
            return Spent(number, (0,))
        if self.last - number > max(PARTS, _SKEW // window):
            return Spent(number, self.counts)  # somebody's clock was far ahead, and nobody is to wait for that time
        passed = max(0, number - self.last)
        counts = (*self.counts, *[0] * min(passed, PARTS + 1))
        return Spent(self.last + passed, counts[-PARTS - 1 :])


def _window(period: timedelta) -> timedelta:
    return -(-period // PARTS)  # rounded up, to the microsecond: PARTS of them are never shorter than the period


def _begin(period: timedelta, number: int) -> datetime:
    return _EPOCH + number * _window(period)
