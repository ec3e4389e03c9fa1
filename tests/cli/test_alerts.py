"""alerts list and test; and one incident from its beginning to its end in a running service."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from infrastructure.cli import main
from infrastructure.settings import child_environment
from tests.service import QUICK, RunningService, serving, started, until
from tests.smtp_server import SmtpSink

FIELDS = {"from": "shop@example.org", "to": "ada@example.com", "subject": "Hello", "text": "Hi."}
OPERATORS = {"alert_email_to": "ops@sandbox.test", "alert_email_from": "alerts@example.org"}


class Receiver(ThreadingHTTPServer):
    """Takes alerts on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.alerts: list[Any] = []
        self.status = 204

    @property
    def settings(self) -> dict[str, str]:
        return {"alert_webhook": f"http://127.0.0.1:{self.server_port}/hook", "alert_webhook_internal": "true"}

    def words(self, kind: str) -> list[str]:
        return [alert["status"] for alert in self.alerts if alert["kind"] == kind]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody needs to hear."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def postledger(directory: Path, settings: Mapping[str, str], *arguments: str, code: int = 0) -> Result:
    """A command whose output is no terminal."""
    stores = {"database_url": f"sqlite:///{directory}/postledger.db", "blob_url": f"file://{directory}/blobs"}
    told = CliRunner().invoke(main, arguments, env=child_environment({**QUICK, **stores, **settings}))
    assert told.exit_code == code, told.output
    return told


def test_every_channel_is_tried_and_what_happened_is_said(tmp_path: Path, receiver: Receiver) -> None:
    settings = {**OPERATORS, **receiver.settings}
    told = postledger(tmp_path, settings, "alerts", "test")
    assert json.loads(told.stdout) == [{"channel": name, "error": None} for name in ("log", "webhook", "email")]
    assert "This is a test. Nothing is wrong." in told.stderr
    assert receiver.words("test") == ["raised"]
    receiver.status = 500
    told = postledger(tmp_path, settings, "alerts", "test", code=1)
    assert json.loads(told.stdout)[1] == {"channel": "webhook", "error": "NotTaken: it answered 500"}
    assert json.loads(postledger(tmp_path, settings, "alerts", "list").stdout)["data"] == []


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (
            {"alert_webhook": "https://127.0.0.1/s3cret"},
            "ALERT_WEBHOOK: It leads to an address inside. If it should, set ",
        ),
        ({"alert_webhook": "http://example.com/s3cret"}, "ALERT_WEBHOOK: It must begin with https://"),
        ({"alert_webhook": "https://example.com/", "alert_webhook_secret": "whsec_s3cret!"}, "ALERT_WEBHOOK_SECRET: "),
        ({"alert_email_to": "s3cret"}, "ALERT_EMAIL_TO: must be an email address"),
        ({"alert_email_to": "ops@example.org"}, "ALERT_EMAIL_FROM: must be an email address"),
        ({"alert_every": "PT0S"}, "ALERT_EVERY: must be longer"),
    ],
)
def test_settings_that_reach_nobody_are_refused_at_the_start(
    tmp_path: Path, settings: dict[str, str], variable: str
) -> None:
    refused = postledger(tmp_path, settings, "alerts", "list", code=2)
    assert f"POSTLEDGER_{variable}" in refused.stderr
    assert "s3cret" not in refused.stderr


def test_secrets_of_alerts_are_not_shown(tmp_path: Path) -> None:
    settings = {"alert_webhook": "https://hooks.example.com/services/s3cret", "alert_webhook_secret": "s3cret"}
    assert "s3cret" not in postledger(tmp_path, settings, "config").stdout


def listed(service: RunningService, *options: str) -> list[Any]:
    told = CliRunner().invoke(main, ["alerts", "list", *options], env=child_environment(service.settings))
    rows: list[Any] = json.loads(told.stdout)["data"]
    return rows


def test_that_a_provider_is_down_is_told_through_the_other_one_and_that_it_is_back(
    tmp_path: Path, receiver: Receiver
) -> None:
    sink = SmtpSink({"MAIL": ["421 4.3.2 Closing down"]})
    with sink.in_thread():
        settings = {
            **QUICK,
            **OPERATORS,
            **receiver.settings,
            **{"alert_every": "PT0.1S", "alert_calm": "PT0.3S", "breaker_failures": "1", "breaker_open": "PT2S"},
            "providers": f"main={sink.url}?starttls=off,backup=sandbox://default?dir={tmp_path}/sandbox",
            "database_url": f"sqlite:///{tmp_path}/postledger.db",
        }
        with serving(tmp_path, settings=settings) as service:
            _, sent = service.ask("POST", "/emails", FIELDS)
            until(lambda: _alerts_delivered(tmp_path) == ["[Postledger] warning: provider_down main"])
            assert service.ask("GET", f"/emails/{sent['id']}")[1]["status"] == "delivered"
            (incident,) = listed(service, "--open")
            assert (incident["kind"], incident["subject"]) == ("provider_down", "main")
            until(lambda: _probed(service))
            until(lambda: receiver.words("provider_down") == ["raised", "resolved"])
            until(lambda: set(listed(service)[0]["told"].values()) == {"resolved"})
    assert listed(service, "--open") == []


def _probed(service: RunningService) -> bool:
    """Whether the provider has recovered; the email that is sent is the probe."""
    service.ask("POST", "/emails", FIELDS)
    return _metric(service.url, 'postledger_provider_state{provider="main",state="closed"}') == "1.0"


def _metric(url: str, name: str) -> str:
    """Its value. Prometheus would refuse the whole answer if a series came twice."""
    with urlopen(f"{url}/metrics", timeout=10) as response:  # noqa: S310
        lines = [line.rpartition(" ") for line in response.read().decode().splitlines() if not line.startswith("#")]
    series: dict[str, str] = {name: value for name, _, value in lines}
    assert len(series) == len(lines)
    return series.get(name, "")


def _alerts_delivered(directory: Path) -> list[str]:
    """The subjects of what the sandbox took for the operators."""
    found = [path.read_text() for path in sorted((directory / "sandbox").rglob("*.eml"))]
    lines = [line for mail in found if "ops@sandbox.test" in mail for line in mail.splitlines()]
    return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]


def test_a_worker_can_be_scraped(tmp_path: Path, postgres_url: str) -> None:
    settings = {**QUICK, "database_url": postgres_url, "worker_port": "0"}
    with started(tmp_path, "serve", "--role", "worker", settings=settings) as worker:
        assert worker.stdout is not None
        url = json.loads(worker.stdout.readline())["metrics"]
        service = RunningService(worker, tmp_path, url.removesuffix("/metrics"), settings)
        until(lambda: service.ask("GET", "/readyz")[0] == 200)
        assert service.ask("GET", "/emails")[0] == 404
        assert _metric(service.url, 'postledger_provider_state{provider="sandbox",state="closed"}') == "1.0"
        assert _metric(service.url, 'postledger_queue{priority="normal"}') == "0.0"
        assert service.stop() == 0
