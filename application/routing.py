"""Chooses the provider of an attempt, and says why."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.email import Email


@dataclass(frozen=True, slots=True)
class Route:
    provider: str
    reason: str


class Router:
    """The first configured provider takes everything."""

    def __init__(self, providers: Sequence[str]) -> None:
        only = len(providers) == 1
        self._route = Route(providers[0], "the only provider" if only else "first of the configured providers")

    def choose(self, email: Email) -> Route:
        return self._route
