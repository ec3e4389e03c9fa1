"""postledger providers: list, check, pause, resume and history."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from application.providers import Providers
from domain.delivery import ErrorClass
from domain.events import Stamp
from domain.ids import uuid7
from domain.provider import Breakdown, Provider, Rest
from infrastructure.bootstrap import bootstrap, now
from infrastructure.cli import display, main
from infrastructure.settings import Settings, child_environment

REST = Rest(timedelta(minutes=5), timedelta(minutes=5))
DOWN = Breakdown("consecutive_failures", 5, 5, 60.0, ErrorClass.TRANSIENT, "http_503", "out of order")


class Desk:
    """Two sandboxes, and commands about them that are no terminal's."""

    def __init__(self, directory: Path) -> None:
        self.settings = {
            "database_url": f"sqlite:///{directory}/postledger.db",
            "blob_url": f"file:{directory}/blobs",
            "providers": f"main=sandbox://default?dir={directory}/main,backup=sandbox://default?dir={directory}/backup",
            "api_key": "pl_test",
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["providers", *arguments], env={**child_environment(self.settings), "COLUMNS": "200"}
        )

    def told(self, *arguments: str) -> Any:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def listed(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.told("list")["data"]}

    def decide(self, ask: Callable[[Provider, Stamp], None], name: str = "main") -> None:
        async def work() -> None:
            at = now()
            system = bootstrap(Settings(**self.settings))  # type: ignore[arg-type]
            try:
                stamp = Stamp(at, "worker", uuid7(at))
                await Providers(system.ledger).decide(name, lambda provider: ask(provider, stamp))
            finally:
                await system.close()

        asyncio.run(work())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_list_of_providers_nobody_said_anything_about(desk: Desk) -> None:
    rows = desk.listed()
    assert {name: (row["state"], row["kind"], row["routes"]) for name, row in rows.items()} == {
        "main": ("closed", "sandbox", ["default"]),
        "backup": ("closed", "sandbox", ["default"]),
    }


def test_a_degraded_one_is_listed_with_its_reason(desk: Desk) -> None:
    desk.decide(lambda provider, stamp: provider.degrade(DOWN, REST, stamp))
    row = desk.listed()["main"]
    assert (row["state"], row["reason"]) == ("open", "consecutive_failures: transient http_503")
    assert row["until"] > row["since"]


def test_pausing_and_resuming_says_what_stands_and_is_in_the_history(desk: Desk) -> None:
    paused = desk.told("pause", "main", "--reason", "maintenance")
    assert (paused["state"], paused["reason"], paused["changed"]) == ("paused", "maintenance", True)
    assert not desk.told("pause", "main", "--reason", "again")["changed"]
    assert desk.listed()["main"]["state"] == "paused"
    resumed = desk.told("resume", "main", "--reason", "over")
    assert (resumed["state"], resumed["changed"]) == ("closed", True)
    assert not desk.told("resume", "main", "--reason", "again")["changed"]
    history = desk.told("history", "main")["data"]
    assert [(e["type"], e["actor"], e["data"]["reason"]) for e in history] == [
        ("provider.paused.v1", "operator:cli", "maintenance"),
        ("provider.resumed.v1", "operator:cli", "over"),
    ]


def test_resuming_a_degraded_one_closes_its_circuit(desk: Desk) -> None:
    desk.decide(lambda provider, stamp: provider.degrade(DOWN, REST, stamp))
    assert desk.told("resume", "main", "--reason", "mended")["state"] == "closed"


def test_pausing_the_last_one_in_use_is_done_and_said(desk: Desk) -> None:
    assert "No other provider" not in desk.run("pause", "backup", "--reason", "x").stderr
    last = desk.run("pause", "main", "--reason", "x")
    assert last.exit_code == 0
    assert "No other provider is in use now" in last.stderr


@pytest.mark.parametrize(
    "arguments", [("pause", "nobody", "--reason", "x"), ("check", "nobody"), ("history", "nobody")]
)
def test_an_unknown_name_is_told_with_the_known_ones(desk: Desk, arguments: tuple[str, ...]) -> None:
    result = desk.run(*arguments)
    assert result.exit_code == 4
    assert "There are: main, backup." in result.stderr


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 1001])
def test_a_reason_is_wanted_in_one_line(desk: Desk, reason: str) -> None:
    result = desk.run("pause", "main", "--reason", reason)
    assert (result.exit_code, "--reason" in result.stderr) == (2, True)
    assert desk.run("pause", "main").exit_code == 2
    assert desk.listed()["main"]["state"] == "closed"


def test_a_check_tells_of_all_and_fails_when_one_does(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("check").exit_code == 0
    (tmp_path / "file").write_text("")
    desk.settings["providers"] += f",broken=sandbox://default?dir={tmp_path}/file/below"
    result = desk.run("check")
    assert result.exit_code == 1
    assert {e["name"]: e["fine"] for e in json.loads(result.stdout)["data"]} == {
        "main": True,
        "backup": True,
        "broken": False,
    }
    assert desk.run("check", "main").exit_code == 0


def test_the_newest_of_a_long_history_are_shown(desk: Desk) -> None:
    for _ in range(2):
        desk.decide(lambda provider, stamp: provider.pause("x", stamp))
        desk.decide(lambda provider, stamp: provider.resume("y", stamp))
    shown = desk.told("history", "main", "--limit", "3")
    assert (shown["has_more"], [e["version"] for e in shown["data"]]) == (True, [2, 3, 4])


def test_people_get_tables(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "for_people", lambda: True)
    desk.decide(lambda provider, stamp: provider.degrade(DOWN, REST, stamp))
    told = [desk.run(*each).stdout for each in (("list",), ("check",), ("history", "main"))]
    assert all(word in told[0] for word in ("main", "open", "closed", "http_503"))
    assert "answers" in told[1]
    assert "5 of 5 failed" in told[2]
    paused = desk.run("pause", "main", "--reason", "x")
    assert "main is paused. The service follows within about a second." in paused.stdout
