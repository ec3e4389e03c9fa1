"""Taking a provider's own suppression list over."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest

from application.commands import Caller
from application.errors import ProviderTrouble
from application.list_sync import Tally, take_over
from application.ports import ListedSuppression, SuppressionSource
from application.suppressions import Addition, Suppressions
from tests.fakes import MemoryLedger
from tests.providers_fake import ListingProvider
from tests.samples import NOW

ACME, GLOBEX = (Caller(tenant, "operator:sync", UUID(int=1)) for tenant in ("acme", "globex"))
LISTED = (
    ListedSuppression("ada@example.com", "bounce", words="550 no such\n user"),
    ListedSuppression(" Bob@Example.com ", "unsubscribe"),
    ListedSuppression("not an address", "invalid"),
    ListedSuppression("cy@example.com", "complaint"),
)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def sync(source: SuppressionSource, made: Suppressions, *callers: Caller, rehearse: bool = False) -> Tally:
    return await take_over(source, "main", made, callers, lambda done: None, rehearse=rehearse)


def test_every_entry_stands_for_every_tenant_by_its_rule() -> None:
    async def scenario() -> None:
        made = Suppressions(MemoryLedger(), lambda: NOW)
        tally = await sync(ListingProvider(LISTED), made, ACME, GLOBEX)
        assert (tally.listed, tally.refused) == (4, 1)
        assert (tally.added, tally.already) == ({"acme": 3, "globex": 3}, {"acme": 0, "globex": 0})
        people = ("ada@example.com", "bob@example.com", "cy@example.com")
        rules = {
            "ada@example.com": "provider_list",
            "bob@example.com": "unsubscribe",
            "cy@example.com": "provider_list",
        }
        for tenant in ("acme", "globex"):
            assert await made.rules(tenant, "news", people) == rules
        (entry,) = await made.entries("acme", "ada@example.com")
        assert (entry.source, entry.reason) == ("provider:main", "bounce: 550 no such user")

    run(scenario())


def test_what_stands_is_left_alone_and_again_adds_nothing() -> None:
    async def scenario() -> None:
        ledger = MemoryLedger()
        made = Suppressions(ledger, lambda: NOW)
        await made.add_all([Addition("ADA@example.com", "*", "hard_bounce", "provider:other")], ACME)
        await made.add_all([Addition("eve@example.com", "*", "manual", "api:1")], ACME)
        tally = await sync(ListingProvider(LISTED), made, ACME)
        assert (tally.added, tally.already) == ({"acme": 2}, {"acme": 1})
        end = await ledger.position()
        assert (await sync(ListingProvider(LISTED), made, ACME)).added == {"acme": 0}
        assert await ledger.position() == end
        rules = await made.rules("acme", "news", ["ada@example.com", "eve@example.com"])
        assert rules == {"ada@example.com": "hard_bounce", "eve@example.com": "manual"}

    run(scenario())


def test_a_rehearsal_counts_and_records_nothing() -> None:
    async def scenario() -> None:
        ledger = MemoryLedger()
        tally = await sync(ListingProvider(LISTED), Suppressions(ledger, lambda: NOW), ACME, rehearse=True)
        assert (tally.added, await ledger.position()) == ({"acme": 3}, 0)

    run(scenario())


def test_a_long_list_comes_in_pages_and_what_was_read_before_trouble_stays() -> None:
    async def scenario() -> None:
        made, seen = Suppressions(MemoryLedger(), lambda: NOW), list[int]()
        many = [ListedSuppression(f"{number}@example.com", "bounce") for number in range(1200)]
        with pytest.raises(ProviderTrouble):
            await take_over(ListingProvider(many, breaks_off=True), "main", made, [ACME], seen.append)
        assert seen == [500, 1000]
        again = await sync(ListingProvider(many), made, ACME)
        assert (again.added, again.already) == ({"acme": 200}, {"acme": 1000})

    run(scenario())
