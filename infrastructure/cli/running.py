"""Commands that work on the stores themselves: wiring up, progress, taking apart again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from application.errors import StoreUnavailable
from infrastructure.bootstrap import System, bootstrap
from infrastructure.cli import display
from infrastructure.cli.failures import UNREACHABLE, Failure
from infrastructure.settings import load_settings

_PATIENCE = 2.0  # seconds for a worker to fold what has just happened
_AWAY = "Is POSTLEDGER_DATABASE_URL right, and the server up? `postledger doctor` tells more."


def with_system(work: Callable[[System], Any]) -> Any:
    """Wire the service up, do the work, and take it apart again. Raises Failure when the database is away."""

    async def run() -> Any:
        system = bootstrap(load_settings())
        try:
            return await work(system)
        finally:
            await system.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable:
        raise Failure("The database cannot be reached.", _AWAY, UNREACHABLE) from None


async def follow(system: System, *names: str) -> None:
    """Look at the read models as they are, and tell when these are behind the log."""
    await system.prepare()
    if not await system.runner.wait_for(await system.ledger.position(), _PATIENCE, names):
        click.echo("What follows may be old: the read models are behind. Does a worker run?", err=True)


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with rate and time left on a terminal; nothing elsewhere. Tell what it yields how far, of how much."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not display.for_people()) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rate(TextColumn):
    """How fast it goes."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} {self.text_format}")
