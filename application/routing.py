"""Chooses the providers of an attempt, in order, and says why: decisions as pure functions over routes.

The first route that an email fits is its route. Its providers are tried by priority (the lowest number first), within
one priority by weight, always in the same order for the same email.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from application.routes import DEFAULT, Route, RouteProvider
from domain.draft import Draft
from domain.email import Email
from domain.events import EmailDeliveryDeferred, EmailQueued
from domain.provider_state import Circuit, ProviderState

_PAUSED = timedelta(minutes=5)  # nobody knows when a paused provider will be resumed; until then we look now and again


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider that may be asked now."""

    provider: str
    reason: str  # for people, and for ever: it is recorded with the attempt
    concessions: tuple[str, ...] = ()
    probe: bool = False  # it was degraded: only one email at a time may find out whether it still is
    priority: int = 1  # in its route


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with an email that is due: ask the first of `choices` that has room, or wait.

    `until` is when another provider, or with no choices any, is worth another look; None when never. `own` says that
    this is the email's own affair: other emails of the route may find more choices. `rule` names a rule of the route
    that forbids sending now, which is worth recording on the email: `quiet_hours`. `wait` is the reason to record
    where the email waits of its own for long.
    """

    route: str
    choices: tuple[Choice, ...]
    until: datetime | None = None
    own: bool = False
    rule: str | None = None
    wait: str = "no_provider"


@dataclass(slots=True)
class _Look:
    """What was found out about the candidates of an email, one after another."""

    choices: list[Choice] = field(default_factory=list)
    later: list[datetime] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    own: bool = False

    @property
    def soonest(self) -> datetime | None:
        return min(self.later, default=None)


State = Callable[[str], ProviderState]


class Router:
    """Plans an email's next attempt from its route, its history, and how the providers stand."""

    def __init__(self, routes: Sequence[Route], configured: Collection[str] | None = None) -> None:
        """The last route should have no conditions: it takes what fits none. `configured` are all providers."""
        self._routes = routes
        named = {provider.name for route in routes for provider in route.providers}
        self._configured = named if configured is None else frozenset(configured)

    def route(self, tenant: str, mail: Draft | EmailQueued) -> Route:
        """The route of such an email, by what it was when it was accepted."""
        return next((route for route in self._routes if route.fits(tenant, mail)), self._routes[-1])

    def plan(self, email: Email, state: State, now: datetime) -> Plan:
        """The providers to ask now, in order, and when to look again."""
        route = self.route(email.tenant, email.queued)
        look = self._look(route, email, state, now)
        quiet = _quiet_until(route, email, now)
        if quiet and (look.choices or look.later):
            return Plan(route.name, (), quiet, rule="quiet_hours")
        wait = "no_provider"
        if self._is_chosen(email):
            look.own = look.own or any(provider.name != email.chosen for provider in route.providers)
            wait = "chosen_provider_paused" if state(email.chosen or "").paused else wait
        return Plan(route.name, tuple(look.choices), look.soonest, look.own, wait=wait)

    def elsewhere(self, email: Email, provider: str, state: State, now: datetime) -> datetime | None:
        """When a provider other than this one is worth asking: `now`, later, or None when there is none."""
        route = self.route(email.tenant, email.queued)
        look = self._look(route, email, state, now, without=provider)
        soonest = now if look.choices else look.soonest
        return soonest and max(soonest, _quiet_until(route, email, now) or soonest)

    def _look(self, route: Route, email: Email, state: State, now: datetime, without: str | None = None) -> _Look:
        look = _Look()
        last = _latest(email)
        candidates = self._candidates(route, email, last)
        for provider in candidates:
            if provider.name != without:
                reason = self._reason(route, provider, email, last)
                _consider(provider, email, state(provider.name), now, look, reason)
        return look

    def _candidates(self, route: Route, email: Email, last: str | None) -> Sequence[RouteProvider]:
        if self._is_chosen(email):
            here = [provider for provider in route.providers if provider.name == email.chosen]
            return here or [RouteProvider(name=email.chosen or "")]
        return sorted(route.providers, key=lambda each: (each.priority, each.name != last, lot(email.id, each)))

    def _is_chosen(self, email: Email) -> bool:
        return email.chosen is not None and email.chosen in self._configured

    def _reason(self, route: Route, provider: RouteProvider, email: Email, last: str | None) -> str:
        """Why this one, as far as the route and the email's history say."""
        if self._is_chosen(email):
            return "chosen by an operator"
        gone = f"; {email.chosen}, chosen by an operator, is not configured any more" if email.chosen else ""
        return f"{_by_route(route, provider, email, last)}{gone}"


