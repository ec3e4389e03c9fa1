"""`postledger projections` beside a running service: how far they are, what is parked, and following it again."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from tests.cli.test_drill import postledger
from tests.samples import queued, stamp
from tests.service import QUICK, RunningService, run, started, until


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


def test_read_models_are_made_anew_rolled_back_and_what_is_left_is_dropped(service: RunningService) -> None:
    id = sent(service)
    rebuilt = said("rebuild", "emails", "statistics")
    assert rebuilt["rebuilt"] == ["emails", "statistics"]
    change(service, "UPDATE emails_v2 SET subject = 'spoilt'")
    assert said("rollback", "emails")["rolled_back"] == ["emails"]
    assert {row["subject"] for row in service.ask("GET", "/emails")[1]["data"]} == {"Hello"}
    until(lambda: id in [row["id"] for row in service.ask("GET", "/emails")[1]["data"]])
    assert said("status")["data"] == []
    dropped = said("drop", "emails", "--yes")["dropped"]
    assert [name.partition("__")[0] for name in dropped] == ["email_counts_v2", "email_terms_v2", "emails_v2"]
    assert said("drop", "emails")["dropped"] == []
    refused = postledger("projections", "rollback", "emails", settings=QUICK)
    assert (refused.exit_code, "no tables" in refused.output) == (1, True)
    assert said("cancel")["cancelled"] == []


def test_sqlite_has_one_writer(service: RunningService) -> None:
    refused = postledger("projections", "rebuild", "--processes", "2", settings=QUICK)
    assert (refused.exit_code, "one writer" in refused.output) == (2, True)


def test_killed_processes_that_fold_side_by_side_are_gone_on_from(postgres_url: str, tmp_path: Path) -> None:
    settings = {**QUICK, "database_url": postgres_url}
    arguments = ("projections", "rebuild", "emails", "statistics", "--processes", "2")
    asyncio.run(_filled(postgres_url, 6_000))
    with started(tmp_path, *arguments, settings=settings) as process:
        until(lambda: _folded(postgres_url) > 0 or process.poll() is not None)
        process.kill()
        process.wait()
    until(lambda: _alone(postgres_url))  # those who fold end with it
    ran = run(tmp_path, *arguments, settings=settings)
    assert ran.returncode == 0, ran.stderr
    checked = run(tmp_path, "projections", "verify", "emails", "statistics", settings=settings)
    assert checked.returncode == 0, checked.stdout


async def _filled(url: str, events: int) -> None:
    ledger = EventLedger(PostgresEventStore(url), Signal())
    for _ in range(events // 1000):
        emails = [queued(tenant="acme") for _ in range(500)]
        for email in emails:
            email.cancel(stamp())
        await ledger.append([event for email in emails for event in email.collect_events()])
    await ledger.close()


def _folded(url: str) -> int:
    """How far the build is."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('projection_builds') IS NULL").fetchone() == (True,):
            return 0
        row = connection.execute("SELECT coalesce(max(position), 0) FROM projection_builds").fetchone()
        return int(row[0]) if row else 0


def _alone(url: str) -> bool:
    """Whether nobody else is connected."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchone() == (0,)
