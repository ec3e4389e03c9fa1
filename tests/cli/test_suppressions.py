"""`postledger suppressions` against a running service, and `sync` against a provider's list."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from application.ports import ListedSuppression
from infrastructure.cli import main
from infrastructure.provider_table import PROVIDERS
from tests.providers_fake import ListingProvider
from tests.service import RunningService, until

LISTED = (ListedSuppression("ada@example.com", "bounce"), ListedSuppression("bob@example.com", "unsubscribe"))


def said(service: RunningService, *arguments: str, stdin: str = "") -> Any:
    ran = service.run("suppressions", *arguments, stdin=stdin)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def listed(service: RunningService, **filters: str) -> list[str]:
    options = [f"--{name}={value}" for name, value in filters.items()]
    return [entry["email"] for entry in said(service, "list", *options)["data"]]


def test_an_address_is_added_listed_held_back_and_removed(service: RunningService) -> None:
    added = said(service, "add", "Eve@example.com", "--reason", "asked by phone")
    assert (added["email"], added["scope"], added["rule"]) == ("Eve@example.com", "*", "manual")
    until(lambda: listed(service, address="eve@") == ["Eve@example.com"])
    options = ("--from", "service@example.org", "--subject", "Hello", "--text", "Hello", "--wait", "20")
    sent = service.run("send", "--to", "eve@example.com", *options)
    assert (sent.returncode, json.loads(sent.stdout)["status"]) == (1, "suppressed")
    assert said(service, "remove", "eve@example.com", "--reason", "changed her mind")["scopes"] == ["*"]
    until(lambda: listed(service, address="eve@") == [])
    assert service.run("suppressions", "remove", "eve@example.com", "--reason", "again").returncode == 4


def test_what_bounces_hard_in_the_sandbox_is_on_the_list(service: RunningService) -> None:
    options = ("--from", "service@example.org", "--subject", "Hello", "--text", "Hello", "--wait", "20")
    service.run("send", "--to", "complained@sandbox.test", *options)
    until(lambda: listed(service, rule="complaint") == ["complained@sandbox.test"])
    again = service.run("send", "--to", "complained@sandbox.test", *options)
    assert json.loads(again.stdout)["status"] == "suppressed"


def test_a_reason_is_needed(service: RunningService) -> None:
    assert service.run("suppressions", "add", "eve@example.com").returncode == 2
    refused = service.run("suppressions", "add", "nobody", "--reason", "x")
    assert (refused.returncode, "email" in refused.stderr) == (2, True)


def test_a_file_goes_in_by_parts_and_comes_out_again(service: RunningService, tmp_path: Path) -> None:
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    people = [f"p{number}@file.example" for number in range(4500)]
    file.write_text("email,scope\n" + "".join(f"{person},news\n" for person in people))
    told = said(service, "import", str(file))
    assert told == {"added": 4500, "already": 0, "refused": []}

    def exported() -> list[str]:
        ran = service.run("suppressions", "export", str(out))
        assert (ran.returncode, ran.stdout) == (0, "")
        return [row["email"] for row in csv.DictReader(io.StringIO(out.read_text())) if row["scope"] == "news"]

    until(lambda: exported() == people)
    piped = service.run("suppressions", "export")
    assert piped.stdout.count("\n") == out.read_text().count("\n")


def test_bad_lines_are_told_by_their_number_in_the_file(service: RunningService) -> None:
    lines = ["email", *["ada@lines.example"] * 3000, "nobody", "bob@lines.example"]
    ran = service.run("suppressions", "import", "-", stdin="\n".join(lines))
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["added"] == 2
    assert "line 3002: email" in ran.stderr


def test_a_file_without_a_header_is_wrong_usage(service: RunningService) -> None:
    ran = service.run("suppressions", "import", "-", stdin="ada@example.com\n")
    assert (ran.returncode, "line 1 must name the columns" in ran.stderr) == (2, True)


# -- sync ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two tenants and two providers, of which one has a list."""
    monkeypatch.setitem(PROVIDERS, "listing", lambda name, url, clock: ListingProvider(LISTED))
    monkeypatch.chdir(tmp_path)
    return {
        "POSTLEDGER_DATABASE_URL": f"sqlite:///{tmp_path}/postledger.db",
        "POSTLEDGER_BLOB_URL": f"file:{tmp_path}/blobs",
        "POSTLEDGER_API_KEY": "acme=one,globex=two",
        "POSTLEDGER_PROVIDERS": "main=listing://default,plain=smtp://localhost:25",
    }


def sync(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, ["suppressions", "sync", *arguments], env=environment)


def test_a_providers_list_is_taken_over_for_every_tenant_once(environment: dict[str, str]) -> None:
    both, none = {"added": 2, "already": 0}, {"added": 0, "already": 2}
    for options, tenants in (
        (["--dry-run"], {"acme": both, "globex": both}),
        (["--tenant", "acme"], {"acme": both}),
        ([], {"acme": none, "globex": both}),
        ([], {"acme": none, "globex": none}),
    ):
        ran = sync(environment, "main", *options)
        assert ran.exit_code == 0, ran.output
        told = json.loads(ran.stdout)
        assert (told["listed"], told["refused"], told["tenants"]) == (2, 0, tenants)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plain"], 2, "no suppression list"),
        (["other"], 4, "main, plain"),
        (["main", "--tenant", "nobody"], 4, "acme, globex"),
    ],
)
def test_what_cannot_be_synced_is_told(
    environment: dict[str, str], arguments: list[str], code: int, words: str
) -> None:
    ran = sync(environment, *arguments)
    assert (ran.exit_code, words in ran.output) == (code, True)


def test_a_provider_that_breaks_off_is_told(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    breaking = ListingProvider(LISTED, breaks_off=True)
    monkeypatch.setitem(PROVIDERS, "listing", lambda name, url, clock: breaking)
    ran = sync(environment, "main")
    assert (ran.exit_code, "Run it again" in ran.output) == (3, True)
