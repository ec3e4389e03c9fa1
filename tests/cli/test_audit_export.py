"""audit export and export-verify: what is handed over, and that nobody changes it on the way."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from domain import events as e
from domain.answer import RecipientReport
from domain.suppression import Suppression
from infrastructure.audit.formats import COLUMNS
from tests.cli.stocked import Stocked, failed
from tests.cli.test_audit import Keyed
from tests.samples import NOW, queued, stamp

ADA, BOB = "Ada@Example.com", "bob@example.com"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Keyed:
    """Acme's to Ada and Bob, who both did something; Globex's to Bob; and Ada on Acme's list."""
    home = tmp_path_factory.mktemp("export")
    stores = Keyed(home, f"sqlite:///{home}/postledger.db")
    stores.key()
    both = queued(ADA, BOB, tenant="acme", subject='Says "hä", again')
    for person in both.standing.recipients:
        both.report(RecipientReport(e.EmailRecipientDelivered, person, "main", NOW), stamp())
    stores.put(both, failed(BOB, tenant="globex"))
    listed = Suppression("acme", ADA)
    listed.add("*", "manual", "operator:cli", stamp(), reason="asked us")
    stores.ask(lambda system: system.ledger.append(listed.collect_events()))
    return stores


def exported(stores: Stocked, out: Path, *options: str) -> dict[str, Any]:
    told: dict[str, Any] = stores.run("audit", "export", "--out", str(out), *options)
    return told


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(out.glob("*.ndjson")) for line in path.read_text().splitlines()]


def from_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    numbers = [{name: int(row[name] or 0) for name in ("position", "version")} for row in rows]
    return [{**row, **some, "data": json.loads(row["data"] or "")} for row, some in zip(rows, numbers, strict=True)]


def from_parquet(path: Path) -> list[dict[str, Any]]:
    return [{**row, "data": json.loads(row["data"])} for row in pyarrow.parquet.read_table(path).to_pylist()]


def test_every_format_has_the_same_events(keyed: Keyed, tmp_path: Path) -> None:
    told = {f: exported(keyed, tmp_path / f, "--format", f) for f in ("ndjson", "csv", "parquet")}
    rows = lines(tmp_path / "ndjson")
    assert [row["position"] for row in rows] == list(range(1, 8))
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["data"]["subject"] == 'Says "hä", again'
    assert from_csv(tmp_path / "csv/events-000001.csv") == rows
    assert from_parquet(tmp_path / "parquet/events-000001.parquet") == rows
    assert {document["events"] for document in told.values()} == {7}
    for format in told:
        verdict = keyed.run("audit", "export-verify", str(tmp_path / format))
        assert (verdict["ok"], verdict["key"], verdict["events"]) == (True, "known", 7)


def test_the_manifest_tells_where_the_chain_stood(keyed: Keyed, tmp_path: Path) -> None:
    document = exported(keyed, tmp_path / "out")
    checkpoint = json.loads(keyed.checkpoint().read_text())
    assert document["log"] == {name: checkpoint[name] for name in ("log_id", "position", "count", "chain")}
    assert exported(keyed, tmp_path / "later")["checkpoint"] == checkpoint
    assert (tmp_path / "out/manifest.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out/events-000001.ndjson").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (("--from", "3", "--to", "5"), [3, 4, 5]),
        (("--tenant", "globex"), [4, 5, 6]),
        (("--from", "2026-03-01T12:00"), [1, 2, 3, 4, 5, 6, 7]),
        (("--to", "2026-03-01T12:00"), []),
        (("--person", "ada@EXAMPLE.com"), [1, 2, 7]),
        (("--person", BOB), [1, 3, 4, 5, 6]),
        (("--person", BOB, "--from", "3", "--tenant", "acme"), [3]),
        (("--person", "cy@example.com"), []),
    ],
)
def test_an_export_of_a_range_a_tenant_or_a_person(
    keyed: Keyed, tmp_path: Path, options: tuple[str, ...], positions: list[int]
) -> None:
    document = exported(keyed, tmp_path / "out", *options)
    assert [row["position"] for row in lines(tmp_path / "out")] == positions
    assert document["events"] == len(positions)


