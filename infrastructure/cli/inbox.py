"""`postledger inbox`: what providers delivered, as it came, and translating it again."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from rich.text import Text

from application.inbox import InboxFilter
from domain.feedback import Kind
from infrastructure.bootstrap import System
from infrastructure.cli import display
from infrastructure.cli.failures import NOT_FOUND, Failure
from infrastructure.cli.running import progress, with_system
from infrastructure.inbox import Kept, SqlInbox

_PAGE = 200
_COLUMNS = ("id", "received_at", "provider", "state", "statements", "unmatched", "kinds")
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_FILTERS = (
    click.option("--provider", metavar="NAME", help="Of this provider alone."),
    click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="That said this, in our words."),
    click.option("--state", type=click.Choice(["new", "done", "unmatched", "failed"]), help="In this state."),
    click.option("--since", type=_MOMENT, help="Received at this time (UTC) or later."),
    click.option("--until", type=_MOMENT, help="Received before this time (UTC)."),
)


@click.group("inbox")
def inbox_group() -> None:
    """What providers told us, as it came."""


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@inbox_group.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
def list_command(limit: int, **wanted: Any) -> None:
    """The newest deliveries first."""

    async def work(system: System) -> list[Kept]:
        await system.prepare()
        return await system.inbox.page(_filter(wanted), None, limit, newest=True)

    found: list[Kept] = with_system(work)
    rows = [_row(kept) for kept in found]
    if not display.for_people():
        display.document({"object": "list", "has_more": len(found) == limit, "data": rows})
        return
    cells = ([str(row[name]) for name in _COLUMNS] for row in rows)
    display.console().print(display.table(_COLUMNS, cells))


@inbox_group.command("show")
@click.argument("id", type=click.UUID)
def show_command(id: UUID) -> None:
    """One delivery: what became of it, its headers, and its body as it came."""

    async def work(system: System) -> Kept | None:
        await system.prepare()
        return await system.inbox.get(id)

    kept: Kept | None = with_system(work)
    if kept is None:
        raise Failure("There is no such delivery.", "`postledger inbox list` shows what there is.", NOT_FOUND)
    text = kept.entry.hook.body.decode("utf-8", "replace")
    row = {**_row(kept), "headers": dict(kept.entry.hook.headers)}
    if not display.for_people():
        display.document({**row, "body": text})
        return
    console = display.console()
    for name, value in row.items():
        console.print(Text.assemble((f"{name}: ", "bold"), display.plain(str(value))))
    console.print(Text(_pretty(text)))


@inbox_group.command("replay")
@click.argument("id", type=click.UUID, required=False)
@_filtered
def replay_command(id: UUID | None, **wanted: Any) -> None:
    """Translate again: deliveries that fit, or the one named. What was right stays; what was misread is corrected."""

    async def work(system: System) -> _Tally:
        await system.prepare()
        with progress("Translating", "deliveries/s") as report:
            return await _replay(system, _entries(system.inbox, id, _filter(wanted)), report)

    tally: _Tally = with_system(work)
    if display.for_people():
        click.echo(
            f"Translated {tally.deliveries} deliveries again: {tally.events} new events,"
            f" {tally.unmatched} statements about no known email."
        )
    else:
        display.document(vars(tally))


@dataclass
class _Tally:
    deliveries: int = 0
    events: int = 0
    unmatched: int = 0


async def _entries(inbox: SqlInbox, id: UUID | None, wanted: InboxFilter) -> AsyncIterator[list[Kept]]:
    if id is not None:
        kept = await inbox.get(id)
        if kept is None:
            raise Failure("There is no such delivery.", "`postledger inbox list` shows what there is.", NOT_FOUND)
        yield [kept]
        return
    after: UUID | None = None
    while page := await inbox.page(wanted, after, _PAGE):
        yield page
        after = page[-1].entry.id


async def _replay(
    system: System, pages: AsyncIterator[list[Kept]], report: Callable[[int, int | None], None]
) -> _Tally:
    tally = _Tally()
    async for page in pages:
        settled = await system.translate.translate([kept.entry for kept in page])
        await system.inbox.settle(settled)
        tally.deliveries += len(settled)
        tally.events += sum(each.recorded for each in settled)
        tally.unmatched += sum(each.unmatched for each in settled)
        report(tally.deliveries, None)
    return tally


def _filter(wanted: Mapping[str, Any]) -> InboxFilter:
    return InboxFilter(**{name: _utc(value) for name, value in wanted.items()})


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _row(kept: Kept) -> dict[str, Any]:
    return {
        "id": str(kept.entry.id),
        "received_at": kept.entry.hook.received_at.isoformat(),
        "provider": kept.entry.provider,
        "state": kept.state,
        "statements": kept.statements,
        "unmatched": kept.unmatched,
        "kinds": ", ".join(kept.kinds),
        "next_try_at": kept.next_try_at.isoformat() if kept.next_try_at else None,
    }


def _pretty(text: str) -> str:
    """JSON laid out; anything else as it came, without what a terminal would act on."""
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return "\n".join(display.plain(line) for line in text.splitlines())
