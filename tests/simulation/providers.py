"""Providers whose every trouble is scripted, and the book of what they were asked and what they took."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from application.ports import OutgoingMessage
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import EmailDeliveryStarted, ProviderMessage
from tests.simulation.workers import current, gate

THROTTLED_FOR = timedelta(seconds=30)
OVER_QUOTA_FOR = timedelta(hours=1)


@dataclass(slots=True)
class Call:
    """One request that reached a provider."""

    provider: str
    email_id: UUID
    attempt: int
    mode: str
    began: float
    at: datetime
    worker_was_suspended: float = 0.0
    ended: float | None = None
    taken: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Mode:
    """How a provider behaves: whom it takes, and what it says."""

    takes: float  # the share of recipients
    answer: Answer | None  # None: the truth
    seconds: tuple[float, float] = (0.02, 0.5)


_LOST = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
MODES: Mapping[str, Mode] = {
    "well": Mode(1, None),
    "slow": Mode(1, None, (5, 150)),
    "down": Mode(0, Answer(error_class=ErrorClass.TRANSIENT, reason="unreachable")),
    "throttling": Mode(
        *(0, Answer(error_class=ErrorClass.RATE_LIMITED, retry_after=THROTTLED_FOR, pause=THROTTLED_FOR))
    ),
    "over_quota": Mode(0, Answer(error_class=ErrorClass.QUOTA, retry_after=OVER_QUOTA_FOR)),
    "misconfigured": Mode(0, Answer(error_class=ErrorClass.CONFIG, reason="bad_key")),
    "refusing": Mode(0, Answer(error_class=ErrorClass.PERMANENT, reason="rejected", about_message=True)),
    "forgetful": Mode(1, _LOST),  # the mail was taken, the answer is lost
    "deaf": Mode(0, _LOST, (1, 90)),  # it was not
    "buggy": Mode(1, None),  # our adapter stumbles over its answer
    "halfway": Mode(0.5, None),
}


class SimulatedProvider:
    """Implements EmailProvider."""

    separate = False

    def __init__(self, name: str, chance: Random, time: Callable[[], float], clock: Callable[[], datetime]) -> None:
        self.name = name
        self.mode = "well"
        self.evidence = True
        self.calls: list[Call] = []
        self.look_ups = 0
        self.recorded: Callable[[EmailDeliveryStarted], bool] = lambda started: True
        self.unrecorded: list[Call] = []
        self._chance, self._time, self._clock = chance, time, clock

    async def send(self, message: OutgoingMessage) -> Answer:
        await gate()
        call, mode = self._arrived(message), MODES[self.mode]
        seconds = self._chance.uniform(*mode.seconds)
        try:
            await asyncio.sleep(seconds / 2)
            call.taken = {r.id for r in message.recipients if self._chance.random() < mode.takes}
            await asyncio.sleep(seconds / 2)
        finally:
            call.ended = self._time()
        await gate()
        if call.mode == "buggy":
            raise ValueError("an answer nobody expected")
        return mode.answer or self._truth(call, message)

    def _arrived(self, message: OutgoingMessage) -> Call:
        worker = current()
        call = Call(
            *(self.name, message.email.originator_id, message.attempt.attempt, self.mode, self._time(), self._clock()),
            worker.suspended if worker else 0.0,
        )
        self.calls.append(call)
        if not self.recorded(message.attempt):
            self.unrecorded.append(call)
        return call

    def _truth(self, call: Call, message: OutgoingMessage) -> Answer:
        messages = tuple(
            ProviderMessage(recipient_id=r.id, message_id=f"{self.name}-{call.attempt}-{r.id}")
            for r in message.recipients
            if r.id in call.taken
        )
        rest = tuple(r.id for r in message.recipients if r.id not in call.taken)
        return Answer(messages=messages, put_off=rest, error_class=ErrorClass.TRANSIENT if rest else None)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        await gate()
        self.look_ups += 1
        await asyncio.sleep(0.05)
        if not self.evidence:
            return None
        email_id, attempt = message.email.originator_id, message.attempt.attempt
        taken = {id for call in self.calls if (call.email_id, call.attempt) == (email_id, attempt) for id in call.taken}
        messages = [
            ProviderMessage(recipient_id=r.id, message_id=f"{self.name}-{attempt}-{r.id}")
            for r in message.recipients
            if r.id in taken
        ]
        return Answer(messages=tuple(messages))

    async def check(self) -> str | None:
        return None if self.mode in ("well", "slow", "halfway") else "it is not well"

    async def close(self) -> None:
        pass
