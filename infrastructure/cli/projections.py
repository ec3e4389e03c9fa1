"""`postledger projections`: how far the read models are, and making them anew."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from infrastructure.bootstrap import PROJECTIONS, System, now, tune_garbage_collection
from infrastructure.cli import display
from infrastructure.cli.failures import NOT_FOUND, Failure
from infrastructure.cli.running import progress, with_system
from infrastructure.rebuild import Rebuild
from projections.projection import Projection


@click.group("projections")
def projections_group() -> None:
    """The read models: what is shown of the log."""


@projections_group.command("list")
def list_command() -> None:
    """How far each read model has come."""
    rows = with_system(_positions)
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
        with progress("Folding", "events/s") as report:
            return await rebuild.run(report)

    position = with_system(work)
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
