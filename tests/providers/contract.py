"""What the contract suite needs of a provider under test: something to act out what its real counterpart might do."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from application.ports import EmailProvider
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction


class Behaviour(StrEnum):
    """What the other side does with the next call."""

    ACCEPT = "accept"
    SUPPRESS = "suppress"
    PERMANENT = "permanent"
    RATE_LIMIT = "rate_limit"  # with a hint of RETRY_AFTER seconds, where it can give one
    QUOTA = "quota"
    TRANSIENT = "transient"
    CONFIG = "config"
    CONFLICT = "conflict"
    MALFORMED = "malformed"  # says yes, but not in a way one can rely on
    GARBAGE = "garbage"  # not even the protocol
    SLOW = "slow"  # answers well within the timeout
    SILENCE = "silence"  # takes the whole request and never answers
    RESET_EARLY = "reset_early"  # before the request was taken whole
    RESET_LATE = "reset_late"  # after the request was taken whole
    RESET_IN_ANSWER = "reset_in_answer"
    UNREACHABLE = "unreachable"  # nobody listens


RETRY_AFTER = 7  # seconds


class Rig(Protocol):
    """A provider, and control over what it meets. Timeouts are about half a second."""

    provider: EmailProvider

    def will(self, behaviour: Behaviour) -> bool:
        """What happens to the next call; later ones are accepted. False: this provider has no such behaviour."""
        ...

    @property
    def taken(self) -> int:
        """How many messages the other side has taken whole."""
        ...

    @property
    def received(self) -> list[bytes]:
        """What it was sent, in order: the bodies of requests, or mail as it came over the wire."""
        ...


RigMaker = type[AbstractAsyncContextManager[Rig]]

_BROKEN: Mapping[Behaviour, Broken] = {
    Behaviour.GARBAGE: Broken.GARBAGE,
    Behaviour.SILENCE: Broken.SILENCE,
    Behaviour.RESET_EARLY: Broken.RESET_IN_BODY,
    Behaviour.RESET_LATE: Broken.RESET_AFTER_REQUEST,
    Behaviour.RESET_IN_ANSWER: Broken.RESET_IN_ANSWER,
}


@dataclass
class HttpRig:
    """A rig for an HTTP API. `says` holds the answers by behaviour; ACCEPT must be among them."""

    provider: EmailProvider
    stub: HttpStub
    says: Mapping[Behaviour, Reaction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stub.default = self.says[Behaviour.ACCEPT]

    def will(self, behaviour: Behaviour) -> bool:
        if behaviour is Behaviour.SLOW:
            accept = self.says[Behaviour.ACCEPT]
            assert isinstance(accept, Answered)
            self.stub.answers.append(Answered(accept.status, accept.headers, accept.body, delay=0.2))
            return True
        if behaviour is Behaviour.UNREACHABLE:
            self.stub._server.close()
            return True
        reaction = self.says.get(behaviour) or _BROKEN.get(behaviour)
        if reaction is not None:
            self.stub.answers.append(reaction)
        return reaction is not None

    @property
    def taken(self) -> int:
        return len(self.stub.requests)

    @property
    def received(self) -> list[bytes]:
        return [request.body for request in self.stub.requests]


@asynccontextmanager
async def closing(rig: HttpRig) -> AsyncIterator[Rig]:
    try:
        yield rig
    finally:
        await rig.provider.close()
