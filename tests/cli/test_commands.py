"""send, show and tail against a running service."""

import json
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from infrastructure.cli import main
from tests.service import RunningService, first_line, run, started

FROM = ("--from", "service@example.org", "--subject", "Hello", "--text", "Hello")


def test_send_answers_with_the_id_that_show_takes(service: RunningService) -> None:
    sent = service.run("send", "--to", "delivered@sandbox.test", *FROM, "--wait", "20")
    assert sent.returncode == 0, sent.stderr
    document = json.loads(sent.stdout)
    assert document["status"] == "delivered"
    shown = service.run("show", document["id"])
    assert json.loads(shown.stdout) == document


def test_send_takes_attachments_tags_and_a_body_from_standard_input(service: RunningService, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("a note")
    options = ("--attach", str(file), "--tag", "order=1001", "--cc", "Grace <grace@example.com>", "--text-file", "-")
    sent = service.run("send", "--to", "ada@example.com", *FROM[:4], *options, stdin="From a pipe")
    _, email = service.ask("GET", f"/emails/{json.loads(sent.stdout)['id']}")
    assert email["text"] == "From a pipe"
    assert email["attachments"][0]["name"] == "note.txt"
    assert email["tags"] == [{"name": "order", "value": "1001"}]
    assert email["cc"] == ["Grace <grace@example.com>"]


def test_the_same_key_is_the_same_email(service: RunningService) -> None:
    command = ("send", "--to", "ada@example.com", *FROM, "--key", "order-7")
    first, second = (json.loads(service.run(*command).stdout) for _ in range(2))
    assert first["id"] == second["id"]
    assert (first["replayed"], second["replayed"]) == (False, True)


def test_waiting_for_an_email_that_bounces_fails(service: RunningService) -> None:
    sent = service.run("send", "--to", "bounced@sandbox.test", *FROM, "--wait", "20")
    assert sent.returncode == 1
    assert json.loads(sent.stdout)["status"] == "bounced"


def test_a_refused_field_is_named(service: RunningService) -> None:
    sent = service.run("send", "--to", "not an address", *FROM)
    assert sent.returncode == 2
    assert "to[0]" in sent.stderr
    assert sent.stdout == ""


def test_show_knows_how_it_stood_before(service: RunningService) -> None:
    sent = json.loads(service.run("send", "--to", "delivered@sandbox.test", *FROM, "--wait", "20").stdout)
    before = json.loads(service.run("show", sent["id"], "--as-of", "1").stdout)
    assert before["status"] == "queued"
    assert len(before["events"]) == 1


def test_an_unknown_email_is_not_found(service: RunningService) -> None:
    assert service.run("show", str(uuid.uuid4())).returncode == 4


def test_a_wrong_key_is_wrong_usage_and_told_so(service: RunningService, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("pl_wrong")
    asked = service.run("show", str(uuid.uuid4()), "--api-key-file", str(key))
    assert asked.returncode == 2
    assert "pl_wrong" not in asked.stderr


@pytest.mark.parametrize("command", [("show", str(uuid.uuid4())), ("tail",)])
def test_nobody_there_is_unreachable(tmp_path: Path, command: tuple[str, ...]) -> None:
    asked = run(tmp_path, *command, "--url", "http://127.0.0.1:9")
    assert asked.returncode == 3
    assert "postledger serve" in asked.stderr


@pytest.mark.parametrize("url", ["localhost:8025", "ftp://localhost", "http://[::1"])
def test_what_is_no_address_of_a_service_is_wrong_usage(url: str) -> None:
    asked = CliRunner().invoke(main, ["tail", "--url", url], env={"POSTLEDGER_API_KEY": "pl_some"})
    assert asked.exit_code == 2
    assert "--url" in asked.output


def test_tail_follows_from_a_position_one_event_a_line(service: RunningService) -> None:
    sent = json.loads(service.run("send", "--to", "ada@example.com", *FROM).stdout)
    options = ("--url", service.url, "--after", str(sent["position"] - 1), "--types", "email.queued")
    with started(service.directory, "tail", *options) as tail:
        event = json.loads(first_line(tail))
    assert event["position"] == sent["position"]
    assert event["subject"] == sent["id"]
    assert event["type"] == "email.queued.v2"


def test_projections_are_listed_and_rebuilt_while_the_service_runs(service: RunningService) -> None:
    rebuilt = run(service.directory, "projections", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    listed = json.loads(run(service.directory, "projections", "list").stdout)
    assert {row["name"] for row in listed["data"]} == set(json.loads(rebuilt.stdout)["rebuilt"])
    assert run(service.directory, "projections", "rebuild", "nonsense").returncode == 4
    assert service.ask("GET", "/emails")[0] == 200
