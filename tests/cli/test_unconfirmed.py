"""unconfirmed list and resolve: what is in doubt, and settling it."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.delivery import DeliveryPolicy
from tests.cli.stocked import Stocked, doubtful
from tests.samples import NOW, stamp


@pytest.fixture
def stores(tmp_path: Path, sqlite_url: str) -> Stocked:
    return Stocked(tmp_path, sqlite_url)


@pytest.fixture
def doubts(stores: Stocked) -> list[str]:
    """Acme's, which is parked, Acme's through the backup, and Globex's."""
    parked = doubtful(tenant="acme", policy=DeliveryPolicy(in_doubt="at_most_once"))
    parked.settle(None, stamp(NOW + timedelta(hours=1)))
    emails = [parked, doubtful(tenant="acme", provider="backup"), doubtful(tenant="globex")]
    stores.put(*emails)
    return [str(email.id) for email in emails]


def listed(stores: Stocked, *options: str) -> list[str]:
    return [row["id"] for row in stores.run("unconfirmed", "list", *options)["data"]]


def resolved(stores: Stocked, *arguments: str, code: int = 0) -> Any:
    return stores.run("unconfirmed", "resolve", *arguments, "--reason", "asked them", code=code)


def last(stores: Stocked, id: str) -> e.Event:
    return stores.events(UUID(id))[-1]


def test_operators_see_all_tenants_the_oldest_first(stores: Stocked, doubts: list[str]) -> None:
    page = stores.run("unconfirmed", "list", "--limit", "2")
    assert ([row["id"] for row in page["data"]], page["has_more"]) == (doubts[:2], True)
    parked, waiting = page["data"]
    assert (parked["settle_at"], parked["reason"], parked["provider"]) == ("parked", "no_evidence", "main")
    assert (waiting["settle_at"], waiting["since"]) == ("2026-03-01T12:15:00+00:00", "2026-03-01T12:00:00+00:00")
    assert listed(stores, "--after", str(waiting["position"])) == [doubts[2]]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--tenant", "acme"), [0, 1]),
        (("--provider", "backup"), [1]),
        (("--older-than", "1h"), [0, 1, 2]),
        (("--older-than", "2026-03-01T12:00"), []),
    ],
)
def test_filters(stores: Stocked, doubts: list[str], options: tuple[str, ...], found: list[int]) -> None:
    assert listed(stores, *options) == [doubts[place] for place in found]


def test_one_is_resolved_and_twice_says_how_it_stands(stores: Stocked, doubts: list[str]) -> None:
    assert resolved(stores, doubts[0], "accepted")["done"] == 1
    event = last(stores, doubts[0])
    assert isinstance(event, e.EmailDeliveryResolved)
    assert (event.resolution, event.evidence, event.reason) == ("accepted", "operator", "asked them")
    assert (event.tenant, event.actor) == ("acme", "operator:cli")
    again = resolved(stores, doubts[0], "not_accepted", code=1)
    assert again["skipped"][0]["why"] == "This email is dispatched; it cannot be resolved now."


def test_those_that_fit_are_resolved_and_no_other(stores: Stocked, doubts: list[str]) -> None:
    assert resolved(stores, "not_accepted", "--provider", "main", "--older-than", "1h", "--dry-run")["matched"] == 2
    assert isinstance(last(stores, doubts[2]), e.EmailDeliveryUnconfirmed)
    told = resolved(stores, "not_accepted", "--provider", "main", "--older-than", "1h")
    assert (told["matched"], told["done"]) == (2, 2)
    for place, kind in enumerate((e.EmailDeliveryResolved, e.EmailDeliveryUnconfirmed, e.EmailDeliveryResolved)):
        assert isinstance(last(stores, doubts[place]), kind)


def test_many_are_settled_batch_by_batch(stores: Stocked) -> None:
    stores.put(*(doubtful(tenant="acme") for _ in range(450)))
    assert "450 emails would be resolved" in resolved(stores, "accepted", "--all", code=2)
    assert resolved(stores, "accepted", "--all", "--yes")["done"] == 450


@pytest.mark.parametrize(
    "arguments",
    [
        ("resolve", "--reason", "x"),
        ("resolve", "accepted"),
        ("resolve", "accepted", "--reason", "x"),
        ("resolve", "lost", "--all", "--reason", "x"),
        ("resolve", "019ca945-0a00-7ca3-aeb5-16f15a946b9a", "accepted", "--all", "--reason", "x"),
        ("list", "--older-than", "long"),
    ],
)
def test_wrong_usage_is_told_so(stores: Stocked, arguments: tuple[str, ...]) -> None:
    assert "Usage" in stores.run("unconfirmed", *arguments, code=2)


def test_a_provider_of_another_name_is_told_where_nothing_fits(stores: Stocked, doubts: list[str]) -> None:
    seen = stores.on_a_terminal("unconfirmed", "resolve", "accepted", "--provider", "mian", "--reason", "asked them")
    assert "No provider is called mian now. There are: main, backup." in seen
