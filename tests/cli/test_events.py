"""`postledger events replay` beside a running service."""

import json
from pathlib import Path

import pytest

from tests.cli.test_drill import postledger
from tests.service import QUICK, RunningService, until


@pytest.fixture(scope="module")
def sent(service: RunningService) -> list[str]:
    fields = {"from": "service@example.org", "to": ["delivered@sandbox.test"], "subject": "Hello", "text": "Hello"}
    ids = [each["id"] for each in service.ask("POST", "/emails/batch", [fields] * 3)[1]["data"]]
    until(lambda: all(service.ask("GET", f"/emails/{id}")[1]["last_event"] == "delivered" for id in ids))
    return ids


@pytest.fixture(autouse=True)
def _beside_the_service(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service.directory)


def replay(*arguments: str, code: int = 0) -> str:
    result = postledger("events", "replay", *arguments, settings=QUICK)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def mails(directory: Path) -> int:
    """What the sandbox has taken."""
    return sum(1 for path in directory.rglob("*.eml"))


def test_history_goes_to_a_file_in_order_and_nothing_is_sent(service: RunningService, sent: list[str]) -> None:
    before = mails(service.directory)
    assert before >= len(sent)
    assert json.loads(replay("--into", "all.ndjson"))["told"] > 0
    events = [json.loads(line) for line in (service.directory / "all.ndjson").read_text().splitlines()]
    assert [event["position"] for event in events] == sorted({event["position"] for event in events})
    assert set(sent) <= {event["subject"] for event in events}
    assert json.loads(replay("--into", "all.ndjson"))["told"] == 0
    assert mails(service.directory) == before
    assert all(service.ask("GET", f"/emails/{id}")[1]["attempts"] == 1 for id in sent)


def test_some_of_it_by_type_position_and_time(service: RunningService, sent: list[str]) -> None:
    replay("--into", "queued.ndjson", "--types", "email.queued", "--from", "1h", "--to", "2999-01-01")
    lines = (service.directory / "queued.ndjson").read_text().splitlines()
    assert sorted(json.loads(line)["subject"] for line in lines) == sorted(sent)
    replay("--into", "two.ndjson", "--from", "2", "--to", "3")
    assert len((service.directory / "two.ndjson").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--into", "https://127.0.0.1/in"), "leads to an address inside"),
        (("--into", "http://example.com/in"), "https://"),
        (("--into", "x.ndjson", "--types", "email.sent"), "there is no event type email.sent"),
        (("--into", "projection:emails", "--from", "5"), "made of the whole log"),
        (("--into", "projection:nothing"), "no read model"),
        (("--into", "x.ndjson", "--from", "yesterday"), "neither a time"),
    ],
)
def test_what_cannot_be_meant_is_refused(sent: list[str], arguments: tuple[str, ...], said: str) -> None:
    result = postledger("events", "replay", *arguments, settings=QUICK)
    assert result.exit_code in (2, 4)
    assert said in result.output


def test_a_read_model_is_told_everything_anew(service: RunningService, sent: list[str]) -> None:
    replay("--into", "projection:emails")
    assert {each["id"] for each in service.ask("GET", "/emails?limit=100")[1]["data"]} >= set(sent)
