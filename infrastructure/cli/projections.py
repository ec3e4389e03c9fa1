"""`postledger projections`: how far the read models are, and making them anew."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from application.errors import StoreUnavailable
from infrastructure.bootstrap import PROJECTIONS, System, bootstrap, now, tune_garbage_collection
from infrastructure.cli import display
from infrastructure.cli.failures import NOT_FOUND, UNREACHABLE, Failure
from infrastructure.rebuild import Rebuild
from infrastructure.settings import load_settings
from projections.projection import Projection

_AWAY = "Is POSTLEDGER_DATABASE_URL right, and the server up? `postledger doctor` tells more."


@click.group("projections")
def projections_group() -> None:
    """The read models: what is shown of the log."""


@projections_group.command("list")
def list_command() -> None:
    """How far each read model has come."""
    rows = _run(_positions)
    if not display.for_people():
        display.document({"object": "list", "has_more": False, "data": rows})
        return
    columns = ("name", "version", "position", "lag", "error")
    cells = ([str(row[name] if row[name] is not None else "") for name in columns] for row in rows)
    display.console().print(display.table(columns, cells))


@projections_group.command("rebuild")
@click.argument("names", nargs=-1, metavar="[NAME]…")
def rebuild_command(names: Sequence[str]) -> None:
    """Make read models (all, if none is named) anew from the log, and swap them in. The service may run meanwhile."""
    chosen = _choose(names)
    tune_garbage_collection()

    async def work(system: System) -> int:
        await system.runner.prepare()
        rebuild = Rebuild(system.ledger, system.database, chosen, system.wakeups, now)
        with _progress() as progress:
            return await rebuild.run(progress)

    position = _run(work)
    if display.for_people():
        click.echo(f"Rebuilt {', '.join(p.name for p in chosen)} up to position {position}.")
    else:
        display.document({"rebuilt": [p.name for p in chosen], "position": position})


async def _positions(system: System) -> list[dict[str, Any]]:
    await system.runner.prepare()
    return [asdict(position) for position in await system.runner.positions()]


def _choose(names: Sequence[str]) -> list[Projection]:
    known = {projection.name: projection for projection in PROJECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise Failure(f"There is no read model {', '.join(unknown)}.", f"There are: {', '.join(known)}.", NOT_FOUND)
    return [known[name] for name in dict.fromkeys(names)] or list(PROJECTIONS)


def _run(work: Callable[[System], Any]) -> Any:
    """Wire the service up, do the work, and take it apart again."""

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


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left on a terminal; nothing elsewhere."""
    columns = (TextColumn("Folding"), BarColumn(), MofNCompleteColumn(), _Rate("events/s"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not display.for_people()) as bar:
        task = bar.add_task("fold", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rate(TextColumn):
    """How fast it goes."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} {self.text_format}")
