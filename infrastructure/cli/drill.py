"""`postledger providers drill`: a rehearsal of an outage, in front of a live provider."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from application.drill_report import TOPICS, DrillReport
from application.errors import StoreUnavailable
from application.ports import Recorded
from application.routes import with_default
from domain.email import Email
from domain.events import Stamp
from domain.ids import uuid7
from domain.listening import WAITING
from domain.provider import Provider
from domain.provider_events import Fault
from domain.provider_state import Circuit
from domain.status import EmailStatus
from infrastructure.bootstrap import System, now
from infrastructure.cli import display, options
from infrastructure.cli.failures import FAILED, NOT_FOUND, Failure
from infrastructure.cli.running import follow, with_system
from projections.dispatch_queue import due_times

_LOOK = 0.5  # seconds between two looks at the log
_PAGE = 1000  # events, or emails
_TOLD = 1000  # of those still under way
_UNDER_WAY = WAITING | {EmailStatus.SENDING, EmailStatus.UNCONFIRMED}


@dataclass(slots=True)
class _After:
    """Where the emails that were hit stand at the end."""

    ended: Counter[str] = field(default_factory=Counter)  # by status
    under_way: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@click.command("drill")
@click.argument("name")
@click.option("--for", "span", type=options.Span(), required=True, help="How long: 90s, 10m, 2h; at most a day.")
@click.option("--fault", type=click.Choice(get_args(Fault)), required=True, help="How the calls fail.")
@click.option(
    *("--rate", "rate"),
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="The share of calls that fail, above 0 and up to 1.",
)
def drill_command(name: str, span: timedelta, fault: Fault, rate: float) -> None:
    """Have calls to a live provider fail for a while, and see what becomes of the email.

    It ends by itself, or at once with Ctrl-C. No email is lost: one that is hit goes out by another provider, or later.
    """

    async def work(system: System) -> tuple[DrillReport, datetime, _After]:
        await system.prepare()
        report, position = await _begin(system, name, fault, rate, span)
        await _watch(system, report, position)
        ended = min(now(), report.until)
        return report, ended, await _look_after(system, report)

    report, ended, after = with_system(work)
    if display.for_people():
        _show(report, ended, after)
    else:
        display.document(_document(report, ended, after))
    if after.lost:
        click.get_current_context().exit(FAILED)


async def _begin(system: System, name: str, fault: Fault, rate: float, span: timedelta) -> tuple[DrillReport, int]:
    """Record the drill; the report to be, and the position from which on the log tells of it."""
    if name not in system.providers:
        raise Failure(f"There is no provider {name}.", f"There are: {', '.join(system.providers)}.", NOT_FOUND)
    at = now()
    until = at + span

    def ask(provider: Provider) -> None:
        if running := provider.state.drill(at):
            end = f"{provider.state.drill_until:%H:%M:%S}"
            raise Failure(f"A {running} drill of {name} runs until {end} UTC.", "Begin another one after its end.")
        provider.start_drill(fault, rate, until, _stamp(at))

    await _warn(system, name, at)
    change = await system.streams.decide(name, ask)
    return DrillReport(name, fault, rate, at, until), change.position


async def _warn(system: System, name: str, at: datetime) -> None:
    """Tell of routes that have nobody else."""
    names = list(system.providers)
    states = {each.name: each.state for each in await asyncio.gather(*(system.streams.load(name) for name in names))}
    well = {each for each, state in states.items() if state.circuit(at) is Circuit.CLOSED and each != name}
    routes = [(r.name, {p.name for p in r.providers}) for r in with_default(system.settings.routes, names)]
    if alone := [route for route, members in routes if name in members and not members & well]:
        message = f"No other provider can take over on: {', '.join(alone)}. What is hit there waits for this one."
        click.echo(message, err=True)


async def _watch(system: System, report: DrillReport, position: int) -> None:
    """Follow the log until the drill ends, or somebody ends it; then to the log's own end.

    Nor does it go on where that fails: nobody would be looking.
    """
    try:
        position = await _until_its_end(system, report, position)
    finally:
        at = now()
        await system.streams.decide(report.provider, lambda provider: provider.end_drill(_stamp(at)))
    await _follow(system, report, position)


async def _until_its_end(system: System, report: DrillReport, position: int) -> int:
    stop = asyncio.Event()
    with _until_stopped(stop), _bar(report) as show:
        while not stop.is_set() and (left := (report.until - now()).total_seconds()) > 0:
            position = await _follow(system, report, position)
            show()
            try:
                await asyncio.wait_for(stop.wait(), min(_LOOK, left))
            except TimeoutError:
                continue
    return position


async def _follow(system: System, report: DrillReport, position: int) -> int:
    """Up to where the log ends now, or as far as it can be read."""
    while True:
        try:
            page: Sequence[Recorded] = await system.ledger.read(position, _PAGE, TOPICS)
        except StoreUnavailable:
            return position
        report.follow(page)
        if not page:
            return position
        position = page[-1].position


async def _look_after(system: System, report: DrillReport) -> _After:
    """What became of each email that was hit: the log says, and of those under way the queue must know."""
    await follow(system, "dispatch_queue")
    after, ids = _After(), list(report.hits)
    for start in range(0, len(ids), _PAGE):
        some = ids[start : start + _PAGE]
        queue = await system.database.ask(due_times, some)
        for id, history in zip(some, await asyncio.gather(*map(system.ledger.load, some)), strict=True):
            _sort(after, id, Email.of(recorded.event for recorded in history), queue)
    after.under_way.sort(key=lambda each: (each["due_at"] is None, each["due_at"] or ""))
    return after


def _sort(after: _After, id: UUID, email: Email | None, queue: dict[UUID, datetime | None]) -> None:
    if email is not None and email.status not in _UNDER_WAY:
        after.ended[email.status.value] += 1
    elif email is None or id not in queue:
        after.lost.append(str(id))
    else:
        due = queue[id]
        after.under_way.append(
            {"id": str(id), "status": email.status.value, "due_at": due.isoformat() if due else None}
        )


def _stamp(at: datetime) -> Stamp:
    return Stamp(now=at, actor="operator:cli", correlation_id=uuid7(at))


@contextmanager
def _until_stopped(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C ends the drill, not the report."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for each in signals:
        loop.add_signal_handler(each, stop.set)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


@contextmanager
def _bar(report: DrillReport) -> Iterator[Callable[[], None]]:
    """How long it still goes on, and what it has come to; on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[told]}"))
    span = (report.until - report.began).total_seconds()
    with Progress(*columns, console=Console(stderr=True), disable=not display.for_people()) as bar:
        task = bar.add_task(f"{report.fault} at {report.provider}", total=span, told="")
        yield lambda: bar.update(task, completed=(now() - report.began).total_seconds(), told=_numbers(report))


