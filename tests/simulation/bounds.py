"""What is never exceeded: limits, and what goes into a provider that is known to be down.

These are told from calls as providers saw them, so they hold to the moment only in a world without upheavals: a worker
that was held up between its permission and its call is nobody's to bind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from application.limits import TenantLimits
from application.ports import Rate
from domain import events as e
from domain import provider_events as p
from tests.simulation.providers import Call
from tests.simulation.setting import LIMITS

if TYPE_CHECKING:
    from tests.simulation.world import World

_ON_THE_WAY = 2.0  # seconds from a permission to the call; and until everybody has heard of an event


def check_bounds(world: "World") -> None:
    for name, provider in world.providers.items():
        _limits_of(name, provider.calls)
        for opening in _openings(world, name):
            _stays_out(name, provider.calls, opening)
    _quotas(world)


def _limits_of(name: str, calls: Sequence[Call]) -> None:
    limits = LIMITS.providers[name]
    for rate in limits.rate:
        _keeps(f"the rate of {name}", [(call.began, 1) for call in calls], rate)
    if limits.concurrency:
        for call in calls:
            at_once = sum(other.began <= call.began < (other.ended or 1e12) for other in calls)
            assert at_once <= limits.concurrency, f"{at_once} calls to {name} at once"


def _keeps(what: str, taken: Sequence[tuple[float, int]], rate: Rate) -> None:
    """Never more than the rate in any stretch of its period, but for what was on the way."""
    period = rate.period.total_seconds() - _ON_THE_WAY
    for began, _ in taken:
        count = sum(amount for at, amount in taken if began <= at < began + period)
        assert count <= rate.count, f"{what}: {count} in {period} s from {began}"


def _quotas(world: "World") -> None:
    firsts: list[tuple[float, int]] = []
    slow: list[tuple[float, int]] = []
    for at, event in zip(world.ledger.when, (r.event for r in world.ledger.log()), strict=True):
        if isinstance(event, e.EmailDeliveryStarted):
            story = world.laws.stories[event.originator_id]
            if story.queued.recipients[0].address.endswith("@slow.example"):
                slow.append((at, len(event.recipients)))
            if event.tenant == "initech" and event.attempt in story.firsts:
                firsts.append((at, 1))
    tenant: TenantLimits = LIMITS.tenants["initech"]
    _keeps("the quota of initech", firsts, tenant.rate[0])
    _keeps("the limit of slow.example", slow, LIMITS.domains["slow.example"].rate[0])


@dataclass(slots=True)
class _Opening:
    """A provider was degraded from `began` until `ended`, probes allowed from `half` on; by the world's own time."""

    began: float
    half: float
    ended: float = 1e12


def _openings(world: "World", name: str) -> Iterator[_Opening]:
    opening: _Opening | None = None
    for at, event in zip(world.ledger.when, (r.event for r in world.ledger.log()), strict=True):
        if not isinstance(event, p.ProviderEvent) or event.provider != name:
            continue
        if opening and isinstance(event, p.ProviderDegraded | p.ProviderRecovered | p.ProviderResumed):
            opening.ended = at
            yield opening
            opening = None
        if isinstance(event, p.ProviderDegraded):
            rest: timedelta = event.until - event.occurred_at
            opening = _Opening(at, at + rest.total_seconds())
    if opening:
        yield opening


def _stays_out(name: str, calls: Sequence[Call], opening: _Opening) -> None:
    """Nothing goes into an open circuit, and one call at a time through one that is half open."""
    for call in calls:
        if opening.began + _ON_THE_WAY < call.began < min(opening.half - 0.1, opening.ended):
            raise AssertionError(f"{name} was called at {call.began}, open since {opening.began} until {opening.half}")
    probes = [call for call in calls if opening.half <= call.began < opening.ended]
    for probe in probes:
        others = [
            other for other in probes if other is not probe and other.began <= probe.began < (other.ended or 1e12)
        ]
        assert not others, f"{name} had more than one probe at a time from {probe.began}"
