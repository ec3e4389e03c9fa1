"""A real `postledger serve` in a process of its own, with a directory of its own."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from infrastructure.settings import child_environment

API_KEY = "pl_test_0123456789abcdef"
_PATIENCE = 30.0  # seconds
_COMMAND = (sys.executable, "-m", "infrastructure.cli")
# Nothing in a test waits for longer than this.
QUICK: Mapping[str, str] = {"settle_after": "PT1S", "first_retry": "PT0.5S", "poll": "PT0.1S", "api_key": API_KEY}


class RunningService:
    """Where it answers, and how to talk to it."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, url: str, settings: Mapping[str, str]) -> None:
        self.process = process
        self.directory = directory
        self.url = url
        self.settings = settings

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer. Bytes go as they are, anything else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"} | headers
        request = urllib.request.Request(self.url + path, data, fields, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command that talks to this service."""
        return run(self.directory, *arguments, "--url", self.url, settings=self.settings, stdin=stdin)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(_PATIENCE)


@contextmanager
def serving(directory: Path, *arguments: str, settings: Mapping[str, str] = QUICK) -> Iterator[RunningService]:
    """`postledger serve` on a free port, ready. On SQLite in `directory`, unless the settings say otherwise."""
    with started(directory, "serve", "--port", "0", *arguments, settings=settings) as process:
        said = first_line(process)
        assert said, "serve said nothing and ended"
        service = RunningService(process, directory, str(json.loads(said)["api"]), settings)
        until(lambda: service.ask("GET", "/readyz")[0] == 200)
        yield service


@contextmanager
def started(directory: Path, *arguments: str, settings: Mapping[str, str] = QUICK) -> Iterator[subprocess.Popen[str]]:
    """A command as a process, killed at the end of the block; its stderr is the test's."""
    environment = child_environment(settings)
    with subprocess.Popen(
        [*_COMMAND, *arguments], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def first_line(process: subprocess.Popen[str]) -> str:
    """The next line it says."""
    assert process.stdout is not None
    return process.stdout.readline()


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def run(
    directory: Path, *arguments: str, settings: Mapping[str, str] = QUICK, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command to its end, with what it said."""
    return subprocess.run(
        [*_COMMAND, *arguments],
        cwd=directory,
        env=child_environment(settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
