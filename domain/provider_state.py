"""How a provider stands: one fold of its stream's events, for the aggregate, the read model and the router."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain import provider_events as p
from domain.delivery import ErrorClass


class Circuit(StrEnum):
    """Whether anything may go through a provider."""

    CLOSED = "closed"  # all is well
    OPEN = "open"  # nothing goes through
    HALF_OPEN = "half_open"  # one email at a time, as a probe


@dataclass(slots=True)
class ProviderState:
    """One provider. A provider nobody ever said anything about is well."""

    name: str
    version: int = 0  # of its stream
    since: datetime | None = None  # the latest change, drills aside
    paused: bool = False
    cause: str | None = None  # `sends` or `check`, while it is degraded
    rule: str | None = None  # by which it was taken for degraded, while it is
    reason: str | None = None  # of the last failure, likewise
    error_class: ErrorClass | None = None  # of the last failure before it was degraded, while it is
    degraded_until: datetime | None = None
    openings: int = 0  # in a row
    drill_fault: str | None = None
    drill_rate: float = 0.0
    drill_until: datetime | None = None

    @classmethod
    def of(cls, values: Iterable[Any]) -> "ProviderState":
        """From all its fields in order, as a table gives them."""
        state = cls(*values)
        state.error_class = ErrorClass(state.error_class) if state.error_class else None
        return state

    @property
    def degraded(self) -> bool:
        return self.degraded_until is not None

    def circuit(self, now: datetime) -> Circuit:
        """What may go through at `now`."""
        if self.paused:
            return Circuit.OPEN
        if self.degraded_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.degraded_until else Circuit.HALF_OPEN

    def word(self, now: datetime) -> str:
        """How it stands, in one word: `paused`, or the circuit's."""
        return "paused" if self.paused else self.circuit(now).value

    def drill(self, now: datetime) -> str | None:
        """The fault that is injected at `now`, if one is."""
        return self.drill_fault if self.drill_until is not None and now < self.drill_until else None

    def apply(self, event: p.ProviderEvent) -> None:
        """Follow one more event."""
        self.version = event.originator_version
        if follow := _FOLLOW.get(type(event)):
            follow(self, event)
        if follow not in (_drilled, _drill_ended):
            self.since = event.occurred_at


def _degraded(state: ProviderState, event: p.ProviderDegraded) -> None:
    state.cause, state.degraded_until, state.openings = event.cause, event.until, event.openings
    state.rule, state.reason, state.error_class = event.rule, event.reason, event.error_class


def _recovered(state: ProviderState, event: p.ProviderRecovered | p.ProviderResumed) -> None:
    state.cause, state.degraded_until, state.openings = None, None, 0
    state.rule, state.reason, state.error_class = None, None, None


def _paused(state: ProviderState, event: p.ProviderPaused) -> None:
    state.paused = True


def _resumed(state: ProviderState, event: p.ProviderResumed) -> None:
    state.paused = False
    _recovered(state, event)  # the operator says that it works


def _drilled(state: ProviderState, event: p.ProviderDrillStarted) -> None:
    state.drill_fault, state.drill_rate, state.drill_until = event.fault, event.rate, event.until


def _drill_ended(state: ProviderState, event: p.ProviderDrillEnded) -> None:
    state.drill_fault, state.drill_rate, state.drill_until = None, 0.0, None


_FOLLOW: Mapping[type[p.ProviderEvent], Callable[[ProviderState, Any], None]] = {
    p.ProviderDegraded: _degraded,
    p.ProviderRecovered: _recovered,
    p.ProviderPaused: _paused,
    p.ProviderResumed: _resumed,
    p.ProviderDrillStarted: _drilled,
    p.ProviderDrillEnded: _drill_ended,
}
