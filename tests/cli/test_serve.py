"""How the service starts, stops, and refuses to."""

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from tests.postgres import PostgresServer
from tests.service import QUICK, RunningService, first_line, run, serving, started, until


def test_the_key_itself_is_never_said(tmp_path: Path) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "api_key"}
    with started(tmp_path, "serve", "--port", "0", settings=settings) as process:
        said = json.loads(first_line(process))
        _stop(process)
    assert said["api_key_file"] == "var/api-key"
    key = (tmp_path / "var/api-key").read_text().strip()
    assert key
    assert key not in json.dumps(said)


def test_a_stop_does_not_wait_for_those_who_listen(tmp_path: Path) -> None:
    with serving(tmp_path) as service, started(tmp_path, "tail", "--url", service.url, "--after", "0") as tail:
        service.ask("POST", "/emails", _email())
        assert json.loads(first_line(tail))["type"] == "email.queued.v2"
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 5


def test_a_tail_goes_on_where_it_was_when_the_service_returns(tmp_path: Path) -> None:
    options = ("--after", "0", "--types", "email.queued")
    with ExitStack() as until_the_end:
        with serving(tmp_path) as service:
            _, first = service.ask("POST", "/emails", _email())
            tail = until_the_end.enter_context(started(tmp_path, "tail", "--url", service.url, *options))
            assert json.loads(first_line(tail))["subject"] == first["id"]
            service.stop()
        with serving(tmp_path, "--port", service.url.rpartition(":")[2]) as service:
            _, second = service.ask("POST", "/emails", _email())
            assert json.loads(first_line(tail))["subject"] == second["id"]


def test_one_process_at_a_time_on_a_sqlite_file(tmp_path: Path) -> None:
    with serving(tmp_path):
        second = run(tmp_path, "serve", "--port", "0")
        assert second.returncode == 1
        assert "Another process already serves" in second.stderr
    with serving(tmp_path):
        pass  # it was killed, and the lock went with it


def test_roles_need_postgresql(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", "--role", "api")
    assert refused.returncode == 2
    assert "needs PostgreSQL" in refused.stderr


def test_a_taken_port_is_told_before_anything_is_done(tmp_path: Path, service: RunningService) -> None:
    refused = run(tmp_path, "serve", "--port", service.url.rpartition(":")[2])
    assert refused.returncode == 1
    assert f"Cannot listen on {service.url.removeprefix('http://')}: Address already in use.\n" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_api_and_worker_share_the_work_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    settings = {**QUICK, "database_url": postgres_url}
    with (
        started(tmp_path, "serve", "--role", "worker", settings=settings) as worker,
        serving(tmp_path, "--role", "api", settings=settings) as service,
    ):
        sent = service.run(
            *("send", "--from", "service@example.org", "--to", "ada@sandbox.test"),
            *("--subject", "Hello", "--text", "Hello", "--wait", "20"),
        )
        assert json.loads(sent.stdout)["status"] == "delivered", sent.stderr
        assert service.stop() == 0
        _stop(worker)


def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.fresh_database()
    postgres_server.drop_database(url)
    with started(tmp_path, "serve", "--port", "0", settings={**QUICK, "database_url": url}) as process:
        service = RunningService(process, tmp_path, json.loads(first_line(process))["api"], QUICK)
        assert service.ask("GET", "/readyz")[0] == 503
        assert service.ask("GET", "/healthz")[0] == 200
        assert service.ask("POST", "/emails", _email())[0] == 503
        _create(postgres_server, url)
        until(lambda: service.ask("GET", "/readyz")[0] == 200)
        assert service.ask("POST", "/emails", _email())[0] == 202
        _stop(process)
    postgres_server.drop_database(url)


def test_who_asks_at_once_is_answered(tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0") as process:
        service = RunningService(process, tmp_path, json.loads(first_line(process))["api"], QUICK)
        assert service.ask("GET", "/emails")[0] == 200
        _stop(process)


def test_at_debug_level_libraries_are_silent_for_they_would_write_mail_and_tokens() -> None:
    code = """
import logging
from infrastructure.cli.serve import log_to_stderr
log_to_stderr("debug")
logging.getLogger("botocore.endpoint").debug("X-Amz-Security-Token")
logging.getLogger("infrastructure.server").debug("one of ours")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "one of ours" in said.stderr
    assert "X-Amz" not in said.stderr


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.process.send_signal(signal.SIGSTOP)  # so that both are there before it looks
        service.process.terminate()
        service.process.send_signal(signal.SIGINT)
        service.process.send_signal(signal.SIGCONT)
        assert service.process.wait(10) in (0, -signal.SIGINT, -signal.SIGTERM)


def _email() -> dict[str, str]:
    return {"from": "service@example.org", "to": "delivered@sandbox.test", "subject": "Hello", "text": "Hello"}


def _create(server: PostgresServer, url: str) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    assert process.wait(20) == 0
