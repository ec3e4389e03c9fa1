"""`postledger providers drill` in front of a running service with two providers."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from domain.errors import UnreadableEvent
from infrastructure.cli import drill, main
from infrastructure.settings import child_environment
from tests.service import QUICK, RunningService, serving, started, until

TWO: Mapping[str, str] = {
    **QUICK,
    "providers": "main=sandbox://default?dir=main,backup=sandbox://default?dir=backup",
    "breaker_open": "PT1S",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with serving(tmp_path_factory.mktemp("drill"), settings=TWO) as service:
        yield service


def send(service: RunningService, number: int = 1) -> list[str]:
    fields = {"from": "service@example.org", "to": ["delivered@sandbox.test"], "subject": "Hello", "text": "Hello"}
    status, answer = service.ask("POST", "/emails/batch", [fields] * number)
    assert status in (200, 202), answer
    return [each["id"] for each in answer["data"]]


def events(service: RunningService, id: str) -> list[Any]:
    return list(service.ask("GET", f"/emails/{id}/events")[1]["data"])


def postledger(*arguments: str, settings: Mapping[str, str] = TWO) -> Result:
    """A command in this process, where the settings and the working directory say."""
    return CliRunner(env=child_environment(settings)).invoke(main, list(arguments))


def drilled() -> str | None:
    """The fault of the drill of main that runs now."""
    listed = json.loads(postledger("providers", "list").stdout)["data"]
    return next(row["drill"] for row in listed if row["name"] == "main") or None


@pytest.fixture(autouse=True)
def _beside_the_service(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service.directory)


def during(
    service: RunningService, options: tuple[str, ...], work: Callable[[subprocess.Popen[str]], None]
) -> dict[str, Any]:
    """What the report says of a drill during which `work` is done."""
    with started(service.directory, "providers", "drill", "main", *options, settings=TWO) as process:
        work(process)
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        report: dict[str, Any] = json.loads(told)
        return report


def test_what_a_drill_hits_goes_out_by_the_other_provider(service: RunningService) -> None:
    sent: list[str] = []

    def work(process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            sent.extend(send(service, 4))
            until(lambda: service.ask("GET", f"/emails/{sent[-1]}")[1]["last_event"] in ("sent", "delivered"))

    report = during(service, ("--for", "2s", "--fault", "5xx"), work)
    assert (report["provider"], report["fault"], report["ended_early"]) == ("main", "5xx", False)
    assert report["calls_hit"] >= report["emails_hit"] > 0
    assert report["taken_by"]["backup"] > 0  # all of them, unless the drill ended while one was on its way elsewhere
    assert sum(report["taken_by"].values()) == report["emails_hit"]
    assert report["failover_seconds"] is not None
    assert report["fault_to_dispatch_seconds"]["p99"] >= report["fault_to_dispatch_seconds"]["p50"]
    assert (report["under_way"], report["lost_count"]) == ([], 0)
    reasons = {event["data"].get("reason") for id in sent for event in events(service, id)}
    assert "drill_5xx" in reasons
    assert drilled() is None


def test_ctrl_c_ends_it_and_what_is_in_doubt_is_settled_by_evidence(service: RunningService) -> None:
    sent: list[str] = []

    def hit() -> bool:
        told = [event for id in sent for event in events(service, id)]
        return any(event["data"].get("reason") == "drill_timeout" for event in told)

    def work(process: subprocess.Popen[str]) -> None:
        until(lambda: drilled() == "timeout")
        second = postledger("providers", "drill", "main", "--for", "1s", "--fault", "slow")
        assert (second.exit_code, "A timeout drill of main runs until" in second.stderr) == (1, True)

        def sent_until_hit() -> bool:
            sent.extend(send(service, 4))
            return hit()

        until(sent_until_hit)
        process.send_signal(signal.SIGINT)

    report = during(service, ("--for", "10m", "--fault", "timeout", "--rate", "0.9"), work)
    assert (report["ended_early"], report["lost_count"], report["rate"]) == (True, 0, 0.9)
    assert all(each["due_at"] for each in report["under_way"])
    until(lambda: all(service.ask("GET", f"/emails/{id}")[1]["last_event"] in ("sent", "delivered") for id in sent))
    settled = [event for id in sent for event in events(service, id) if "resolved" in event["type"]]
    assert settled
    assert {(each["data"]["resolution"], each["data"]["evidence"]) for each in settled} == {("not_accepted", "look_up")}
    assert drilled() is None


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("other", "--for", "1s", "--fault", "5xx"), 4, "main, backup"),
        (("main", "--for", "1s", "--fault", "5xx", "--rate", "0"), 2, "--rate"),
        (("main", "--for", "1s", "--fault", "5xx", "--rate", "1.5"), 2, "--rate"),
        (("main", "--for", "ten minutes", "--fault", "5xx"), 2, "90s, 10m"),
        (("main", "--for", "0s", "--fault", "5xx"), 2, "--for"),
        (("main", "--for", "2d", "--fault", "5xx"), 2, "--for"),
        (("main", "--for", "1s", "--fault", "earthquake"), 2, "timeout"),
        (("main", "--fault", "5xx"), 2, "--for"),
    ],
)
def test_what_cannot_be_drilled_is_refused(arguments: tuple[str, ...], code: int, word: str) -> None:
    ran = postledger("providers", "drill", *arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert word in ran.stderr


def test_it_says_when_nobody_can_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = postledger("providers", "drill", "sandbox", "--for", "1s", "--fault", "reset", settings=QUICK)
    assert ran.exit_code == 0
    assert "No other provider can take over on: default." in ran.stderr
    assert json.loads(ran.stdout)["calls_hit"] == 0


def test_a_drill_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> int:
        raise UnreadableEvent("Stream 1: no class reads it.")

    monkeypatch.setattr(drill, "_follow", fail)
    assert postledger("providers", "drill", "main", "--for", "10m", "--fault", "5xx").exit_code != 0
    until(lambda: drilled() is None)
