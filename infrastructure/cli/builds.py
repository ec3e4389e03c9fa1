"""`postledger projections rebuild`, `status`, `cancel`, `rollback` and `drop`: making read models anew."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import click
from sqlalchemy import Connection

from infrastructure.bootstrap import System, now, tune_garbage_collection
from infrastructure.builder import BuildFailed
from infrastructure.cli import display
from infrastructure.cli.choosing import choose
from infrastructure.cli.failures import USAGE, Failure
from infrastructure.cli.running import progress, with_system
from infrastructure.database import builds, positions
from infrastructure.database.builds import READY, Part
from projections.projection import Projection

_LOOK = 0.5  # seconds between looks at what the children do
_MOST = 16  # parts
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]…")
_RESUME = "What is done stays done: `postledger projections rebuild` goes on, `cancel` ends it."


@click.command("rebuild")
@_NAMES
@click.option("--processes", type=click.IntRange(1, _MOST), help="How many fold side by side; on SQLite one.")
@click.option("--afresh", is_flag=True, help="Cancel what is under way, and begin anew.")
def rebuild_command(names: Sequence[str], processes: int | None = None, afresh: bool = False) -> None:
    """Make read models (all, if none is named) anew from the log, and swap them in.

    The service may run meanwhile. Broken off by whatever, it goes on with what is left when it is run again. The
    replaced tables are kept for `rollback`, until `drop` or the next rebuild.
    """
    chosen = [projection.name for projection in choose(names)]
    tune_garbage_collection()

    async def work(system: System) -> int:
        nonlocal chosen
        await system.runner.prepare()
        if afresh:
            await system.builder.cancel(chosen)
        chosen = await system.builder.begin(chosen, _parts(system, processes))
        with progress("Folding", "events/s") as report:
            await _side_by_side(system, chosen, report)
            return await system.builder.rebuild(chosen, report)

    position = _patiently(work)
    _tell("Rebuilt", chosen, position)


@click.command("fold-part", hidden=True)
@click.argument("part", type=int)
@click.argument("names", nargs=-1)
def fold_part_command(part: int, names: Sequence[str]) -> None:
    """What `rebuild` has done in a process of its own. Ends with its parent."""
    parent = os.getppid()
    tune_garbage_collection()

    def orphaned(done: int, total: int) -> None:
        if os.getppid() != parent:
            raise KeyboardInterrupt

    async def work(system: System) -> None:
        await system.builder.replay(names, orphaned, only=part)

    try:
        with_system(work)
    except KeyboardInterrupt:
        sys.exit(1)


@click.command("status")
def status_command() -> None:
    """The builds that are under way: by hand, and those that the workers see to after an upgrade."""

    async def work(system: System) -> list[dict[str, Any]]:
        await system.runner.prepare()
        head = await system.ledger.position()
        return _status(await system.builder.parts(), head)

    rows = with_system(work)
    if not display.for_people():
        display.document({"object": "list", "has_more": False, "data": rows})
        return
    columns = ("name", "version", "phase", "percent", "parts", "events_per_second", "seconds_left", "by", "error")
    cells = ([("" if row[c] is None else str(row[c])) for c in columns] for row in rows)
    display.console().print(display.table(columns, cells))


@click.command("cancel")
@_NAMES
def cancel_command(names: Sequence[str]) -> None:
    """End builds that are under way, and drop their tables. The live read models are left as they are."""
    chosen = [projection.name for projection in choose(names)]

    async def work(system: System) -> list[str]:
        await system.runner.prepare()
        return await system.builder.cancel(chosen)

    gone: list[str] = with_system(work)
    if not display.for_people():
        display.document({"cancelled": gone})
    else:
        click.echo(f"Cancelled: {', '.join(gone)}." if gone else "No build was under way.")


@click.command("rollback")
@click.argument("name")
def rollback_command(name: str) -> None:
    """Swap the tables in that a read model had before its last rebuild, caught up with the log."""
    (projection,) = choose([name])

    async def work(system: System) -> int:
        await system.runner.prepare()
        return await system.builder.roll_back(projection.name)

    _tell("Rolled back", [projection.name], _patiently(work))


@click.command("drop")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_command(name: str, yes: bool) -> None:
    """Drop what a read model has left behind: the tables before its last rebuild, and those of older versions.

    Processes with older code lose their tables: end them first.
    """
    (projection,) = choose([name])

    async def work(system: System) -> list[str]:
        await system.runner.prepare()
        found = await system.database.ask(_left_behind, projection)
        if found and not yes:
            if not sys.stdin.isatty():
                raise Failure(f"{', '.join(found)} would be dropped.", "Say --yes if that is meant.", USAGE)
            click.confirm(f"{', '.join(found)} will be dropped. Go on?", abort=True, err=True)
        return await system.database.tell(_drop, projection) if found else []

    gone: list[str] = with_system(work)
    if not display.for_people():
        display.document({"dropped": gone})
    else:
        click.echo(f"Dropped {', '.join(gone)}." if gone else f"{projection.name} has left nothing behind.")


def _parts(system: System, processes: int | None) -> int:
    if system.database.kind == "sqlite":
        if processes and processes > 1:
            raise Failure("SQLite has one writer at a time.", "Leave out --processes, or use PostgreSQL.", USAGE)
        return 1
    return processes or max(1, min(4, (os.cpu_count() or 2) // 2))


async def _side_by_side(system: System, names: Sequence[str], report: Any) -> None:
    """Let children fold the parts of builds that have several, until all of them are through once."""
    mine = [part for part in await system.builder.parts() if part.name in names and part.parts > 1]
    numbers = sorted({part.part for part in mine})
    if not numbers:
        return
    command = [sys.executable, "-m", "infrastructure.cli", "projections", "fold-part"]
    children = [subprocess.Popen([*command, str(number), *names]) for number in numbers]  # noqa: S603 - our own command
    try:
        while any(child.poll() is None for child in children):
            await asyncio.sleep(_LOOK)
            head = await system.ledger.position()
            reached = [part.position for part in await system.builder.parts() if part.name in names]
            report(sum(reached) // max(1, len(reached)), head)
    finally:
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            child.wait()
    if any(child.returncode for child in children):
        raise Failure("A process that folded a part has failed.", _RESUME)


def _patiently(work: Any) -> int:
    try:
        return int(with_system(work))
    except KeyboardInterrupt:
        raise Failure("Stopped.", _RESUME) from None
    except BuildFailed as failed:
        raise Failure(str(failed), "`postledger projections cancel` drops it; `status` shows it.") from None


def _tell(done: str, names: Sequence[str], position: int) -> None:
    if display.for_people():
        click.echo(f"{done}: {', '.join(names)}, up to position {position}.")
    else:
        display.document({done.lower().replace(" ", "_"): list(names), "position": position})


def _status(parts: Sequence[Part], head: int) -> list[dict[str, Any]]:
    names = dict.fromkeys((part.name, part.version) for part in parts)
    return [_line([part for part in parts if (part.name, part.version) == name], head) for name in names]


def _line(parts: Sequence[Part], head: int) -> dict[str, Any]:
    first, done = parts[0], sum(part.position for part in parts) / len(parts)
    seconds = (max(part.updated_at for part in parts) - first.started_at).total_seconds()
    rate = done / seconds if seconds > 0 else 0.0
    return {
        "name": first.name,
        "version": first.version,
        "phase": "catching up" if first.phase == READY else first.phase,
        "percent": round(100 * done / head, 1) if head else 100.0,
        "parts": first.parts,
        "position": min(part.position for part in parts),
        "events_per_second": round(rate),
        "seconds_left": round((head - done) / rate) if rate else None,
        "by": "workers" if first.auto else "hand",
        "started_at": first.started_at.isoformat(),
        "idle_seconds": round((now() - max(part.updated_at for part in parts)).total_seconds()),
        "error": first.error,
    }


def _left_behind(connection: Connection, projection: Projection) -> list[str]:
    replaced = builds.previous_of(connection, projection)
    before = [table.name for table in projection.tables(replaced.suffix)] if replaced else []
    return [*before, *builds.of_older_versions(connection, projection)]


def _drop(connection: Connection, projection: Projection) -> list[str]:
    positions.lock_creation(connection)
    gone = builds.drop_previous(connection, projection.name, projection.version)
    gone += builds.drop_tables(connection, builds.of_older_versions(connection, projection))
    builds.retire_older(connection, projection)
    return gone


COMMANDS: tuple[click.Command, ...] = (
    rebuild_command,
    status_command,
    cancel_command,
    rollback_command,
    drop_command,
    fold_part_command,
)