def test_files_are_of_bounded_size(tmp_path: Path, sqlite_url: str) -> None:
    stores = Keyed(tmp_path, sqlite_url)
    stores.put(*(queued(subject="x" * 9000) for _ in range(300)))
    document = exported(stores, tmp_path / "out", "--file-size", "1")
    assert [(file["first"], file["last"]) for file in document["files"]] == [(1, 250), (251, 300)]
    assert stores.run("audit", "export-verify", str(tmp_path / "out"))["key"] == "unsigned"


def test_an_event_that_cannot_be_read_is_exported_as_far_as_it_is_known(tmp_path: Path, sqlite_url: str) -> None:
    stores = Keyed(tmp_path, sqlite_url)
    stores.put(failed())
    stores.sql("UPDATE events SET topic = 'email.unheard_of.v1' WHERE rowid = 2")
    document = exported(stores, tmp_path / "out", "--from", "2026-03-01T11:00")
    assert (document["events"], document["unreadable"]) == (3, 1)
    row = lines(tmp_path / "out")[1]
    assert (row["position"], row["type"], row["version"], row["data"]) == (2, "email.unheard_of.v1", 2, None)


@pytest.fixture(scope="module")
def whole(keyed: Keyed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of everything."""
    out = tmp_path_factory.mktemp("whole") / "out"
    exported(keyed, out)
    return out


def _append(out: Path) -> None:
    with (out / "events-000001.ndjson").open("a") as file:
        file.write("{}\n")


def _change(out: Path) -> None:
    path = out / "events-000001.ndjson"
    path.write_text(path.read_text().replace("acme", "acne"))


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def tamper(out: Path) -> None:
        path = out / "manifest.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return tamper


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_append, "bytes instead of"),
        (_change, "was changed"),
        (lambda out: (out / "events-000001.ndjson").unlink(), "is missing"),
        (lambda out: (out / "more.ndjson").touch(), "is not in the manifest"),
        (_manifest(lambda document: document.update(events=3)), "signature of the manifest is wrong"),
        (_manifest(lambda document: document["wanted"].update(tenant="acme")), "signature of the manifest is wrong"),
        (_manifest(lambda document: document["files"].clear()), "the manifest says 7"),
        (_manifest(lambda document: document["files"][0].pop("sha256")), "without saying what it must be"),
        (_manifest(lambda document: document.update(signature=None)), "signature of the manifest is wrong"),
    ],
)
def test_whatever_is_changed_afterwards_is_found(
    keyed: Keyed, tmp_path: Path, whole: Path, tamper: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(whole, tmp_path / "out")
    tamper(tmp_path / "out")
    verdict = keyed.run("audit", "export-verify", str(tmp_path / "out"), code=1)
    assert any(said in wrong for wrong in verdict["wrong"])


def test_what_was_broken_off_has_no_manifest_and_is_not_gone_on_with(
    keyed: Keyed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("infrastructure.audit.export.Export._finish", broken)
    keyed.run("audit", "export", "--out", str(tmp_path / "out"), code=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["events-000001.ndjson"]
    assert "broken off" in keyed.run("audit", "export-verify", str(tmp_path / "out"), code=4)
    assert "is not empty" in keyed.run("audit", "export", "--out", str(tmp_path / "out"), code=2)


def test_parquet_says_what_it_needs(keyed: Keyed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = keyed.run("audit", "export", "--format", "parquet", "--out", str(tmp_path / "out"), code=2)
    assert "postledger[parquet]" in told
    assert not (tmp_path / "out").exists()


def test_an_address_that_is_none_is_refused(keyed: Keyed, tmp_path: Path) -> None:
    assert "--person" in keyed.run("audit", "export", "--out", str(tmp_path / "x"), "--person", "ada", code=2)
