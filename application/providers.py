"""What is decided about providers, recorded in each one's own stream."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from application.errors import Contended, StreamConflict
from application.ports import Ledger
from domain.events import Event
from domain.provider import Provider
from domain.provider_state import ProviderState

_TRIES = 8


class Change(NamedTuple):
    """What came of a decision: how the provider stands, what was recorded, and the position to read up to."""

    provider: Provider
    recorded: Sequence[Event]
    position: int


class Providers:
    """Loads and changes the streams of providers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def load(self, name: str) -> Provider:
        """How it stands by its stream, to the last event. Raises StoreUnavailable."""
        return (await self._load(name))[0]

    async def decide(self, name: str, ask: Callable[[Provider], None], *, known: ProviderState | None = None) -> Change:
        """Let `ask` record events and commit them; it is asked again when somebody else wrote in between.

        `known` spares reading the stream for the first try. Raises what `ask` raises, Contended, StoreUnavailable.
        """
        for tried in range(_TRIES):
            provider, position = (Provider.standing(known), 0) if known and not tried else await self._load(name)
            ask(provider)
            events = provider.collect_events()
            if not events:
                return Change(provider, events, position)
            try:
                return Change(provider, events, await self._ledger.append(events))
            except StreamConflict:
                await asyncio.sleep(0)
        raise Contended("Too many writers changed this provider at once. Try again.")

    async def _load(self, name: str) -> tuple[Provider, int]:
        history = await self._ledger.load(Provider(name).id)
        provider = Provider.of(name, (recorded.event for recorded in history))
        return provider, history[-1].position if history else 0
