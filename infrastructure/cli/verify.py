"""`postledger projections verify` and `repair`: whether read models say what the log says, and mending them."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from infrastructure.bootstrap import System, tune_garbage_collection
from infrastructure.cli import display
from infrastructure.cli.choosing import choose
from infrastructure.cli.failures import FAILED, Failure
from infrastructure.cli.running import with_system
from infrastructure.folding import FoldFails
from infrastructure.verification import copies
from infrastructure.verification.repair import Mended, Repaired, repair
from infrastructure.verification.report import Difference, Report, Verdict
from infrastructure.verification.verify import verify

_NAMES = click.argument("names", nargs=-1, metavar="[NAME]…")
_SHOWN = click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="Name so many differences of each."
)
_VALUES = click.option("--show-values", is_flag=True, help="Also what the rows say. It may be personal data.")
_COLUMNS = ("name", "position", "rows", "differences", "parked", "right")
_COUNTED = ("missing", "extra", "different", "sums")
_T = TypeVar("_T")


@click.command("verify")
@_NAMES
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Look at N streams only, picked at random.")
@click.option("--seed", type=click.IntRange(0), help="Pick the streams that were picked under this number.")
@_SHOWN
@_VALUES
def verify_command(
    names: Sequence[str], sample: int | None, seed: int | None, limit: int, *, show_values: bool
) -> None:
    """Fold the log once more, and compare the read models (all, if none is named) with it, row by row.

    The service may run meanwhile. Exits with 1 when something differs. Parked streams are left out.
    """
    if seed is not None and sample is None:
        raise click.UsageError("--seed goes with --sample.")
    chosen = choose(names)

    async def work(system: System, progress: copies.Progress) -> Report:
        ledger, database = system.ledger, system.database
        return await verify(ledger, database, chosen, sample=sample, seed=seed, shown=limit, progress=progress)

    report = _patiently(work)
    if display.for_people():
        _show(report, show_values)
        click.echo(_ending(report))
    else:
        display.document(report_json(report, show_values))
    if not report.right:
        click.get_current_context().exit(FAILED)


@click.command("repair")
@_NAMES
@click.option("--dry-run", is_flag=True, help="Only say what would be mended.")
@_SHOWN
@_VALUES
def repair_command(names: Sequence[str], limit: int, *, dry_run: bool, show_values: bool) -> None:
    """Verify read models (all, if none is named), fold again the streams that differ or are parked, and verify that.

    The service may run meanwhile. The log is never touched. Exits with 1 when something still differs.
    """
    chosen = choose(names)

    async def work(system: System, progress: copies.Progress) -> Repaired:
        done = await repair(system.ledger, system.database, chosen, dry=dry_run, shown=limit, progress=progress)
        system.wakeups.projections.notify()
        return done

    done = _patiently(work)
    if display.for_people():
        _show(done.before, show_values)
        _show_mended(done, dry_run)
    else:
        display.document(repaired_json(done, show_values))
    if not done.right:
        click.get_current_context().exit(FAILED)


COMMANDS: tuple[click.Command, ...] = (verify_command, repair_command)


def _patiently(work: Callable[[System, copies.Progress], Awaitable[_T]]) -> _T:
    tune_garbage_collection()

    async def prepared(system: System) -> _T:
        await system.runner.prepare()
        with _bars() as progress:
            return await work(system, progress)

    try:
        done: _T = with_system(prepared)
    except copies.NotThere as error:
        raise Failure(f"The read model {error} is still being built.", "`postledger projections status`") from None
    except copies.Replaced as error:
        raise Failure(f"The read model {error} was exchanged meanwhile.", "Do it again.") from None
    except FoldFails as error:
        raise Failure(f"The log cannot be folded: {error}.", "This version of the code is to blame.") from None
    return done


@contextmanager
def _bars() -> Iterator[copies.Progress]:
    """A bar for each thing that is done, on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not display.for_people()) as bars:
        known: dict[str, TaskID] = {}

        def told(doing: str, done: int, total: int) -> None:
            if doing not in known:
                known[doing] = bars.add_task(doing)
            bars.update(known[doing], completed=done, total=total)

        yield told


# -- for people ------------------------------------------------------------------------------------------------------


