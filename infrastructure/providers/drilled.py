"""Any provider, with the faults of a drill in front of it: an operator's rehearsal of an outage."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from application.ports import Clock, EmailProvider, OutgoingMessage, ProviderStates
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.drill import REASON, is_hit

_BACK_IN = timedelta(seconds=30)  # what a 429 says
_SLOW = 5.0  # seconds; a patient client waits for longer
_LOST = f"{REASON}timeout"

_FAULTS: Mapping[str, Answer] = {
    "5xx": Answer(error_class=ErrorClass.TRANSIENT, reason=f"{REASON}5xx"),
    "429": Answer(error_class=ErrorClass.RATE_LIMITED, reason=f"{REASON}429", retry_after=_BACK_IN),
    "reset": Answer(error_class=ErrorClass.TRANSIENT, reason=f"{REASON}reset"),
    "timeout": Answer(error_class=ErrorClass.UNKNOWN, reason=_LOST),
}


class Drilled:
    """An EmailProvider that does what `provider` does, but for the calls that a drill hits.

    Which ones these are hangs on the attempt alone, so that whoever asks gets the same answer. A call that is hit does
    not reach the provider, or in a `slow` drill reaches it late.
    """

    def __init__(
        self,
        provider: EmailProvider,
        states: ProviderStates,
        clock: Clock,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = provider.name
        self.separate = provider.separate
        self._provider = provider
        self._states = states
        self._clock = clock
        self._wait = wait

    async def send(self, message: OutgoingMessage) -> Answer:
        state = self._states.of(self.name)
        fault = state.drill(self._clock())
        hit = fault is not None and is_hit(message.attempt.token, message.attempt.attempt, state.drill_rate)
        if fault is None or not hit or _spared(message, fault):
            return await self._provider.send(message)
        if fault == "slow":
            await self._wait(_SLOW)
            return await self._provider.send(message)
        return _FAULTS[fault]

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        """Where a drill lost the answer nothing was sent, and nobody knows that better than we do."""
        return Answer() if message.doubt == _LOST else await self._provider.look_up(message)

    async def check(self) -> str | None:
        return await self._provider.check()

    async def close(self) -> None:
        await self._provider.close()


def _spared(message: OutgoingMessage, fault: str) -> bool:
    """An email that may go out once at most would wait for an operator, drill or not."""
    return fault == "timeout" and message.email.policy.in_doubt == "at_most_once"