def lot(email_id: UUID, provider: RouteProvider) -> float:
    """The lowest goes first: weighted rendezvous hashing, by which each provider is first as often as it weighs.

    The same email always draws the same lot for a provider, whatever others there are: a new one takes its share from
    each of them and moves no other email.
    """
    drawn = blake2b(email_id.bytes + provider.name.encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(drawn, "big") + 1) / (2**64 + 1)) / provider.weight


def clock(at: datetime, now: datetime) -> str:
    """A time as reasons have it, in UTC; of another day than `now` with its date."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S} UTC" if at.date() == now.astimezone(UTC).date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _consider(
    provider: RouteProvider, email: Email, known: ProviderState, now: datetime, look: _Look, reason: str
) -> None:
    """Whether this provider is a choice, or why and until when it is not."""
    name, circuit = provider.name, known.circuit(now)
    not_before = email.not_before.get(name, now)
    exhausted = email.attempts_with(name) >= email.queued.policy.max_attempts
    if not exhausted and not_before <= now and circuit is not Circuit.OPEN:
        look.choices.append(_choice(provider, reason, circuit, look))
        return
    look.left_out.append(_why_not(name, email, known, now, exhausted=exhausted))
    look.own = look.own or circuit is not Circuit.OPEN
    if not exhausted:
        look.later.append(max(not_before, _reopens(known, now)))


def _choice(provider: RouteProvider, reason: str, circuit: Circuit, look: _Look) -> Choice:
    probe = circuit is Circuit.HALF_OPEN
    because = f", because {' and '.join(look.left_out)}" if look.left_out else ""
    said = f"{reason}; a probe: {provider.name} was degraded" if probe else reason
    given_up = provider.concessions.words if provider.concessions else ()
    return Choice(provider.name, f"{said}{because}", given_up, probe, provider.priority)


def _reopens(known: ProviderState, now: datetime) -> datetime:
    if known.paused:
        return now + _PAUSED
    return max(known.degraded_until or now, now)


def _why_not(name: str, email: Email, known: ProviderState, now: datetime, *, exhausted: bool) -> str:
    if exhausted:
        return f"{name} has had all its attempts ({email.attempts_with(name)})"
    if known.paused:
        return f"{name} is paused"
    if known.circuit(now) is Circuit.OPEN and known.degraded_until:
        return f"{name} is degraded until {clock(known.degraded_until, now)}"
    failures = (event for event in reversed(email.history) if isinstance(event, EmailDeliveryDeferred))
    failed = next(event for event in failures if event.provider == name)
    return f"{name} failed at {clock(failed.occurred_at, now)} ({failed.error_class})"


def _by_route(route: Route, provider: RouteProvider, email: Email, last: str | None) -> str:
    peers = [each for each in route.providers if each.priority == provider.priority]
    prefix = f"route {route.name}: "
    if len(route.providers) == 1:
        return "the only provider" if route.name == DEFAULT else f"{prefix}the only provider"
    if len(peers) == 1:
        return f"{prefix}{provider.name} (priority {provider.priority})"
    if provider.name == last:
        return f"{prefix}{provider.name}, as in attempt {email.standing.attempt}"
    return f"{prefix}{provider.weight} of {sum(each.weight for each in peers)} by weight"


def _latest(email: Email) -> str | None:
    """The provider of the latest attempt since the email was last requeued."""
    number = email.standing.attempt
    return email.attempts[number].provider if number > email.attempts_before else None


def _quiet_until(route: Route, email: Email, now: datetime) -> datetime | None:
    hours = route.quiet_hours
    return hours.until(now) if hours and email.priority in hours.priorities else None