def _show(report: Report, show_values: bool) -> None:
    rows = [_verdict(verdict, show_values) for verdict in report.verdicts]
    display.console().print(display.table(_COLUMNS, map(_cells, rows)))
    named = [found for row in rows for found in row["differences"]]
    if named:
        columns = ["table", "kind", "stream_id", "key", "columns", *(("is", "should_be") if show_values else ())]
        lines = ([_cell(found[name]) for name in columns] for found in named)
        display.console().print(display.table(columns, lines))
    for verdict in report.verdicts:
        for line in _notes(verdict):
            click.echo(line)


def _cells(row: dict[str, Any]) -> list[str]:
    differ = ", ".join(f"{row[kind]} {kind}" for kind in _COUNTED if row[kind])
    right = "yes" if row["right"] else "NO"
    return [row["name"], str(row["position"]), str(row["rows"]), differ, str(len(row["parked"]) or ""), right]


def _notes(verdict: Verdict) -> Iterator[str]:
    if (more := verdict.counts.total() - len(verdict.differences)) > 0:
        yield f"{verdict.name}: {more} more; --limit names more of them."
    if verdict.parked:
        yield f"{verdict.name}: {len(verdict.parked)} parked streams are left out (`postledger projections parked`)."
    for stream_id, why in list(verdict.unfolded.items())[:20]:
        yield f"{verdict.name}: the stream {stream_id} cannot be folded: {why}"
    if verdict.left_out:
        yield f"{verdict.name}: {', '.join(verdict.left_out)} left out: sums are about all streams."
    if verdict.too_many:
        yield f"{verdict.name}: very much differs: `postledger projections rebuild {verdict.name}`."


def _ending(report: Report) -> str:
    of = "" if report.streams is None else f" Looked at {report.streams} streams: --seed {report.seed}."
    if report.right:
        return f"Right.{of}"
    return f"Not right: `postledger projections repair` mends what differs.{of}"


def _show_mended(done: Repaired, dry_run: bool) -> None:
    for each in done.mended:
        parts = f"{each.streams} streams, {each.rows} rows, {each.sums} sums, {each.unparked} followed again"
        click.echo(f"{each.name}: mended {parts}.")
        for stream_id, why in each.still_parked.items():
            click.echo(f"{each.name}: {stream_id} stays parked: {why}")
    if done.right:
        click.echo("Right.")
    elif dry_run:
        click.echo("Nothing was changed.")
    else:
        click.echo("Not right yet.")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items())
    return ", ".join(value) if isinstance(value, tuple) else str(value or "")


# -- as JSON ---------------------------------------------------------------------------------------------------------


def report_json(report: Report, show_values: bool) -> dict[str, Any]:
    picked = {} if report.streams is None else {"streams": report.streams, "seed": report.seed}
    return {"right": report.right, **picked, "read_models": [_verdict(v, show_values) for v in report.verdicts]}


def _verdict(verdict: Verdict, show_values: bool) -> dict[str, Any]:
    kinds = {"missing": 0, "extra": 0, "different": 0, "sum": 0}
    for (_, kind), count in verdict.counts.items():
        kinds[kind] += count
    return {
        "name": verdict.name,
        "version": verdict.version,
        "position": verdict.position,
        "right": verdict.right,
        "rows": verdict.rows,
        **{("sums" if kind == "sum" else kind): count for kind, count in kinds.items()},
        "streams_wrong": len(verdict.wrong),
        "parked": [{"stream_id": id, "position": at} for id, at in verdict.parked.items()],
        "unfolded": [{"stream_id": id, "error": why} for id, why in verdict.unfolded.items()],
        "left_out": list(verdict.left_out),
        "differences": [_difference(found, show_values) for found in verdict.differences],
    }


def _difference(found: Difference, show_values: bool) -> dict[str, Any]:
    said = {"is": dict(found.is_), "should_be": dict(found.should_be)} if show_values else {}
    key = {name: value if isinstance(value, (int, str)) else str(value) for name, value in found.key.items()}
    where: UUID | None = found.stream_id
    return {"table": found.table, "kind": found.kind, "stream_id": where, "key": key, "columns": found.columns, **said}


def repaired_json(done: Repaired, show_values: bool) -> dict[str, Any]:
    after = {} if done.after is None else {"after": report_json(done.after, show_values)}
    return {
        "right": done.right,
        "mended": [_mended(each) for each in done.mended],
        "before": report_json(done.before, show_values),
        **after,
    }


def _mended(each: Mended) -> dict[str, Any]:
    left = [{"stream_id": id, "error": why} for id, why in each.still_parked.items()]
    counts = {"streams": each.streams, "rows": each.rows, "sums": each.sums, "unparked": each.unparked}
    return {"name": each.name, **counts, "still_parked": left}
