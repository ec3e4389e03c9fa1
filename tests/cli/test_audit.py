"""audit keygen, checkpoint, checkpoints, verify, log and trace."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from infrastructure.audit.signing import new_key, read_private
from infrastructure.bootstrap import System
from infrastructure.cli import display, main
from infrastructure.settings import child_environment
from tests.cli.stocked import Stocked, failed
from tests.samples import NOW, stamp


@pytest.fixture
def stores(tmp_path: Path, sqlite_url: str) -> "Keyed":
    return Keyed(tmp_path, sqlite_url)


class Keyed(Stocked):
    """With the key that is in the directory, if one is."""

    @property
    def settings(self) -> dict[str, str]:
        key = self.directory / "audit-key"
        return {**super().settings, **({"audit_key_file": str(key)} if key.exists() else {})}

    def key(self) -> dict[str, Any]:
        told: dict[str, Any] = self.run("audit", "keygen", "--out", str(self.directory / "audit-key"))
        return told

    def checkpoint(self) -> Path:
        path = self.directory / "checkpoint.json"
        self.run("audit", "checkpoint", "--out", str(path))
        return path

    def seen(self, *arguments: str, code: int = 0) -> str:
        """What people see."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(display, "for_people", lambda: True)
            told = CliRunner().invoke(main, arguments, env=child_environment(self.settings) | {"COLUMNS": "200"})
        assert told.exit_code == code, told.output
        return told.stdout

    def sql(self, statement: str) -> None:
        async def work(system: System) -> None:
            await system.database.tell(lambda connection: connection.execute(text(statement)))

        self.ask(work)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a key, and three dead letters."""
    home = tmp_path_factory.mktemp("audit")
    stores = Keyed(home, f"sqlite:///{home}/postledger.db")
    stores.key()
    stores.put(*(failed(f"b{number}@example.com", tenant="acme") for number in range(3)))
    return home


@pytest.fixture
def keyed(template: Path, tmp_path: Path) -> Keyed:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Keyed(tmp_path, f"sqlite:///{tmp_path}/postledger.db")


def test_a_key_pair_is_for_its_owner_only_and_never_written_over(stores: Keyed) -> None:
    told = stores.key()
    private = Path(told["private_key_file"])
    assert private.stat().st_mode & 0o777 == 0o600
    assert (
        read_private(private.read_text()).witness.pem == told["public_key"] == Path(told["public_key_file"]).read_text()
    )
    assert "is there already" in stores.run("audit", "keygen", "--out", str(private), code=1)
    assert "PRIVATE" not in json.dumps(told)


def test_a_checkpoint_is_written_kept_and_listed(keyed: Keyed) -> None:
    document = json.loads(keyed.checkpoint().read_text())
    assert (document["position"], document["count"]) == (9, 9)
    listed = keyed.run("audit", "checkpoints")
    assert [{**row, "number": 1} for row in listed["data"]] == [{"number": 1, **document}]


def test_without_a_key_everything_works_unsigned_and_says_so(stores: Keyed) -> None:
    stores.put(failed())
    told = CliRunner().invoke(main, ["audit", "checkpoint"], env=child_environment(stores.settings))
    assert "not signed" in told.stderr
    assert json.loads(told.stdout)["signature"] is None
    assert stores.run("audit", "verify")["unsigned"] == 1


@pytest.mark.parametrize("key", ["nonsense", "c2hvcnQ=", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"])
def test_a_key_that_is_none_is_refused_without_being_told(stores: Keyed, key: str) -> None:
    environment = child_environment({**stores.settings, "audit_key": key})
    told = CliRunner().invoke(main, ["audit", "checkpoint"], env=environment)
    assert told.exit_code == 2
    assert "POSTLEDGER_AUDIT_KEY: is no Ed25519 private key" in told.stderr
    assert key not in told.output


def test_verify_agrees_with_what_was_kept_elsewhere(keyed: Keyed) -> None:
    path = keyed.checkpoint()
    verdict = keyed.run("audit", "verify", "--against", str(path))
    assert (verdict["ok"], verdict["events"], verdict["checkpoints"], verdict["signed"]) == (True, 9, 2, 1)
    assert "All is as it was stored." in keyed.seen("audit", "verify")


def test_verify_fails_and_says_where(keyed: Keyed) -> None:
    keyed.checkpoint()
    keyed.sql("UPDATE events SET topic = 'email.cancelled.v1' WHERE rowid = 5")
    verdict = keyed.run("audit", "verify", code=1)
    (finding,) = verdict["findings"]
    assert (finding["kind"], finding["position"], finding["fields"]) == ("altered", 5, ["topic"])
    seen = keyed.seen("audit", "verify", code=1)
    assert "Something is wrong" in seen
    assert "altered" in seen


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 8}, "The signature of"),
        ({"signature": "AAAA"}, "The signature of"),
        ({"key_id": "0" * 16}, "which is not known"),
        ({"chain": "short"}, "it is no checkpoint"),
    ],
)
def test_a_forged_checkpoint_is_not_even_compared(keyed: Keyed, change: dict[str, Any], said: str) -> None:
    path = keyed.checkpoint()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    code = 1 if said == "The signature of" else 2
    assert said in keyed.run("audit", "verify", "--against", str(path), code=code)


def test_a_checkpoint_by_a_stranger_needs_their_public_key(keyed: Keyed) -> None:
    path, stranger = keyed.checkpoint(), new_key()
    path.write_text(json.dumps(stranger.sign(json.loads(path.read_text()))))
    assert "not known" in keyed.run("audit", "verify", "--against", str(path), code=2)
    public = keyed.directory / "stranger.pub"
    public.write_text(stranger.witness.pem)
    assert keyed.run("audit", "verify", "--against", str(path), "--public-key", str(public))["ok"]


def test_a_kept_checkpoint_with_a_wrong_signature_is_found(keyed: Keyed) -> None:
    keyed.checkpoint()
    keyed.sql("UPDATE audit_checkpoints SET document = replace(document, '+00:00', '+01:00')")
    (finding,) = keyed.run("audit", "verify", code=1)["findings"]
    assert finding["what"] == "The signature of checkpoint 1 is wrong."


def test_the_log_is_filtered_and_paged(keyed: Keyed) -> None:
    first = keyed.run("audit", "log", "--type", "email.delivery_failed", "--limit", "2")
    assert ([row["position"] for row in first["data"]], first["has_more"]) == ([9, 6], True)
    assert first["data"][0]["reason"] == "refused"
    rest = keyed.run("audit", "log", "--type", "email.delivery_failed", "--after", "6")
    assert [row["position"] for row in rest["data"]] == [3]
    assert keyed.run("audit", "log", "--tenant", "globex")["data"] == []
    assert len(keyed.run("audit", "log", "--since", NOW.isoformat())["data"]) == 9
    assert "refused" in keyed.seen("audit", "log")


def test_a_trace_is_a_tree_with_who_and_why(keyed: Keyed) -> None:
    email = failed(tenant="acme")
    email.requeue("their mailbox is mended", stamp(actor="operator:cli"))
    keyed.put(email)
    told = keyed.run("audit", "trace", str(email.id))
    requeued = told["data"][-1]
    assert (requeued["type"], requeued["actor"]) == ("email.requeued", "operator:cli")
    assert requeued["words"] == "their mailbox is mended"
    one = keyed.run("audit", "trace", requeued["event_id"])
    assert [node["event_id"] for node in one["data"]] == [requeued["event_id"]]
    assert one["begun_by"]["type"] == "email.queued"
    seen = keyed.seen("audit", "trace", str(email.id))
    assert "email.requeued by operator:cli: their mailbox is mended" in " ".join(seen.split())


def test_an_id_that_nobody_knows(keyed: Keyed) -> None:
    assert "Nothing is known" in keyed.run("audit", "trace", "019ca945-0a00-7ca3-aeb5-16f15a946b9a", code=4)
