"""A `postledger serve` as a child process, with a directory and settings of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infrastructure.cli.failures import Failure
from infrastructure.settings import child_environment

_PATIENCE = 20.0  # seconds for a stop


class Child:
    """Serves on a free port from its start to the end of the block."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._settings = settings

    def __enter__(self) -> Self:
        """Start it; it listens as soon as it has said where."""
        self._log = (self._directory / "serve.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infrastructure.cli", "serve", "--port", "0"],
            cwd=self._directory,
            env=child_environment(self._settings),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        said = self._process.stdout.readline()
        if not said:
            self._process.wait()
            raise Failure("The service did not start.", self._last_words())
        self.url: str = json.loads(said)["api"]
        return self

    def stop(self) -> int:
        """Stop it gracefully, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_PATIENCE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout and self._process.stdout.close()
        self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:]
