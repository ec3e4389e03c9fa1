"""config, doctor, demo and help: commands that look, and change nothing."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from domain.catalogue import EVENTS
from infrastructure.cli import config, main
from infrastructure.cli.config import masked
from infrastructure.cli.display import plain
from infrastructure.cli.timeline import DETAILS, details
from infrastructure.settings import Settings, child_environment
from tests.service import QUICK, RunningService, run, until

HIDDEN = "s3cret-word"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"smtp://user:{HIDDEN}@host:587", "smtp://***@host:587"),
        (f"sendgrid://{HIDDEN}@default", "sendgrid://***@default"),
        (f"ses://default?region=eu&webhook_key={HIDDEN}", "ses://default?region=eu&webhook_key=***"),
        ("sandbox://default?dir=var/sandbox", "sandbox://default?dir=var/sandbox"),
        ("sqlite:///var/postledger.db", "sqlite:///var/postledger.db"),
        ("file:var/blobs", "file:var/blobs"),
        ("postgresql:///name?host=/run/pg", "postgresql:///name?host=/run/pg"),
        (f"postgresql://h/d?password={HIDDEN}", "postgresql://h/d?password=***"),
    ],
)
def test_a_shown_url_keeps_its_secrets(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_config_shows_every_setting_and_no_secret(tmp_path: Path) -> None:
    settings = {
        "database_url": f"postgresql://user:{HIDDEN}@host/database",
        "providers": f"main=smtp://{HIDDEN}:{HIDDEN}@host:587",
        "api_key": HIDDEN,
    }
    told = run(tmp_path, "config", settings=settings)
    assert told.returncode == 0
    assert HIDDEN not in told.stdout + told.stderr
    assert json.loads(told.stdout)["POSTLEDGER_PROVIDERS"] == "main=smtp://***@host:587"


def test_config_shows_a_duration_as_it_may_be_set(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path, "config").stdout)["POSTLEDGER_INBOX_KEEP"]
    assert shown == "P90D"
    assert run(tmp_path, "config", settings={"inbox_keep": shown}).returncode == 0


def test_wrong_settings_are_wrong_usage_without_a_traceback(tmp_path: Path) -> None:
    told = run(tmp_path, "serve", settings={"port": "no", "lease": "soon"})
    assert told.returncode == 2
    assert "POSTLEDGER_PORT" in told.stderr
    assert "POSTLEDGER_LEASE" in told.stderr
    assert "Traceback" not in told.stderr


def test_doctor_finds_everything_in_order_beside_a_running_service(service: RunningService) -> None:
    told = run(service.directory, "doctor", settings={**QUICK, "port": service.url.rpartition(":")[2]})
    findings = json.loads(told.stdout)
    assert told.returncode == 0, told.stdout
    assert all(finding["fine"] for finding in findings)
    assert "runs at" in findings[-1]["found"]


def test_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path, service: RunningService) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/api-key").write_text("pl_known_to_all")
    (tmp_path / "var/api-key").chmod(0o644)
    settings = {"database_url": "postgresql://nobody@127.0.0.1:9/none", "databse_url": "x", "port": "0"}
    told = run(tmp_path, "doctor", settings=settings)
    findings = {f["check"]: f["found"] for f in json.loads(told.stdout)}
    wrong = {f["check"]: f["advice"] for f in json.loads(told.stdout) if not f["fine"]}
    assert told.returncode == 1
    assert findings["database and schema"] == "the database cannot be reached"
    assert {"settings", "database and schema", "API key"} <= set(wrong)
    assert all(wrong.values())


def test_the_demo_acts_every_scene_and_leaves_nothing(tmp_path: Path) -> None:
    told = run(tmp_path, "demo")
    assert told.returncode == 0, told.stderr
    scenes = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    assert [scene["status"] for scene in scenes] == ["delivered", "bounced", *["delivered"] * 4]
    assert not list(tmp_path.iterdir())


def test_help_names_every_command_and_exit_code() -> None:
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    for word in ("serve", "send", "show", "tail", "projections", "doctor", "config", "demo", "cannot be reached"):
        assert word in told.output


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("postledger 0.")


def test_every_event_can_be_told() -> None:
    assert set(DETAILS) | {"email.cancelled", "email.expired"} == {event.TYPE for event in EVENTS}
    given = {"sender": {"address": "a@b.org"}, "recipients": [], "messages": []}
    for event in EVENTS:
        details(event.topic(), dict.fromkeys(event.model_fields) | given, {})


def test_what_an_attempt_gave_up_of_the_message_is_shown() -> None:
    words = ["no_tracking", "links_over:5242880"]
    data = {"attempt": 2, "provider": "backup", "route": "default", "concessions": words}
    said = details("email.delivery_started.v3", data, {})
    assert said == "attempt 2 through backup: default (concessions: no_tracking, links_over:5242880)"
    assert details("email.delivery_started.v3", data | {"concessions": []}, {}) == "attempt 2 through backup: default"


SECRETS = sorted(name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation))


@pytest.mark.parametrize("name", SECRETS)
def test_config_shows_no_secret_whatever_it_is_called(name: str) -> None:
    secret = SecretStr(f"x://{HIDDEN}@host" if name in ("database_url", "blob_url", "providers") else HIDDEN)
    settings = Settings.model_construct(**{name: {"main": secret} if name == "providers" else secret})  # type: ignore[arg-type]
    assert "***" in config.shown(settings, name)
    assert HIDDEN not in config.shown(settings, name)


def test_config_shows_nothing_where_nothing_is_set() -> None:
    assert config.shown(Settings.model_construct(), "worker_port") == ""


def test_a_terminal_is_given_nothing_to_act_on() -> None:
    assert "\x1b" not in plain("\x1b[2Jgone")


def test_what_is_decided_about_a_provider_a_running_service_follows(service: RunningService) -> None:
    def state() -> str:
        return str(service.ask("GET", "/providers")[1]["data"][0]["state"])

    def decide(*what: str) -> None:
        settings = {**QUICK, "database_url": f"sqlite:///{service.directory}/var/postledger.db"}
        told = CliRunner().invoke(
            main, ["providers", *what, "sandbox", "--reason", "x"], env=child_environment(settings)
        )
        assert told.exit_code == 0

    assert state() == "closed"
    decide("pause")
    until(lambda: state() == "paused")
    assert "paused by an operator" in run(service.directory, "doctor").stdout
    decide("resume")
    until(lambda: state() == "closed")
