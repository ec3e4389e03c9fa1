"""`postledger providers`: how they stand, whether they answer, and taking them out of use."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError
from rich.text import Text

from application.errors import StoreUnavailable
from application.health import examine
from application.ports import Recorded
from application.routes import with_default
from application.suppressions import Reason
from domain.events import Stamp
from domain.ids import provider_id, uuid7
from domain.provider import Provider
from domain.provider_events import ProviderPaused
from domain.provider_state import Circuit
from infrastructure.bootstrap import System, now
from infrastructure.cli import display
from infrastructure.cli.drill import drill_command
from infrastructure.cli.failures import FAILED, NOT_FOUND, USAGE, Failure
from infrastructure.cli.running import with_system
from infrastructure.cli.statistics import percent, seconds
from infrastructure.cli.timeline import clock, details, word
from infrastructure.web.history import entry
from infrastructure.web.statistics_views import attempts
from projections.statistics_queries import calls

_COLUMNS = ("name", "kind", "state", "since", "until", "reason", "routes")
_LATELY = ("attempts", "success", "p50", "p95")  # of the last 24 hours
COLOURS: Mapping[str, str] = {"closed": "green", "half_open": "yellow", "open": "red", "paused": "magenta"}
_REASON = click.option("--reason", required=True, help="Why, for whoever looks at it later.")
_CHECKED_REASON: TypeAdapter[str] = TypeAdapter(Reason)


@click.group("providers")
def providers_group() -> None:
    """The providers: how they stand, and whether they are used."""


providers_group.add_command(drill_command)


@providers_group.command("list")
def list_command() -> None:
    """Whether mail goes through each of them now."""
    rows = with_system(_list)
    if not display.for_people():
        display.document({"object": "list", "has_more": False, "data": rows})
        return
    cells = ([*(_cell(name, row[name]) for name in _COLUMNS), *_lately(row["last_24_hours"])] for row in rows)
    display.console().print(display.table((*_COLUMNS, *_LATELY), cells))
    click.echo("Attempts, their success in % and the times of answers are of the last 24 hours.")


@providers_group.command("check")
@click.argument("name", required=False)
def check_command(name: str | None) -> None:
    """Ask one provider, or all, whether they would send. Exit code 1 when one would not."""

    async def work(system: System) -> list[dict[str, Any]]:
        names = [_known(system, name)] if name else list(system.providers)
        wrong = await asyncio.gather(*(examine(system.providers[each]) for each in names))
        return [
            {"name": each, "fine": not said, "found": said or "answers"}
            for each, said in zip(names, wrong, strict=True)
        ]

    found = with_system(work)
    if display.for_people():
        display.console().print(display.table(("name", "", "found"), [_verdict(each) for each in found]))
    else:
        display.document({"object": "list", "has_more": False, "data": found})
    if not all(each["fine"] for each in found):
        click.get_current_context().exit(FAILED)


@providers_group.command("pause")
@click.argument("name")
@_REASON
def pause_command(name: str, reason: str) -> None:
    """Send nothing through it until it is resumed. What is on its way there is finished."""
    reason = _checked(reason)
    row, changed, others = _decide(name, lambda provider, stamp: provider.pause(reason, stamp))
    _tell(row, changed, f"{name} is paused." if changed else f"{name} was paused already.")
    if not any(other["state"] in ("closed", "half_open") for other in others):
        click.echo("No other provider is in use now: email waits until one is resumed or recovers.", err=True)


@providers_group.command("resume")
@click.argument("name")
@_REASON
def resume_command(name: str, reason: str) -> None:
    """Use it again: after a pause, or at once although it is degraded."""
    reason = _checked(reason)
    row, changed, _ = _decide(name, lambda provider, stamp: provider.resume(reason, stamp))
    _tell(row, changed, f"{name} is in use again." if changed else f"{name} was in use already.")


@providers_group.command("history")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
def history_command(name: str, limit: int) -> None:
    """What became of it, and what operators decided: the newest last."""

    async def work(system: System) -> list[Recorded]:
        history = await system.ledger.load(provider_id(name))
        if not history:
            _known(system, name)  # one that was removed from the settings still has its history
        return history

    history: list[Recorded] = with_system(work)
    entries = [entry(recorded).model_dump(mode="json") for recorded in history[-limit:]]
    if not display.for_people():
        display.document({"object": "list", "has_more": len(history) > limit, "data": entries})
        return
    rows = [[clock(e["occurred_at"]), word(e["type"]), e["actor"], details(e["type"], e["data"], {})] for e in entries]
    display.console().print(display.table(("time", "event", "by", "what"), rows))


async def _list(system: System) -> list[dict[str, Any]]:
    """How all stand, and how the calls to them went, of whichever tenant."""
    rows, figures = await _rows(system), None
    with suppress(StoreUnavailable):  # as while the read model is being built
        figures = await system.database.ask(calls, None, now())
    for row in rows:
        lately = None if figures is None else attempts(figures.get(row["name"])).model_dump()
        row["last_24_hours"] = lately
    return rows


async def _rows(system: System) -> list[dict[str, Any]]:
    """How all stand by their own streams: read models may be behind, or nobody may be there to move them."""
    names = list(system.providers)
    histories = await asyncio.gather(*(system.ledger.load(provider_id(name)) for name in names))
    return [_row(system, name, history) for name, history in zip(names, histories, strict=True)]


def _row(system: System, name: str, history: Sequence[Recorded]) -> dict[str, Any]:
    events, at = [recorded.event for recorded in history], now()
    state = Provider.of(name, events).state
    routes = with_default(system.settings.routes, list(system.providers))
    pauses = [event.reason for event in events if isinstance(event, ProviderPaused)]
    why = " ".join(filter(None, (state.error_class, state.reason)))
    degraded = ": ".join(filter(None, (state.rule, why)))
    degraded_until = state.degraded_until if state.circuit(at) is not Circuit.CLOSED and not state.paused else None
    return {
        "name": name,
        "kind": system.settings.providers[name].get_secret_value().partition("://")[0],
        "state": state.word(at),
        "since": _iso(state.since),
        "until": _iso(degraded_until),
        "reason": pauses[-1] if state.paused else degraded,
        "cause": state.cause,
        "rule": state.rule,
        "openings": state.openings,
        "drill": state.drill(at),
        "routes": [route.name for route in routes if name in {each.name for each in route.providers}],
    }


def _decide(name: str, ask: Callable[[Provider, Stamp], None]) -> tuple[dict[str, Any], bool, list[dict[str, Any]]]:
    """How it stands after the decision, whether that changed anything, and how the others stand."""

    async def work(system: System) -> tuple[dict[str, Any], bool, list[dict[str, Any]]]:
        _known(system, name)
        at = now()
        stamp = Stamp(now=at, actor="operator:cli", correlation_id=uuid7(at))
        change = await system.streams.decide(name, lambda provider: ask(provider, stamp))
        rows = {row["name"]: row for row in await _rows(system)}
        return rows.pop(name), bool(change.recorded), list(rows.values())

    decided: tuple[dict[str, Any], bool, list[dict[str, Any]]] = with_system(work)
    return decided


def _known(system: System, name: str) -> str:
    if name not in system.providers:
        raise Failure(f"There is no provider {name}.", f"There are: {', '.join(system.providers)}.", NOT_FOUND)
    return name


def _checked(reason: str) -> str:
    try:
        return _CHECKED_REASON.validate_python(reason.encode("utf-8", "replace").decode().strip())
    except ValidationError as error:
        raise Failure(f"--reason: {error.errors()[0]['msg']}.", "Say why in one line.", USAGE) from None


def _tell(row: dict[str, Any], changed: bool, words: str) -> None:
    if display.for_people():
        click.echo(f"{words} The service follows within about a second." if changed else words)
    else:
        display.document({**row, "changed": changed})


def _cell(name: str, value: Any) -> str | Text:
    if name == "state":
        return Text(value, style=COLOURS.get(value, ""))
    if name in ("since", "until"):
        return clock(value).partition(".")[0] if value else ""
    return ", ".join(value) if isinstance(value, list) else str(value or "")


def _lately(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["?"] * len(_LATELY)
    latency = found["latency"] or {}
    times = [seconds(latency[name]) if latency else "" for name in _LATELY[2:]]
    return [f"{found['started']:,}", percent(found["success"]), *times]


def _verdict(found: Mapping[str, Any]) -> list[str | Text]:
    fine = Text("fine", style="green") if found["fine"] else Text("WRONG", style="bold red")
    return [found["name"], fine, found["found"]]


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
