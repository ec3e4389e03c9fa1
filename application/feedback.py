"""Records what providers told us: finds the email each statement is about, and lets it hear all of them at once."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from application.deciding import decide
from application.errors import Contended, EmailNotFound
from application.ports import Clock, Ledger
from domain.email import Email
from domain.events import Stamp
from domain.feedback import Feedback, Kind
from domain.hearing import moment_of

# What is not about a delivery, and so about no email.
_ELSEWHERE = frozenset({Kind.SUPPRESSION_ADDED, Kind.PROVIDER_ACCOUNT})
_MAY_BE_NOBODYS = frozenset({Kind.IGNORED})


class SentMessages(Protocol):
    """Which email a provider means when it names a message by its own id."""

    async def emails(self, provider: str, message_ids: Collection[str]) -> Mapping[str, UUID]:
        """The email of each id that is known."""
        ...


class ProviderLists(Protocol):
    """Hears of changes to a provider's own suppression list."""

    async def changed(self, said: Feedback, provider: str, tenant: str | None, raw: UUID, at: datetime) -> None:
        """An address was put on the list, or taken off it, at that time. `tenant` None: it is not known through which.

        Telling it again, with the same `raw`, changes nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What one delivery of a provider says; `raw` is its place in the inbox."""

    provider: str
    raw: UUID
    received_at: datetime
    said: Sequence[Feedback]


@dataclass(slots=True)
class Outcome:
    """What came of one delivery."""

    recorded: int = 0  # events
    unmatched: list[Feedback] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Statement:
    told: Told
    said: Feedback
    outcome: Outcome


class RecordFeedback:
    """Translated deliveries in, events on the emails' streams out. Doing it again changes nothing."""

    def __init__(self, ledger: Ledger, sent: SentMessages, lists: ProviderLists, clock: Clock) -> None:
        self._ledger = ledger
        self._sent = sent
        self._lists = lists
        self._clock = clock

    async def __call__(self, deliveries: Sequence[Told]) -> list[Outcome]:
        """One outcome for each delivery. Raises StoreUnavailable; what was recorded by then stands."""
        outcomes = [Outcome() for _ in deliveries]
        statements = [
            _Statement(told, said, outcome)
            for told, outcome in zip(deliveries, outcomes, strict=True)
            for said in _once(told.said)
        ]
        by_email: dict[UUID, list[_Statement]] = defaultdict(list)
        named = await self._named(statements)
        for statement in statements:
            if email_id := statement.said.email_id or named.get(_reference(statement)):
                by_email[email_id].append(statement)
            else:
                await self._about_no_email(statement)
        # Many at once is what lets the ledger load and append them together.
        await asyncio.gather(*(self._tell(email_id, heard) for email_id, heard in by_email.items()))
        return outcomes

    async def _named(self, statements: Iterable[_Statement]) -> Mapping[tuple[str, str | None], UUID]:
        """The emails of those statements that bring no id of ours, by provider and the provider's message id."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for statement in statements:
            if statement.said.email_id is None and statement.said.provider_message_id:
                wanted[statement.told.provider].add(statement.said.provider_message_id)
        found = {provider: await self._sent.emails(provider, ids) for provider, ids in wanted.items()}
        return {(provider, id): email_id for provider, ids in found.items() for id, email_id in ids.items()}

    async def _tell(self, email_id: UUID, heard: Sequence[_Statement]) -> None:
        events: list[int | None] = []  # for each statement how many it became; None: not about this email at all

        def ask(email: Email) -> None:
            events[:] = [self._hear(email, each) for each in heard]

        try:
            email, _ = await decide(self._ledger, email_id, ask)
        except EmailNotFound:
            for statement in heard:
                await self._about_no_email(statement)
        except Contended:  # which will be over soon
            for statement in heard:
                statement.outcome.unmatched.append(statement.said)
        else:
            for statement, recorded in zip(heard, events, strict=True):
                await self._told(statement, recorded, email.tenant)

    async def _told(self, statement: _Statement, recorded: int | None, tenant: str) -> None:
        statement.outcome.recorded += recorded or 0
        if recorded is None:
            await self._about_no_email(statement)
        elif statement.said.kind is Kind.SUPPRESSION_ADDED:
            await self._list_changed(statement, tenant)

    def _hear(self, email: Email, statement: _Statement) -> int | None:
        told, queued, before = statement.told, email.queued, email.version
        stamp = Stamp(
            now=self._clock(),
            actor=f"provider:{told.provider}",
            correlation_id=queued.correlation_id,
            causation_id=told.raw,
            traceparent=queued.traceparent,
        )
        understood = email.hear(statement.said, told.provider, told.received_at, stamp, told.raw)
        return email.version - before if understood else None

    async def _about_no_email(self, statement: _Statement) -> None:
        said = statement.said
        if said.kind in (Kind.SUPPRESSION_ADDED, Kind.RESUBSCRIBED):
            await self._list_changed(statement, None)
        else:
            _unmatched(statement)

    async def _list_changed(self, statement: _Statement, tenant: str | None) -> None:
        told, said = statement.told, statement.said
        await self._lists.changed(said, told.provider, tenant, told.raw, moment_of(said, told.received_at))


def _once(said: Iterable[Feedback]) -> Iterator[Feedback]:
    """Without what the same delivery says again: two readings of one statement would correct each other for ever."""
    known: set[tuple[str, str]] = set()
    for each in said:
        told = {((each.recipient or "").casefold(), key) for key in each.keys}
        if known.isdisjoint(told):
            yield each
        known |= told


def _unmatched(statement: _Statement) -> None:
    if statement.said.kind not in _ELSEWHERE | _MAY_BE_NOBODYS:
        statement.outcome.unmatched.append(statement.said)


def _reference(statement: _Statement) -> tuple[str, str | None]:
    return statement.told.provider, statement.said.provider_message_id
