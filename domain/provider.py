"""The Provider aggregate: how one configured provider is doing, and what operators decide about it.

No I/O, no clock, no chance. Every method records an event only when that changes something, so that any number of
processes may say the same thing at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from domain import provider_events as p
from domain.delivery import ErrorClass
from domain.events import Event, Stamp
from domain.ids import provider_id
from domain.provider_state import Circuit, ProviderState
from domain.recording import bookkeeping

_LONGEST_HINT = timedelta(days=1)
Rule = Literal["consecutive_failures", "error_rate", "probe_failed", "health_check"]


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a degraded provider is left alone: `first`, twice that after the next opening, up to `longest`."""

    first: timedelta
    longest: timedelta

    def after(self, openings: int) -> timedelta:
        """`openings` counts from 1."""
        return min(self.first * (1 << min(openings - 1, 20)), self.longest)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Why a provider is taken for degraded: the rule, what it counted, and the last failure."""

    rule: Rule
    failures: int
    calls: int
    window: float  # seconds
    error_class: ErrorClass | None = None
    reason: str | None = None
    words: str = field(default="", repr=False)
    retry_after: timedelta | None = None  # the provider's own hint, which wins when it is longer, within reason

    @property
    def cause(self) -> p.Cause:
        return "check" if self.rule == "health_check" else "sends"


class Provider:
    """One provider's stream. A provider that has none is well."""

    def __init__(self, name: str) -> None:
        self.id = provider_id(name)
        self.name = name
        self.state = ProviderState(name)
        self._pending: list[Event] = []

    @classmethod
    def standing(cls, state: ProviderState) -> "Provider":
        """One of which no more is known than how it stands. The state given stays as it is."""
        provider = cls(state.name)
        provider.state = replace(state)
        return provider

    @classmethod
    def of(cls, name: str, history: Iterable[Event]) -> "Provider":
        """Rebuild from the stream's events, in order."""
        provider = cls(name)
        for event in history:
            provider.apply(event)
        return provider

    def collect_events(self) -> list[Event]:
        """The events recorded since the last call, to be appended in one commit."""
        pending, self._pending = self._pending, []
        return pending

    def apply(self, event: Event) -> None:
        """Follow one event."""
        if isinstance(event, p.ProviderEvent):
            self.state.apply(event)

    def degrade(self, why: Breakdown, rest: Rest, stamp: Stamp) -> None:
        """Nothing goes through it for a while.

        It may break down while it is well, or under the eyes of a probe. A failing check says nothing new of a
        provider whose sends fail: only sending tells when that is over.
        """
        circuit = self.state.circuit(stamp.now)
        if circuit is Circuit.OPEN or (why.cause == "check" and self.state.cause == "sends"):
            return
        if circuit is Circuit.CLOSED and why.rule == "probe_failed":
            return  # somebody else's probe came through meanwhile
        openings = self.state.openings + 1
        until = stamp.now + max(rest.after(openings), min(why.retry_after or timedelta(0), _LONGEST_HINT))
        self._record(
            p.ProviderDegraded,
            stamp,
            cause=why.cause,
            rule=why.rule,
            failures=why.failures,
            calls=why.calls,
            window=why.window,
            error_class=why.error_class,
            reason=why.reason,
            words=why.words,
            openings=openings,
            until=until,
        )

    def recover(self, evidence: Literal["send", "check"], stamp: Stamp) -> None:
        """It works again.

        A send proves it once probes may go; one that began before the provider broke down proves nothing. A check
        proves that what the checks found is over, and no more.
        """
        if self.state.paused or not self.state.degraded:
            return
        proven = self.state.cause == "check" if evidence == "check" else self._half_open(stamp)
        if proven:
            self._record(p.ProviderRecovered, stamp, evidence=evidence)

    def pause(self, reason: str, stamp: Stamp) -> None:
        """Take it out of use until it is resumed."""
        if not self.state.paused:
            self._record(p.ProviderPaused, stamp, reason=reason)

    def resume(self, reason: str, stamp: Stamp) -> None:
        """Take it into use again, whether it was paused or degraded."""
        if self.state.paused or self.state.degraded:
            self._record(p.ProviderResumed, stamp, reason=reason)

    def start_drill(self, fault: p.Fault, rate: float, until: datetime, stamp: Stamp) -> None:
        """Have a share `rate` of the calls fail in this way. A drill that runs is replaced."""
        running = (self.state.drill(stamp.now), self.state.drill_rate, self.state.drill_until)
        if running != (fault, rate, until):
            self._record(p.ProviderDrillStarted, stamp, fault=fault, rate=rate, until=until)

    def end_drill(self, stamp: Stamp) -> None:
        """End a drill before its time."""
        if self.state.drill(stamp.now):
            self._record(p.ProviderDrillEnded, stamp)

    def _half_open(self, stamp: Stamp) -> bool:
        return self.state.circuit(stamp.now) is Circuit.HALF_OPEN

    def _record(self, cls: type[p.ProviderEvent], stamp: Stamp, **fields: Any) -> None:
        known = bookkeeping(self.id, self.state.version + 1, p.EVERYBODY, stamp)
        event = cls(**known, provider=self.name, **fields)
        self.apply(event)
        self._pending.append(event)
