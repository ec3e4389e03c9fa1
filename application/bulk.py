"""One decision about many emails: each for itself, and all of them in a few commits."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from application.commands import Receipt
from application.errors import Contended, EmailNotFound
from domain.errors import NotAllowedInThisState


@dataclass(frozen=True, slots=True)
class Skipped:
    """An email that was left as it is."""

    id: UUID
    why: str


@dataclass(slots=True)
class Tally:
    """What came of it so far."""

    done: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    position: int = 0  # to read up to

    def add(self, other: "Tally") -> None:
        self.done += other.done
        self.skipped += other.skipped
        self.position = max(self.position, other.position)


async def change_all(changes: Iterable[tuple[UUID, Awaitable[Receipt]]]) -> Tally:
    """Wait for all; what an email's state forbids is skipped. Raises what else goes wrong, once all are done."""
    some = list(changes)
    outcomes: Sequence[Receipt | BaseException] = await asyncio.gather(*(c for _, c in some), return_exceptions=True)
    tally = Tally()
    for (id, _), outcome in zip(some, outcomes, strict=True):
        if isinstance(outcome, Receipt):
            tally.done += 1
            tally.position = max(tally.position, outcome.position)
        elif isinstance(outcome, (NotAllowedInThisState, EmailNotFound, Contended)):
            tally.skipped.append(Skipped(id, str(outcome)))
        else:
            raise outcome
    return tally
