"""The suppression list: who must not be sent to, asked of the log itself, and what operators decide about it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from application.commands import Caller
from application.errors import Contended, StreamConflict, SuppressionNotFound
from application.fields import ONE_LINE, Address
from application.ports import Clock, Ledger
from domain.address import address_key
from domain.events import Event, Stamp
from domain.suppression import EVERYTHING, Entry, Suppression

_TRIES = 8

Scope = Annotated[
    str,
    StringConstraints(pattern=r"^(\*|[A-Za-z0-9_-]+)$", max_length=256),
    Field(description="`*` for all mail, or the name of a mail stream."),
]
Rule = Literal["hard_bounce", "complaint", "unsubscribe", "provider_list", "manual"]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000), ONE_LINE]


class Suppress(BaseModel):
    """Put an address on the list by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: Address
    scope: Scope = EVERYTHING
    reason: Annotated[Reason, Field(repr=False, description="Why, for whoever looks at the entry later.")]


class Unsuppress(BaseModel):
    """Take an address off the list, for one scope or for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Scope | None = None
    reason: Annotated[Reason, Field(repr=False)]


@dataclass(frozen=True, slots=True)
class Addition:
    """An entry that is to stand."""

    address: str = field(repr=False)
    scope: str
    rule: str
    source: str
    reason: str = field(default="", repr=False)


class Change(NamedTuple):
    """What came of a decision: the list as it stands, what was recorded, and the position to read up to."""

    suppression: Suppression
    recorded: Sequence[Event]
    position: int


class Suppressions:
    """Implements the port SuppressionList. Answers are true at the moment they are given: no read model is asked."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def rules(self, tenant: str, stream: str, addresses: Sequence[str]) -> Mapping[str, str]:
        """Of these addresses, those that no mail of this stream may go to, each with the rule that says so."""
        found = await asyncio.gather(*(self._load(tenant, address) for address in addresses))
        rules = {suppression.address: suppression.rule_for(stream) for suppression, _ in found}
        return {address: rule for address, rule in rules.items() if rule is not None}

    async def entries(self, tenant: str, address: str) -> list[Entry]:
        """What stands for this address, that for all mail first."""
        suppression, _ = await self._load(tenant, address)
        return sorted(suppression.entries, key=lambda entry: entry.scope != EVERYTHING)

    async def add(self, command: Suppress, caller: Caller) -> tuple[Entry, int]:
        """The entry that stands now, be it this one or an older one, and the position to read up to."""
        stamp = caller.stamp(self._clock())
        wish = Addition(command.email.address, command.scope, "manual", caller.actor, command.reason)
        change = await self.decide(caller.tenant, wish.address, lambda suppression: _add(suppression, [wish], stamp))
        return change.suppression.active[command.scope][0], change.position

    async def add_all(self, wishes: Iterable[Addition], caller: Caller, *, rehearse: bool = False) -> tuple[int, int]:
        """How many of these were not standing yet, and the position to read up to. A rehearsal records nothing."""
        stamp, by_person = caller.stamp(self._clock()), dict[str, list[Addition]]()
        for wish in wishes:
            by_person.setdefault(address_key(wish.address), []).append(wish)

        def ask(wished: list[Addition]) -> Callable[[Suppression], None]:
            return lambda suppression: _add(suppression, wished, stamp)

        changes = await asyncio.gather(
            *(
                self.decide(caller.tenant, wished[0].address, ask(wished), rehearse=rehearse)
                for wished in by_person.values()
            )
        )
        added = sum(len(change.recorded) for change in changes)
        return added, max((change.position for change in changes), default=0)

    async def remove(self, address: str, scope: str | None, reason: str, caller: Caller) -> tuple[list[Entry], int]:
        """Take back what stands for the scope (None: for any). Raises SuppressionNotFound when nothing does."""
        stamp, gone = caller.stamp(self._clock()), list[Entry]()

        def ask(suppression: Suppression) -> None:
            gone[:] = suppression.remove(scope, "manual", caller.actor, stamp, reason=reason)

        change = await self.decide(caller.tenant, address, ask)
        if not gone:
            raise SuppressionNotFound
        return gone, change.position

    async def decide(
        self, tenant: str, address: str, ask: Callable[[Suppression], None], *, rehearse: bool = False
    ) -> Change:
        """Let `ask` record events and commit them; it is asked again when somebody else wrote in between.

        Raises what `ask` raises, Contended, StoreUnavailable.
        """
        for _ in range(_TRIES):
            suppression, position = await self._load(tenant, address)
            ask(suppression)
            events = suppression.collect_events()
            if not events or rehearse:
                return Change(suppression, events, position)
            try:
                return Change(suppression, events, await self._ledger.append(events))
            except StreamConflict:
                await asyncio.sleep(0)
        raise Contended("Too many writers changed what stands for this address at once. Try again.")

    async def _load(self, tenant: str, address: str) -> tuple[Suppression, int]:
        suppression = Suppression(tenant, address)
        history = await self._ledger.load(suppression.id)
        for recorded in history:
            suppression.apply(recorded.event)
        return suppression, history[-1].position if history else 0


def _add(suppression: Suppression, wishes: Iterable[Addition], stamp: Stamp) -> None:
    for wish in wishes:
        suppression.add(wish.scope, wish.rule, wish.source, stamp, reason=wish.reason)
