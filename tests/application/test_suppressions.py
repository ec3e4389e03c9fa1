"""The suppression list as operators and senders meet it."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from uuid import UUID

import pytest

from application.commands import Caller
from application.errors import Contended, StreamConflict, SuppressionNotFound
from application.ports import StoredContent, SuppressionList
from application.suppressions import Addition, Suppress, Suppressions
from domain.events import Event
from tests.fakes import MemoryLedger
from tests.samples import NOW

T = TypeVar("T")
ADA, BOB = "Ada@example.com", "bob@example.com"


def caller(tenant: str = "acme") -> Caller:
    return Caller(tenant=tenant, actor="api:0123", correlation_id=UUID(int=1))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def suppressions(ledger: MemoryLedger | None = None) -> Suppressions:
    return Suppressions(ledger or MemoryLedger(), lambda: NOW)


def wish(address: str = ADA, scope: str = "*", rule: str = "manual") -> Addition:
    return Addition(address, scope, rule, "api:0123")


def test_what_was_added_is_a_rule_at_once_however_the_address_is_spelt() -> None:
    async def scenario() -> None:
        listed: SuppressionList = (made := suppressions())
        await made.add(Suppress(email="Ada <Ada@Example.com>", reason="asked by phone"), caller())
        await made.add_all([wish(BOB, "news", "unsubscribe")], caller())
        addresses = ("ada@EXAMPLE.com", BOB, "cy@example.com")
        assert await listed.rules("acme", "news", addresses) == {"ada@EXAMPLE.com": "manual", BOB: "unsubscribe"}
        assert await listed.rules("acme", "offers", addresses) == {"ada@EXAMPLE.com": "manual"}
        assert await listed.rules("globex", "news", addresses) == {}

    run(scenario())


def test_adding_twice_answers_with_what_stands() -> None:
    async def scenario() -> None:
        ledger = MemoryLedger()
        made = suppressions(ledger)
        first, position = await made.add(Suppress(email=ADA, reason="the first"), caller())
        again, later = await made.add(Suppress(email=ADA, reason="the second"), caller())
        assert (again, again.reason, later) == (first, "the first", position)
        assert await ledger.position() == 1

    run(scenario())


def test_removing_takes_one_scope_or_all_and_says_what() -> None:
    async def scenario() -> None:
        made = suppressions()
        await made.add_all([wish(scope=scope) for scope in ("*", "news", "offers")], caller())
        gone, _ = await made.remove(ADA, "news", "mended", caller())
        assert [entry.scope for entry in gone] == ["news"]
        gone, _ = await made.remove(ADA, None, "mended", caller())
        assert [entry.scope for entry in gone] == ["*", "offers"]
        assert await made.entries("acme", ADA) == []
        with pytest.raises(SuppressionNotFound):
            await made.remove(ADA, None, "mended", caller())

    run(scenario())


def test_many_are_counted_as_added_once() -> None:
    async def scenario() -> None:
        made = suppressions()
        wishes = [wish(f"{number % 7}@example.com", scope) for number in range(40) for scope in ("*", "news")]
        assert await made.add_all(wishes, caller(), rehearse=True) == (14, 0)
        assert await made.add_all(wishes, caller()) == (14, 14)
        assert (await made.add_all(wishes, caller()))[0] == 0

    run(scenario())


def test_writers_that_race_all_get_through() -> None:
    async def scenario() -> None:
        ledger = MemoryLedger()
        made = suppressions(ledger)
        await asyncio.gather(*(made.add_all([wish(scope=f"s{number % 3}")], caller()) for number in range(6)))
        assert {entry.scope for entry in await made.entries("acme", ADA)} == {"s0", "s1", "s2"}
        assert await ledger.position() == 3

    run(scenario())


class NeverFirst(MemoryLedger):
    """Somebody else always writes first."""

    async def append(self, events: Sequence[Event], contents: Sequence[StoredContent] = ()) -> int:
        raise StreamConflict(frozenset({events[0].originator_id}))


def test_a_race_that_cannot_be_won_ends() -> None:
    with pytest.raises(Contended):
        run(suppressions(NeverFirst()).add(Suppress(email=ADA, reason="why not"), caller()))
