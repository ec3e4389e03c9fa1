"""Stores with emails in them and nobody at work: for commands that look at the stores themselves."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from click.testing import CliRunner

from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email
from domain.events import Event
from infrastructure.bootstrap import System, bootstrap
from infrastructure.cli import main
from infrastructure.settings import child_environment, load_settings
from tests.samples import LEASE, NOW, queued, stamp, stored_content

T = TypeVar("T")


@dataclass
class Stocked:
    """The stores of two tenants, acme and globex, with the providers `main` and `backup`."""

    directory: Path
    database_url: str

    @property
    def settings(self) -> dict[str, str]:
        stores = {"database_url": self.database_url, "blob_url": f"file://{self.directory}/blobs"}
        providers = f"main=sandbox://default?dir={self.directory}/a,backup=sandbox://default?dir={self.directory}/b"
        return {**stores, "providers": providers, "api_key": "acme=pl_one,globex=pl_two"}

    def put(self, *emails: Email) -> None:
        """Store what has happened to these, and let the read models see it."""

        async def work(system: System) -> None:
            new = [(email, email.collect_events()) for email in emails]
            contents = [stored_content(email) for email, events in new if events[0].originator_version == 1]
            await system.ledger.append([event for _, events in new for event in events], contents)
            await system.runner.catch_up()

        self.ask(work)

    def events(self, id: UUID) -> Sequence[Event]:
        async def work(system: System) -> Sequence[Event]:
            return [recorded.event for recorded in await system.ledger.load(id)]

        return self.ask(work)

    def catch_up(self) -> None:
        """Let the read models see what commands did."""
        self.ask(lambda system: system.runner.catch_up())

    def ask(self, work: Callable[[System], Awaitable[T]]) -> T:

        async def run() -> T:
            system = bootstrap(load_settings(**self.settings))
            try:
                await system.prepare()
                return await work(system)
            finally:
                await system.close()

        return asyncio.run(run())

    def run(self, *arguments: str, code: int = 0) -> Any:
        """What the command answers where its output is no terminal: JSON; or what it complains of."""
        told = CliRunner().invoke(main, arguments, env=child_environment(self.settings))
        assert told.exit_code == code, told.output
        return json.loads(told.stdout) if told.stdout else told.stderr

    def on_a_terminal(self, *arguments: str, typed: str = "") -> str:
        """What somebody sees who types this."""
        ours, theirs = pty.openpty()
        environment = child_environment(self.settings) | {"TERM": "xterm", "COLUMNS": "150"}
        command = [sys.executable, "-m", "infrastructure.cli", *arguments]
        with subprocess.Popen(command, cwd=self.directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
            os.close(theirs)
            os.write(ours, typed.encode())
            seen = b""
            with suppress(OSError):  # how Linux says that the other end is closed
                while data := os.read(ours, 1 << 16):
                    seen += data
        os.close(ours)
        return seen.decode()


def failed(*to: str, provider: str = "main", **fields: Any) -> Email:
    """Refused for good."""
    return _attempted(Answer(error_class=ErrorClass.PERMANENT, reason="refused"), provider, queued(*to, **fields))


def doubtful(*to: str, provider: str = "main", **fields: Any) -> Email:
    """The answer got lost."""
    return _attempted(Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost"), provider, queued(*to, **fields))


def _attempted(answer: Answer, provider: str, email: Email) -> Email:
    email.conclude(email.start_delivery(provider, "default", LEASE, stamp(NOW)), answer, stamp(NOW), chance=0)
    return email
