"""`postledger projections`: how far the read models are, and making them anew."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click

from infrastructure.bootstrap import PROJECTIONS, System, now
from infrastructure.cli import builds, display, verify
from infrastructure.cli.choosing import choose
from infrastructure.cli.failures import FAILED
from infrastructure.cli.running import progress, with_system
from infrastructure.database import parked
from infrastructure.database.parked import Parked
from infrastructure.unparking import Unparking


@click.group("projections")
def projections_group() -> None:
    """The read models: what is shown of the log."""


for _command in (*builds.COMMANDS, *verify.COMMANDS):
    projections_group.add_command(_command)


@projections_group.command("list")
def list_command() -> None:
    """How far each read model has come."""
    rows = with_system(_positions)
    if not display.for_people():
        display.document({"object": "list", "has_more": False, "data": rows})
        return
    columns = ("name", "version", "state", "position", "lag", "lag_seconds", "parked", "building", "error")
    cells = ([_cell(row[name]) for name in columns] for row in rows)
    display.console().print(display.table(columns, cells))
    if any(row["parked"] for row in rows):
        click.echo("`postledger projections parked` shows the parked streams, `retry` follows them again.")


@projections_group.command("parked")
def parked_command() -> None:
    """The streams that a read model could not follow, and why."""
    rows = [asdict(each) for each in with_system(_parked)]
    for row in rows:
        row["at"] = row.pop("parked_at").isoformat()
    if not display.for_people():
        display.document({"object": "list", "has_more": False, "data": rows})
        return
    columns = ("name", "stream_id", "position", "topic", "error", "at")
    display.console().print(display.table(columns, ([_cell(row[name]) for name in columns] for row in rows)))


@projections_group.command("retry")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--stream", "streams", type=click.UUID, multiple=True, help="Only this stream; may be repeated.")
def retry_command(names: Sequence[str], streams: Sequence[UUID]) -> None:
    """Follow parked streams again (all, if nothing is named), from where each was left. The service may run meanwhile.

    Exits with 1 when some of them stay parked.
    """
    chosen = {projection.name: projection for projection in choose(names)}

    async def work(system: System) -> list[tuple[Parked, str | None]]:
        held = [p for p in await _parked(system) if p.name in chosen and (not streams or p.stream_id in streams)]
        unparking, told = Unparking(system.ledger, system.database, now), list[tuple[Parked, str | None]]()
        with progress("Following again", "streams/s") as report:
            for done, each in enumerate(held, 1):
                told.append((each, await unparking.retry(chosen[each.name], each)))
                report(done, len(held))
        return told

    _tell_retried(with_system(work))


def _tell_retried(told: Sequence[tuple[Parked, str | None]]) -> None:
    failed = [(each, why) for each, why in told if why is not None]
    if display.for_people():
        click.echo(f"{len(told) - len(failed)} of {len(told)} followed again.")
        for each, why in failed:
            click.echo(f"{each.name} {each.stream_id} stays parked: {why}")
    else:
        left = [{"name": each.name, "stream_id": str(each.stream_id), "error": why} for each, why in failed]
        display.document({"retried": len(told), "still_parked": left})
    if failed:
        click.get_current_context().exit(FAILED)


async def _parked(system: System) -> list[Parked]:
    """Of the live read models of this version of the code."""
    await system.runner.prepare()
    current = {(projection.name, projection.version) for projection in PROJECTIONS}
    held = await system.database.ask(parked.everything)
    return [each for each in held if (each.name, each.version) in current and not each.build]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    return "" if value is None else str(value)


async def _positions(system: System) -> list[dict[str, Any]]:
    await system.runner.prepare()
    return [asdict(position) for position in await system.runner.positions()]
