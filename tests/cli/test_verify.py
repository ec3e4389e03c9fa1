"""`postledger projections verify` and `repair` beside a running service."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from projections.emails import COUNTS, EMAILS
from projections.recipients import RECIPIENTS
from tests.cli.test_drill import postledger
from tests.service import QUICK, RunningService, until


@pytest.fixture(autouse=True)
def _beside_the_service(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service.directory)


@pytest.fixture(scope="module")
def sent(service: RunningService) -> str:
    """An email that was delivered."""
    fields = {"from": "service@example.org", "to": ["delivered@sandbox.test"], "subject": "Hello", "text": "Hello"}
    id = str(service.ask("POST", "/emails", fields)[1]["id"])
    until(lambda: service.ask("GET", f"/emails/{id}")[1]["last_event"] == "delivered")
    until(lambda: all(row["lag"] == 0 for row in service.ask("GET", "/projections")[1]["data"]))
    return id


def said(*arguments: str, code: int = 0) -> Any:
    ran = postledger("projections", *arguments, settings=QUICK)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def change(service: RunningService, *statements: str) -> None:
    (database,) = service.directory.rglob("postledger.db")
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_is_right_is_said_to_be_and_what_is_not_is_named_and_mended(service: RunningService, sent: str) -> None:
    assert said("verify")["right"]
    change(
        service,
        f"UPDATE {RECIPIENTS.name} SET address = 'eve@example.org'",
        f"UPDATE {COUNTS.name} SET emails = emails + 2 WHERE status = 'delivered'",
        f"DELETE FROM {EMAILS.name}",
    )
    found = said("verify", "recipients", "emails", code=1)
    differences = [each for model in found["read_models"] for each in model["differences"]]
    told = {(each["table"], each["kind"], each["stream_id"], *each["columns"]) for each in differences}
    assert told == {
        (RECIPIENTS.name, "different", sent, "address"),
        (EMAILS.name, "missing", sent),
        (COUNTS.name, "sum", None, "emails"),
    }
    assert "@" not in json.dumps(found)
    shown = said("verify", "recipients", "--show-values", code=1)["read_models"][0]["differences"][0]
    assert (shown["is"], shown["should_be"]) == (
        {"address": "eve@example.org"},
        {"address": "delivered@sandbox.test"},
    )
    dry = said("repair", "--dry-run", code=1)
    assert (dry["mended"], dry["right"]) == ([], False)
    mended = said("repair")
    assert {each["name"]: (each["streams"], each["sums"]) for each in mended["mended"]} == {
        "emails": (1, 1),
        "recipients": (1, 0),
    }
    assert mended["after"]["right"]
    assert said("verify")["right"]
    assert said("repair")["mended"] == []


def test_a_sample_can_be_repeated(service: RunningService, sent: str) -> None:
    first = said("verify", "--sample", "10")
    assert (first["right"], first["streams"]) == (True, 1)
    again = said("verify", "--sample", "10", "--seed", str(first["seed"]))
    assert again == first
    assert postledger("projections", "verify", "--seed", "1", settings=QUICK).exit_code == 2


def test_people_get_a_table(service: RunningService, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.cli.display.for_people", lambda: True)
    change(service, f"UPDATE {EMAILS.name} SET subject = 'Secret'")
    ran = postledger("projections", "verify", settings=QUICK)
    assert ran.exit_code == 1
    assert "1 different" in ran.stdout
    assert sent[:8] in ran.stdout
    assert "Secret" not in ran.stdout
    assert "Not right" in ran.stdout
    ran = postledger("projections", "repair", "emails", settings=QUICK)
    assert ran.exit_code == 0
    assert "mended 1 streams" in ran.stdout
    assert ran.stdout.rstrip().endswith("Right.")


def test_a_read_model_that_is_none_is_named() -> None:
    for command in ("verify", "repair"):
        ran = postledger("projections", command, "emial", settings=QUICK)
        assert ran.exit_code == 4
        assert "emial" in ran.stderr