def _numbers(report: DrillReport) -> str:
    taken = sum(report.moved.values())
    elsewhere = taken - report.moved.get(report.provider, 0)
    return f"{report.calls_hit} hit, {elsewhere} moved, {len(report.hits) - taken} waiting"


# -- the report ------------------------------------------------------------------------------------------------------


def _document(report: DrillReport, ended: datetime, after: _After) -> dict[str, Any]:
    return {
        "provider": report.provider,
        "fault": report.fault,
        "rate": report.rate,
        "began_at": report.began.isoformat(),
        "ended_at": ended.isoformat(),
        "ended_early": ended < report.until,
        "calls": report.calls,
        "calls_hit": report.calls_hit,
        "emails_hit": len(report.hits),
        "failover_seconds": _seconds(report.failover),
        "fault_to_dispatch_seconds": {name: _seconds(report.fault_to_dispatch(at)) for name, at in _SHARES},
        "taken_by": dict(report.moved),
        "circuit_openings": [
            {"at": each.occurred_at.isoformat(), "until": each.until.isoformat(), "rule": each.rule}
            for each in report.openings
        ],
        "recovered": report.recovered,
        "ended": dict(after.ended),
        "under_way_count": len(after.under_way),
        "under_way": after.under_way[:_TOLD],
        "lost_count": len(after.lost),
        "lost": after.lost[:_TOLD],
    }


def _show(report: DrillReport, ended: datetime, after: _After) -> None:
    p50, p99 = (_words(report.fault_to_dispatch(at)) for _, at in _SHARES)
    drill = f"{report.fault} at {report.provider}, rate {report.rate:g}, for {_words(ended - report.began)}"
    failover = f"{_words(report.failover)} until another provider took an email that was hit"
    rows = [
        ("calls", f"{report.calls}, of which {report.calls_hit} were hit"),
        ("emails hit", str(len(report.hits))),
        ("failover", failover if report.failover is not None else "no other provider took any"),
        ("fault to dispatch", f"{p50} (median), {p99} (99 %)"),
        ("taken by", ", ".join(f"{name} {count}" for name, count in sorted(report.moved.items())) or "nobody yet"),
        ("circuit", f"opened {len(report.openings)} times, recovered {report.recovered} times"),
        ("ended", ", ".join(f"{status} {count}" for status, count in sorted(after.ended.items())) or "none yet"),
        ("under way", _under_way(after)),
        ("lost", f"{len(after.lost)}{'' if after.lost else ': every email that was hit is accounted for'}"),
    ]
    display.console().print(display.table(("drill", drill), rows))


def _under_way(after: _After) -> str:
    if not after.under_way:
        return "none"
    counts = Counter(each["status"] for each in after.under_way)
    due = [each["due_at"] for each in after.under_way if each["due_at"]]
    times = f"; due from {due[0][11:19]} to {due[-1][11:19]} UTC" if due else ""
    return ", ".join(f"{status} {count}" for status, count in sorted(counts.items())) + times


_SHARES = (("p50", 0.5), ("p99", 0.99))


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)


def _words(span: timedelta | None) -> str:
    return "-" if span is None else f"{span.total_seconds():.2f} s"
