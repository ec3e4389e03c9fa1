"""dead-letters list, show and retry: on the stores, and with a service at work."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from application.bulk import change_all
from domain import events as e
from infrastructure.bootstrap import System
from infrastructure.cli import dead_letters, many, running
from tests.cli.stocked import Stocked, failed
from tests.samples import queued
from tests.service import API_KEY, QUICK, serving, until

MANY = 5000


@pytest.fixture
def stores(tmp_path: Path, sqlite_url: str) -> Stocked:
    return Stocked(tmp_path, sqlite_url)


@pytest.fixture
def letters(stores: Stocked) -> list[str]:
    """Two of Acme's, of which the second went through the backup and is news, and one of Globex's."""
    emails = [
        failed("ada@example.com", tenant="acme"),
        failed("bob@example.com", tenant="acme", provider="backup", stream="news"),
        failed("ada@example.com", tenant="globex"),
    ]
    stores.put(queued(tenant="acme"), *emails)
    return [str(email.id) for email in emails]


def listed(stores: Stocked, *options: str) -> list[str]:
    return [row["id"] for row in stores.run("dead-letters", "list", *options)["data"]]


def retried(stores: Stocked, *arguments: str, code: int = 0) -> Any:
    return stores.run("dead-letters", "retry", *arguments, "--reason", "mended", code=code)


def requeued(stores: Stocked, id: str) -> e.EmailRequeued:
    event = stores.events(UUID(id))[-1]
    assert isinstance(event, e.EmailRequeued)
    return event


def test_operators_see_all_tenants_the_newest_first(stores: Stocked, letters: list[str]) -> None:
    page = stores.run("dead-letters", "list", "--limit", "2")
    assert [(row["id"], row["tenant"]) for row in page["data"]] == [(letters[2], "globex"), (letters[1], "acme")]
    assert page["has_more"]
    assert listed(stores, "--after", str(page["data"][-1]["position"])) == [letters[0]]
    row = page["data"][0]
    assert (row["status"], row["provider"], row["error_class"], row["reason"]) == (
        *("failed", "main", "permanent", "refused"),
    )
    assert "example.com" not in json.dumps(page)  # nobody's address


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--tenant", "acme"), [1, 0]),
        (("--provider", "backup"), [1]),
        (("--stream", "news", "--status", "failed"), [1]),
        (("--recipient", "ADA@example.com"), [2, 0]),
        (("--recipient", "ada@example.com", "--tenant", "acme"), [0]),
        (("--error-class", "permanent", "--reason-code", "refused", "--sender-domain", "example.org"), [2, 1, 0]),
        (("--since", "1d"), []),
        (("--since", "2026-03-01", "--until", "2026-03-01T12:00:01"), [2, 1, 0]),
        (("--until", "2026-03-01T13:00:00+01:00"), []),
        (("--status", "expired"), []),
    ],
)
def test_filters(stores: Stocked, letters: list[str], options: tuple[str, ...], found: list[int]) -> None:
    assert listed(stores, *options) == [letters[place] for place in found]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--since", "soon"),
        ("list", "--recipient", "nobody"),
        ("list", "--status", "delivered"),
        ("show", "no-id"),
        ("retry", "--all"),
        ("retry", "--reason", "which ones?"),
        ("retry", "019ca945-0a00-7ca3-aeb5-16f15a946b9a", "--all", "--reason", "both"),
        ("retry", "--all", "--reason", ""),
    ],
)
def test_wrong_usage_is_told_so(stores: Stocked, arguments: tuple[str, ...]) -> None:
    assert "Usage" in stores.run("dead-letters", *arguments, code=2)


def test_one_tells_its_whole_story(stores: Stocked, letters: list[str]) -> None:
    story = stores.run("dead-letters", "show", letters[1])
    assert (story["dead_letter"], story["status"], story["attempts"]) == (True, "failed", 1)
    assert (story["error_class"], story["reason"], story["provider"]) == ("permanent", "refused", "backup")
    assert story["recipients"][0] | {"at": None} == {
        **{"address": "bob@example.com", "kind": "to", "status": "failed", "at": None, "reason": None},
    }
    types = [event["type"].rpartition(".v")[0] for event in story["events"]]
    assert types == ["email.queued", "email.delivery_started", "email.delivery_failed"]


def test_what_is_not_there_is_not_found(stores: Stocked, letters: list[str]) -> None:
    assert "list" in stores.run("dead-letters", "show", "019ca945-0a00-7ca3-aeb5-16f15a946b9a", code=4)


# -- sending again ---------------------------------------------------------------------------------------------------


def test_those_that_are_named_are_sent_again_whoever_they_belong_to(stores: Stocked, letters: list[str]) -> None:
    told = retried(stores, letters[0], letters[2], letters[0], "--through", "backup", "--priority", "critical")
    assert told == {"dry_run": False, "matched": 2, "done": 2, "skipped_count": 0, "skipped": []}
    again = requeued(stores, letters[2])
    assert (again.tenant, again.reason, again.provider, again.priority) == ("globex", "mended", "backup", "critical")
    assert again.actor == "operator:cli"
    stores.catch_up()
    assert listed(stores) == [letters[1]]


def test_those_that_fit_are_sent_again_and_no_other(stores: Stocked, letters: list[str]) -> None:
    assert retried(stores, "--tenant", "acme", "--provider", "main")["done"] == 1
    assert requeued(stores, letters[0]).provider is None
    stores.catch_up()
    assert listed(stores) == [letters[2], letters[1]]


def test_a_dry_run_changes_nothing(stores: Stocked, letters: list[str]) -> None:
    told = retried(stores, "--all", "--dry-run")
    assert (told["dry_run"], told["matched"], told["done"]) == (True, 3, 0)
    assert len(listed(stores)) == 3


def test_what_was_sent_again_already_is_left_as_it_is_and_says_so(stores: Stocked, letters: list[str]) -> None:
    assert retried(stores, letters[0])["done"] == 1
    unknown = "019ca945-0a00-7ca3-aeb5-16f15a946b9a"
    told = retried(stores, letters[0], unknown, code=1)
    assert (told["done"], told["skipped_count"]) == (0, 2)
    assert {each["id"]: each["why"] for each in told["skipped"]} == {
        letters[0]: "This email is queued; it cannot be sent again now.",
        unknown: "There is no email with this id.",
    }


def test_a_command_that_is_repeated_before_the_read_models_know_does_nothing_twice(
    stores: Stocked, letters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_PATIENCE", 0.1)
    assert retried(stores, "--tenant", "globex")["done"] == 1
    again = retried(stores, "--tenant", "globex")
    assert (again["matched"], again["done"], again["skipped_count"]) == (1, 0, 1)


def test_many_are_not_sent_again_unasked(stores: Stocked) -> None:
    stores.put(*(failed(tenant="acme") for _ in range(6)))
    assert "6 emails would be sent again" in retried(stores, "--all", code=2)
    assert len(listed(stores)) == 6
    assert retried(stores, "--all", "--yes")["done"] == 6


def test_somebody_at_a_terminal_is_asked_first_and_told_afterwards(stores: Stocked) -> None:
    stores.put(*(failed(tenant="acme") for _ in range(6)))
    command = ("dead-letters", "retry", "--all", "--reason", "mended")
    assert "Aborted" in stores.on_a_terminal(*command, typed="n\n")
    assert len(listed(stores)) == 6
    assert "6 of 6 sent again, 0 left as they are." in stores.on_a_terminal(*command, typed="y\n")


def test_a_story_says_why_and_what_to_do(stores: Stocked, letters: list[str]) -> None:
    story = stores.on_a_terminal("dead-letters", "show", letters[1])
    assert "Because: permanent refused; attempts: 1, the last through backup." in story
    assert f"postledger dead-letters retry {letters[1]}" in story


def test_a_provider_that_is_not_there_is_told_with_those_that_are(stores: Stocked, letters: list[str]) -> None:
    assert "main, backup" in retried(stores, letters[0], "--through", "other", code=4)


def test_broken_off_it_says_how_far_it_came_and_goes_on_from_there(
    stores: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.put(*(failed(tenant="acme") for _ in range(5)))
    monkeypatch.setattr(dead_letters, "AT_ONCE", 2)
    calls = 0

    async def interrupted(changes: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return await change_all(changes)

    with monkeypatch.context() as patched:
        patched.setattr(many, "change_all", interrupted)
        assert "At least 4 of 5 were sent again" in retried(stores, "--all", code=1)
    stores.catch_up()
    assert retried(stores, "--all")["done"] == 1


def test_thousands_go_batch_by_batch_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    stores = Stocked(tmp_path, postgres_url)
    stores.put(failed(tenant="acme"), *(failed(tenant="acme", provider="backup") for n in range(MANY)))
    told = retried(stores, "--provider", "backup", "--yes", "--through", "main")
    assert (told["matched"], told["done"], told["skipped_count"]) == (MANY, MANY, 0)

    async def again(system: System) -> list[e.Event]:
        return [recorded.event for recorded in await system.ledger.read(0, 2 * MANY, ["email.requeued"])]

    events = stores.ask(again)
    assert len({event.originator_id for event in events}) == len(events) == MANY


# -- with a service at work ------------------------------------------------------------------------------------------


def test_what_bounced_goes_out_again_through_the_provider_that_is_named(stores: Stocked) -> None:
    settings = {**QUICK, **stores.settings, "api_key": API_KEY}
    with serving(stores.directory, settings=settings) as service:

        def email() -> Any:
            return service.ask("GET", f"/emails/{id}")[1]

        fields = {"from": "shop@example.org", "to": "bounced@sandbox.test", "subject": "Hello", "text": "Hello"}
        id = service.ask("POST", "/emails", fields)[1]["id"]
        until(lambda: listed(stores, "--recipient", "bounced@sandbox.test") == [id])
        forgiven = "/suppressions/bounced@sandbox.test?reason=mended"
        until(lambda: service.ask("DELETE", forgiven)[0] == 200)  # else it would be held back by the list
        first = email()["provider"]
        other = "backup" if first == "main" else "main"
        assert retried(stores, id, "--through", other)["done"] == 1
        until(lambda: email()["attempts"] == 2)
        assert (first, email()["provider"]) in {("main", "backup"), ("backup", "main")}


def test_a_provider_of_another_name_is_told_where_nothing_fits(stores: Stocked, letters: list[str]) -> None:
    seen = stores.on_a_terminal("dead-letters", "retry", "--provider", "mian", "--reason", "mended")
    assert "No provider is called mian now. There are: main, backup." in seen
