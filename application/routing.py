"""Chooses the providers of an attempt, in order, and says why: routes as data, decisions as pure functions.

A route is for the emails that fit its conditions; the first that fits is an email's route. Its providers are tried by
priority (the lowest number first), within one priority by weight, always in the same order for the same email.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from application.concessions import Concessions
from domain.email import Email
from domain.provider_state import Circuit, ProviderState

_DATA = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_UNKNOWN = timedelta(seconds=1)  # nobody knows when a paused provider will be resumed


class RouteProvider(BaseModel):
    """One provider of a route."""

    model_config = _DATA

    name: str
    weight: int = Field(default=1, ge=1, le=1000, description="Its share among those of the same priority.")
    priority: int = Field(default=1, ge=1, le=100, description="Lower numbers are tried first.")
    concessions: Concessions | None = Field(default=None, description="What it gives up of a message.")


class Route(BaseModel):
    """Which emails go through which providers."""

    model_config = _DATA

    name: str = "default"
    providers: tuple[RouteProvider, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider that may be asked now."""

    provider: str
    reason: str  # for people, and for ever: it is recorded with the attempt
    concessions: tuple[str, ...] = ()
    probe: bool = False  # it was degraded: only one email at a time may find out whether it still is


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with an email that is due: ask the first of `choices` that has room, or wait.

    `until` is when another provider, or with no choices any, is worth another look; None when never. `own` says that
    this is the email's own affair: other emails of the route may find more choices. `rule` names a rule of the route
    that forbids sending now, which is worth recording on the email: `quiet_hours`.
    """

    route: str
    choices: tuple[Choice, ...]
    until: datetime | None = None
    own: bool = False
    rule: str | None = None


@dataclass(slots=True)
class _Look:
    """What was found out about the providers of a route, one after another."""

    choices: list[Choice]
    later: list[datetime]
    own: bool = False


State = Callable[[str], ProviderState]


class Router:
    """Plans an email's next attempt from its route, its history, and how the providers stand."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """The last route should have no conditions: an email that fits none has no provider."""
        self._routes = routes

    def plan(self, email: Email, state: State, now: datetime) -> Plan:
        """The providers to ask now, in order, and when to look again."""
        route = self._routes[0]
        look = _Look([], [])
        for provider in self._order(route, email):
            self._consider(provider, email, state, now, look)
        return Plan(route.name, tuple(look.choices), min(look.later, default=None), look.own)

    def elsewhere(self, email: Email, provider: str, state: State, now: datetime) -> datetime | None:
        """When a provider other than this one is worth asking: `now`, later, or None when there is none."""
        plan = self.plan(email, state, now)
        look = _Look([], [])
        for other in self._order(self._routes[0], email):
            if other.name != provider:
                self._consider(other, email, state, now, look)
        return now if plan and look.choices else min(look.later, default=None)

    def _order(self, route: Route, email: Email) -> Sequence[RouteProvider]:
        return sorted(route.providers, key=lambda provider: provider.priority)

    def _consider(self, provider: RouteProvider, email: Email, state: State, now: datetime, look: _Look) -> None:
        if email.attempts_with(provider.name) >= email.queued.policy.max_attempts:
            look.own = True
            return
        known = state(provider.name)
        circuit = known.circuit(now)
        if circuit is Circuit.OPEN:
            look.later.append(known.degraded_until or now + _UNKNOWN)
            return
        not_before = email.not_before.get(provider.name)
        if not_before is not None and not_before > now:
            look.later.append(not_before)
            look.own = True
            return
        given_up = provider.concessions.words if provider.concessions else ()
        look.choices.append(Choice(provider.name, "configured", given_up, probe=circuit is Circuit.HALF_OPEN))
