"""Our own processes, to be killed at any moment and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class Process:
    """One `postledger serve`, restarted in place after each kill."""

    def __init__(self, role: str, port: int, settings: Mapping[str, str], log: Path) -> None:
        self.role = role
        self.kills = 0
        self.pauses = 0
        self._command = [sys.executable, "-m", "infrastructure.cli", "serve", "--role", role, "--port", str(port)]
        self._environment = {**os.environ, **settings}
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """`kill -9`, and again from the start."""
        self._end(signal.SIGKILL)
        self.kills += 1
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it stands still in the middle of whatever it does."""
        assert self._running is not None
        self._running.send_signal(signal.SIGSTOP)
        self.pauses += 1

    def go_on(self) -> None:
        assert self._running is not None
        self._running.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Whatever happened, nothing of it is left."""
        if self._running is not None:
            self._running.kill()
            self._running.wait(60)

    def ask_to_stop(self) -> None:
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """A graceful stop; returns the exit code."""
        return self._end(signal.SIGTERM)

    def ended(self) -> int:
        """The exit code, when it has been asked to stop."""
        assert self._running is not None
        return self._running.wait(60)

    def _end(self, how: signal.Signals) -> int:
        assert self._running is not None
        self._running.send_signal(how)
        return self._running.wait(60)
