"""How the providers stand: followed by every process, and decided by whichever sees it first."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from application.breaker import Breaker, BreakerPolicy, breakdown, judge
from application.errors import Contended, StoreUnavailable
from application.ports import Clock
from application.providers import Providers
from application.surprises import log_surprise
from application.waiting import first
from domain.answer import Answer
from domain.errors import UnreadableEvent
from domain.events import Stamp
from domain.ids import uuid7
from domain.provider import Breakdown, Provider
from domain.provider_state import Circuit, ProviderState

_EVERY = 1.0  # seconds between two looks when nothing wakes us
_GATHER = 0.2  # seconds between two looks however often we are woken

_log = logging.getLogger(__name__)


class KnownStates(Protocol):
    """The read model of the providers."""

    async def all(self) -> Mapping[str, ProviderState]:
        """Those anything was ever said about, by name. Raises StoreUnavailable."""
        ...

    async def wait(self, timeout: float) -> None:
        """Return when a read model has moved, or after `timeout` seconds."""
        ...


class ProviderWatch:
    """Implements the port ProviderStates for the configured providers."""

    def __init__(
        self, names: Iterable[str], known: KnownStates, streams: Providers, policy: BreakerPolicy, clock: Clock
    ) -> None:
        self._states = {name: ProviderState(name) for name in names}
        self._breakers = {name: Breaker(policy) for name in self._states}
        self._worked_at: dict[str, datetime] = {}
        self._recording: set[str] = set()
        self._known = known
        self._streams = streams
        self._policy = policy
        self._clock = clock

    def of(self, provider: str) -> ProviderState:
        """What is returned stays as it is; ask again for what stands then."""
        return self._states.get(provider) or ProviderState(provider)

    def all(self) -> Sequence[ProviderState]:
        """Every configured provider, in the order of the settings."""
        return list(self._states.values())

    async def load(self) -> None:
        """Begin with what the streams themselves say: read models may be behind. Raises StoreUnavailable."""
        try:
            found = await asyncio.gather(*(self._streams.load(name) for name in self._states))
        except UnreadableEvent as error:
            _log.error("How the providers stand is not known in full: %s", error)
            return
        for provider in found:
            self._follow(provider.state)

    async def refresh(self) -> None:
        """Follow what the read model says. Raises StoreUnavailable."""
        for state in (await self._known.all()).values():
            self._follow(state)

    async def run(self, stop: asyncio.Event) -> None:
        """Stay at most about a second behind until `stop` is set. A store outage is waited out."""
        last = ""
        while not stop.is_set():
            last = await self._look(last)
            await first(asyncio.sleep(_GATHER), stop.wait())
            await first(self._known.wait(_EVERY), stop.wait())

    async def observe(self, provider: str, answer: Answer) -> None:
        """A send call was answered. Never raises: an answer that is not learned from is followed by others."""
        now = self._clock()
        if judge(answer) == "works":
            self._worked_at[provider] = now
        match self.of(provider).circuit(now):
            case Circuit.CLOSED:
                if (breaker := self._breakers.get(provider)) and (why := breaker.note(answer, now)):
                    await self.degrade(provider, why)
            case Circuit.HALF_OPEN if judge(answer) == "works":
                await self.recover(provider, "send")
            case Circuit.HALF_OPEN if judge(answer) == "fails":
                await self.degrade(provider, breakdown("probe_failed", answer))

    def worked_since(self, provider: str, moment: datetime) -> bool:
        """Whether this process has sent through it since then."""
        at = self._worked_at.get(provider)
        return at is not None and at >= moment

    async def degrade(self, provider: str, why: Breakdown) -> None:
        """Record that it broke down, unless that changes nothing. Never raises."""
        rest = self._policy.rest
        await self._record(provider, lambda known: known.degrade(why, rest, self._stamp()))

    async def recover(self, provider: str, evidence: Literal["send", "check"]) -> None:
        """Record that it works again, unless that changes nothing. Never raises."""
        await self._record(provider, lambda known: known.recover(evidence, self._stamp()))

    async def _look(self, last: str) -> str:
        """Refresh, each kind of trouble being logged once; returns its kind."""
        try:
            await self.refresh()
            return ""
        except StoreUnavailable:
            if last != "away":
                _log.warning("The store is unavailable; how the providers stand is as last seen.")
            return "away"
        except Exception as error:  # noqa: BLE001 - what was last seen is better than no worker at all
            if last != (kind := type(error).__name__):
                log_surprise(_log, "reading how the providers stand", error)
            return kind

    async def _record(self, name: str, ask: Callable[[Provider], None]) -> None:
        if name in self._recording:
            return  # in an outage many say so at once; whoever is not heard says it again with the next answer
        self._recording.add(name)
        try:
            change = await self._streams.decide(name, ask, known=self.of(name))
            self._follow(change.provider.state)
        except (StoreUnavailable, Contended):
            _log.warning("The store is unavailable; how the provider %s stands was not recorded.", name)
        except Exception as error:  # noqa: BLE001 - what became of the email is recorded, and must not be in doubt
            log_surprise(_log, f"recording how the provider {name} stands", error)
        finally:
            self._recording.discard(name)

    def _follow(self, state: ProviderState) -> None:
        """Never back to an older version: what we recorded ourselves the read model will know a moment later."""
        before = self._states.get(state.name)
        if before is None or state.version <= before.version:
            return
        self._states[state.name] = state
        if state.since != before.since:  # what was counted is from before it broke down, recovered or was resumed
            self._breakers[state.name].forget()
        _tell(before, state)

    def _stamp(self) -> Stamp:
        now: datetime = self._clock()
        return Stamp(now=now, actor="worker", correlation_id=uuid7(now))


def _tell(before: ProviderState, state: ProviderState) -> None:
    """One line for each change an operator should know of. Nobody's words are in it."""
    if state.paused and not before.paused:
        _log.info("The provider %s is paused.", state.name)
    elif before.paused and not state.paused:
        _log.info("The provider %s is in use again.", state.name)
    if state.degraded_until and not before.degraded:
        why = " ".join(filter(None, (state.error_class, state.reason)))
        _log.warning(
            "The provider %s is degraded (%s: %s); nothing goes through it until %s.",
            *(state.name, state.rule, why or "no reason known", f"{state.degraded_until:%Y-%m-%d %H:%M:%S %Z}"),
        )
    elif before.degraded and not state.degraded and not before.paused:
        _log.info("The provider %s is well again.", state.name)
