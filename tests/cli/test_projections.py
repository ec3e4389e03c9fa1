"""`postledger projections` beside a running service: how far they are, what is parked, and following it again."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.test_drill import postledger
from tests.service import QUICK, RunningService, until


@pytest.fixture(autouse=True)
def _beside_the_service(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service.directory)


def said(*arguments: str, code: int = 0) -> Any:
    ran = postledger("projections", *arguments, settings=QUICK)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def sent(service: RunningService) -> str:
    fields = {"from": "service@example.org", "to": ["delivered@sandbox.test"], "subject": "Hello", "text": "Hello"}
    id = str(service.ask("POST", "/emails", fields)[1]["id"])
    until(lambda: service.ask("GET", f"/emails/{id}")[1]["last_event"] == "delivered")
    return id


def change(service: RunningService, statement: str, *values: Any) -> None:
    (database,) = service.directory.rglob("postledger.db")
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(statement, values)


def test_what_cannot_be_read_is_parked_told_everywhere_and_followed_again(service: RunningService) -> None:
    id = sent(service).replace("-", "")
    change(
        service,
        "INSERT INTO events (originator_id, originator_version, topic, state, rowid)"
        " SELECT ?, 99, 'email.lost.v1', '{}', max(rowid) + 1 FROM events",
        id,
    )
    until(lambda: {row["parked"] for row in said("list")["data"]} == {1})
    other = sent(service)  # the rest moves on
    until(lambda: other in [row["id"] for row in service.ask("GET", "/emails")[1]["data"]])
    shown = service.ask("GET", "/projections")[1]["data"]
    assert {(row["parked"], row["error"]) for row in shown} == {(1, None)}
    held = said("parked")["data"]
    assert {row["name"] for row in held} == {row["name"] for row in shown}
    assert {(row["stream_id"].replace("-", ""), row["topic"]) for row in held} == {(id, "email.lost.v1")}
    left = said("retry", "emails", code=1)
    assert (left["retried"], [each["name"] for each in left["still_parked"]]) == (1, ["emails"])
    change(service, "DELETE FROM events WHERE topic = 'email.lost.v1'")
    assert said("retry", "emails", "--stream", held[0]["stream_id"])["still_parked"] == []
    assert said("retry") == {"retried": len(held) - 1, "still_parked": []}
    assert said("parked")["data"] == []


def test_a_read_model_that_is_none_is_named() -> None:
    ran = postledger("projections", "retry", "emial", settings=QUICK)
    assert ran.exit_code == 4
    assert "emial" in ran.stderr
    assert "emails" in ran.stderr
