"""How the service is doing, in numbers: for alerts and for metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

MOST = 10_000  # nothing is counted further: this many means this many or more


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A read model, or a follower of the ledger."""

    name: str
    lag: int  # positions it is behind the ledger
    held: bool = False  # it cannot go on by itself
    parked: int = 0  # streams it could not follow
    lag_seconds: float = 0.0  # how old the first event is that it has not folded


@dataclass(frozen=True, slots=True)
class Signs:
    """One look at the whole service. Counts stop at MOST."""

    queue: Mapping[str, int]  # by priority: due, and not begun by anybody
    queue_oldest: timedelta  # for how long the oldest of these has been due
    scheduled: int  # due later: scheduled by the client, or to be tried again
    unconfirmed: int
    unconfirmed_oldest: timedelta
    parked: int  # of the unconfirmed, those that wait for an operator
    dead_letters: int  # that stand now
    dead_letters_lately: int  # that ended undelivered within the window
    read_models: Sequence[ReadModel]
    unchained: int = 0  # positions that the audit chain is behind the ledger


class Vitals(Protocol):
    """The numbers of the moment, or of a few seconds ago. Raises StoreUnavailable."""

    async def read(self) -> Signs: ...
