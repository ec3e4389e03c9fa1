"""`postledger unconfirmed`: emails of which nobody knows whether a provider took them, and settling that."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from application.commands import Caller, Receipt, Resolve
from infrastructure.bootstrap import System
from infrastructure.cli import display, many, options
from infrastructure.cli.many import AT_ONCE, Chosen, Deed, Target
from infrastructure.cli.running import follow, with_system
from projections.unconfirmed import Doubt, DoubtFilter, Page, count, page

_COLUMNS = ("id", "tenant", "provider", "attempt", "since", "settle_at", "reason")
_FILTERS = (
    click.option("--provider", metavar="NAME", help="That this provider may or may not have taken."),
    click.option("--tenant", metavar="NAME", help="Of this tenant alone."),
    click.option(
        "--older-than", "until", type=options.Moment(), help="In doubt since before then; 2h is two hours ago."
    ),
)


@click.group("unconfirmed")
def unconfirmed_group() -> None:
    """Emails in doubt: a provider may or may not have taken them."""


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@unconfirmed_group.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="Only those newer than this one.")
def list_command(**wanted: Any) -> None:
    """The oldest first. What is parked waits for somebody to resolve it; the others settle themselves."""

    async def work(system: System) -> Page:
        await follow(system, "unconfirmed")
        return await system.database.ask(page, DoubtFilter(**wanted))

    found: Page = with_system(work)
    rows = [_row(doubt) for doubt in found.rows]
    if not display.for_people():
        display.document({"object": "list", "has_more": found.has_more, "data": rows})
        return
    display.console().print(display.table(_COLUMNS, ([str(row[name]) for name in _COLUMNS] for row in rows)))
    if found.has_more:
        click.echo(f"There are more: --after {found.rows[-1].position}")


@unconfirmed_group.command("resolve")
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]…")
@click.argument("resolution", type=click.Choice(["accepted", "not_accepted"]), metavar="accepted|not_accepted")
@_filtered
@many.ALL
@many.REASON
@many.DRY_RUN
@many.YES
def resolve_command(
    ids: Sequence[UUID],
    resolution: str,
    provider: str | None,
    tenant: str | None,
    until: datetime | None,
    everything: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Say what became of emails in doubt: those named, or those that fit. What was not accepted is sent again."""
    filters = {"provider": provider, "tenant": tenant, "until": until}
    many.one_way(ids, {name: value for name, value in filters.items() if value is not None}, everything)
    wish: Resolve = many.checked(lambda: Resolve.model_validate({"resolution": resolution, "reason": reason}))

    async def choose(system: System) -> Chosen:
        if ids:
            return Chosen(len(set(ids)), many.named(ids))
        await follow(system, "unconfirmed")
        here = await system.ledger.position()  # what is in doubt again meanwhile is newer
        these = DoubtFilter(provider=provider, tenant=tenant, until=until, limit=AT_ONCE, up_to=here)
        if not (total := await system.database.ask(count, these)):
            many.suspect(system, provider)
        return Chosen(total, _oldest_first(system, these))

    async def resolve(system: System, id: UUID, caller: Caller) -> Receipt:
        return await system.service.change_email.resolve(id, wish, caller)

    many.decide(Deed("Resolving", "resolved", resolve), choose, named=bool(ids), dry_run=dry_run, yes=yes)


async def _oldest_first(system: System, wanted: DoubtFilter) -> AsyncIterator[Sequence[Target]]:
    while (found := await system.database.ask(page, wanted)).rows:
        yield [Target(doubt.email_id, doubt.tenant) for doubt in found.rows]
        wanted = replace(wanted, after=found.rows[-1].position)


def _row(doubt: Doubt) -> dict[str, Any]:
    return {
        "id": str(doubt.email_id),
        "tenant": doubt.tenant,
        "provider": doubt.provider,
        "attempt": doubt.attempt,
        "since": doubt.since.isoformat(),
        "settle_at": doubt.settle_at.isoformat() if doubt.settle_at else "parked",
        "reason": doubt.reason,
        "position": doubt.position,
    }
