"""`postledger audit log` and `trace`: who did what and why, and what came of it."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

import click
from rich.text import Text
from rich.tree import Tree

from infrastructure.bootstrap import System
from infrastructure.cli import display, options
from infrastructure.cli.audit_thread import Node, Thread, follow_thread
from infrastructure.cli.failures import NOT_FOUND, Failure
from infrastructure.cli.running import follow, with_system
from projections.audit_log import AuditEntry, AuditFilter, AuditPage, page

_COLUMNS = ("position", "time", "event", "who", "why", "id")
_TIME = "%Y-%m-%d %H:%M:%S"
_ADVICE = "`postledger audit log` shows what there is."


@click.command("log")
@click.option("--tenant", metavar="NAME", help="Of this tenant alone.")
@click.option("--actor", metavar="WHO", help="Done by these, such as operator:cli or provider:main.")
@click.option("--type", "type", metavar="TYPE", help="Of this type, such as email.requeued.")
@click.option("--correlation", "correlation_id", type=click.UUID, metavar="ID", help="What this request led to.")
@click.option("--cause", "causation_id", type=click.UUID, metavar="ID", help="What this led to directly.")
@click.option("--stream", "stream_id", type=click.UUID, metavar="ID", help="Of this email, or other stream.")
@click.option("--since", type=options.Moment(), help="Then (UTC) or later; 2h is two hours ago.")
@click.option("--until", type=options.Moment(), help="Before then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="Only those older than this one.")
def log_command(**wanted: Any) -> None:
    """What happened, the newest first."""

    async def work(system: System) -> AuditPage:
        await follow(system, "audit")
        return await system.database.ask(page, AuditFilter(**wanted))

    found: AuditPage = with_system(work)
    rows = [_row(entry) for entry in found.rows]
    if not display.for_people():
        display.document({"object": "list", "has_more": found.has_more, "data": rows})
        return
    display.console().print(display.table(_COLUMNS, map(_cells, found.rows)))
    if found.has_more:
        click.echo(f"There are more: --after {rows[-1]['position']}")


@click.command("trace")
@click.argument("id", type=click.UUID)
def trace_command(id: UUID) -> None:
    """What led to an event, and what came of it; or the same of an email, a delivery of a provider, a request."""

    async def work(system: System) -> Thread | None:
        await follow(system, "audit")
        return await follow_thread(system, id)

    thread: Thread | None = with_system(work)
    if thread is None:
        raise Failure(f"Nothing is known of {id}.", _ADVICE, NOT_FOUND)
    if not display.for_people():
        begun_by = _row(thread.begun_by) if thread.begun_by else None
        roots = [_node(node) for node in thread.roots]
        display.document({"object": "trace", "id": id, "cut": thread.cut, "begun_by": begun_by, "data": roots})
        return
    for node in thread.roots:
        display.console().print(_tree(node, thread, Tree(_line(node, id))))
    if thread.begun_by:
        click.echo(f"It goes back to request {thread.begun_by.correlation_id}: {_said(thread.begun_by)}")
    if thread.cut:
        click.echo("There is more than this: ask for one of these events.")


def _node(node: Node) -> dict[str, Any]:
    about = _row(node.entry, node.words) if node.entry else {"delivery": node.delivery, "provider": node.provider}
    return {**about, "effects": [_node(effect) for effect in node.effects]}


def _tree(node: Node, thread: Thread, tree: Tree) -> Tree:
    for effect in node.effects:
        _tree(effect, thread, tree.add(_line(effect, thread.id)))
    return tree


def _line(node: Node, asked: UUID) -> Text:
    if node.entry is None:
        return Text(
            f"delivery {node.delivery} of {node.provider or 'a provider; it is not kept any more'}", style="dim"
        )
    said = Text(_said(node.entry, node.words), style="bold" if node.entry.event_id == asked else "")
    return said.append(f"  {node.entry.event_id}", style="dim")


def _said(entry: AuditEntry, words: str | None = None) -> str:
    why = ", ".join(dict.fromkeys(filter(None, (entry.reason, words))))
    return display.plain(f"{entry.occurred_at:{_TIME}} {entry.type} by {entry.actor}{f': {why}' if why else ''}")


def _row(entry: AuditEntry, words: str | None = None) -> dict[str, Any]:
    row = {**asdict(entry), "occurred_at": entry.occurred_at.isoformat()}
    return {**row, "words": words} if words else row


def _cells(entry: AuditEntry) -> list[str]:
    time = f"{entry.occurred_at:{_TIME}}"
    return [str(entry.position), time, entry.type, entry.actor, entry.reason or "", str(entry.event_id)]
