"""Finds out from a provider's answers that it fails too often. Pure: time comes in as an argument.

It counts what one process sees of one provider. What follows from that is an event of the provider's stream, and so
the same for all processes (docs/adr/0014).
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.provider import Breakdown, Rest, Rule

Verdict = Literal["works", "fails"]
_FAILURES = frozenset({ErrorClass.TRANSIENT, ErrorClass.CONFIG, ErrorClass.QUOTA, ErrorClass.UNKNOWN})
_SLICES = 60  # that the window is cut into: what is counted leaves it a slice at a time


def judge(answer: Answer) -> Verdict | None:
    """What an answer says about the provider that gave it; None: nothing.

    A message it refuses is an answer of a provider that works. That it wants to be asked less often is for the limits.
    """
    if answer.messages:
        return "works"
    if answer.about_message or answer.error_class in (ErrorClass.RATE_LIMITED, ErrorClass.HELD):
        return None
    return "fails" if answer.error_class in _FAILURES else "works"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a provider is taken for degraded, and how long it is left alone then."""

    failures: int  # in a row
    rate: float  # the share of failures in (0, 1], of at least `calls` in the last `window`
    calls: int
    window: timedelta
    rest: Rest


@dataclass(slots=True)
class _Slice:
    """What was counted from `begin` on."""

    begin: datetime
    calls: int = 0
    failures: int = 0


class Breaker:
    """The recent answers of one provider, as this process saw them. However many they are, it stays small."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._slices: deque[_Slice] = deque()
        self._in_a_row = 0
        self._row_began: datetime | None = None

    def note(self, answer: Answer, now: datetime) -> Breakdown | None:
        """Count an answer. Returns why the provider is to be taken for degraded, if it is."""
        verdict = judge(answer)
        if verdict is None:
            return None
        self._count(verdict, now)
        if verdict == "works":
            self._in_a_row, self._row_began = 0, None
            return None
        self._in_a_row += 1
        self._row_began = self._row_began or now
        return self._breakdown(answer, now)

    def forget(self) -> None:
        """Begin anew: the provider broke down, or recovered."""
        self._slices.clear()
        self._in_a_row, self._row_began = 0, None

    def _count(self, verdict: Verdict, now: datetime) -> None:
        self._prune(now)
        if not self._slices or now - self._slices[-1].begin >= self._policy.window / _SLICES:
            self._slices.append(_Slice(now))
        self._slices[-1].calls += 1
        self._slices[-1].failures += verdict == "fails"

    def _prune(self, now: datetime) -> None:
        """What is too old, or, when the clock was set back, not yet."""
        while self._slices and not now - self._policy.window < self._slices[0].begin <= now:
            self._slices.popleft()

    def _breakdown(self, answer: Answer, now: datetime) -> Breakdown | None:
        policy = self._policy
        if self._in_a_row >= policy.failures and self._row_began:
            row = max(0.0, (now - self._row_began).total_seconds())
            return breakdown("consecutive_failures", answer, self._in_a_row, self._in_a_row, row)
        calls, failures = (sum(getattr(each, name) for each in self._slices) for name in ("calls", "failures"))
        if calls >= policy.calls and failures >= policy.rate * calls:
            return breakdown("error_rate", answer, failures, calls, policy.window.total_seconds())
        return None


def breakdown(rule: Rule, answer: Answer, failures: int = 1, calls: int = 1, window: float = 0.0) -> Breakdown:
    """Of `calls` in `window` seconds so many failed, the last one with this answer."""
    last = (answer.error_class, answer.reason, answer.words, answer.retry_after)
    return Breakdown(rule, failures, calls, window, *last)
