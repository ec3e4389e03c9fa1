"""Commands that decide about many emails: asked before, told how far they are, safe to be broken off and repeated."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import click
from pydantic import ValidationError

from application.bulk import Skipped, Tally, change_all
from application.commands import Caller, Receipt
from application.deciding import load
from domain.ids import uuid7
from infrastructure.bootstrap import System, now
from infrastructure.cli import display
from infrastructure.cli.failures import FAILED, USAGE, Failure
from infrastructure.cli.running import progress, with_system

AT_ONCE = 200  # emails decided about together
_HANDFUL = 5  # emails that need no question
_TOLD = 1000  # of the skipped ones

REASON = click.option("--reason", required=True, help="Why, for whoever looks at it later.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only count.")
YES = click.option("--yes", is_flag=True, help="Do not ask, however many they are.")
ALL = click.option("--all", "everything", is_flag=True, help="All there are.")


class Target(NamedTuple):
    """One email; whose it is will be looked up when it is not known."""

    id: UUID
    tenant: str | None = None


class Chosen(NamedTuple):
    """The emails that a command is about, batch by batch."""

    total: int
    batches: AsyncIterator[Sequence[Target]]


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to each, in words."""

    doing: str
    done: str
    change: Callable[[System, UUID, Caller], Awaitable[Receipt]]


def decide(deed: Deed, choose: Callable[[System], Awaitable[Chosen]], *, named: bool, dry_run: bool, yes: bool) -> None:
    """Do it, batch by batch, and tell what came of it. `named`: they were named one by one, so skipping is failing."""
    tally, matched, skipped = Tally(), 0, 0

    async def work(system: System) -> None:
        nonlocal matched, skipped
        chosen = await choose(system)
        matched, run = chosen.total, uuid7(now())
        if dry_run or not matched:
            return
        if not yes:
            _ask(matched, deed)
        with progress(deed.doing, "emails/s") as report:
            report(0, matched)
            async for batch in chosen.batches:
                part = await change_all((target.id, _change(system, deed, target, run)) for target in batch)
                skipped += len(part.skipped)
                tally.add(part)
                del tally.skipped[_TOLD:]
                report(tally.done + skipped, matched)

    try:
        with_system(work)
    except KeyboardInterrupt:
        advice = "Run it again for the rest: what is done is not done twice."
        raise Failure(f"Stopped. At least {tally.done} of {matched} were {deed.done}, and stay so.", advice) from None
    _tell(deed, tally, matched, skipped, dry_run)
    if named and skipped:
        click.get_current_context().exit(FAILED)


def suspect(system: System, provider: str | None) -> None:
    """Nothing fits: tell if that may be for how the provider is spelt. One that is gone may have emails still."""
    if provider is not None and provider not in system.providers:
        click.echo(f"No provider is called {provider} now. There are: {', '.join(system.providers)}.", err=True)


async def named(ids: Sequence[UUID]) -> AsyncIterator[Sequence[Target]]:
    """Batches of the emails with these ids."""
    different = list(dict.fromkeys(ids))
    for start in range(0, len(different), AT_ONCE):
        yield [Target(id) for id in different[start : start + AT_ONCE]]


def one_way(ids: Sequence[UUID], filters: dict[str, Any], everything: bool) -> None:
    """Refuse what could be meant in two ways, and what would be about everything by mistake. Raises UsageError."""
    if ids and (filters or everything):
        raise click.UsageError("Name emails by their ids, or give filters, but not both.")
    if not ids and not filters and not everything:
        raise click.UsageError("Which ones? Name them by their ids, or give filters, or --all.")


def checked(make: Callable[[], Any]) -> Any:
    """A command, made from options. Raises BadParameter for a reason that cannot be one."""
    try:
        return make()
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"], param_hint="--reason") from None


async def _change(system: System, deed: Deed, target: Target, run: UUID) -> Receipt:
    tenant = target.tenant
    if tenant is None:
        email, _ = await load(system.ledger, target.id)
        tenant = email.tenant
    return await deed.change(system, target.id, Caller(tenant, "operator:cli", run))


def _ask(matched: int, deed: Deed) -> None:
    if matched <= _HANDFUL:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{matched} emails would be {deed.done}.", "Say --yes if that is meant, or --dry-run.", USAGE)
    click.confirm(f"{matched} emails will be {deed.done}. Go on?", abort=True, err=True)


def _tell(deed: Deed, tally: Tally, matched: int, skipped: int, dry_run: bool) -> None:
    if not display.for_people():
        told = [{"id": str(each.id), "why": each.why} for each in tally.skipped]
        counts = {"matched": matched, "done": tally.done, "skipped_count": skipped}
        display.document({"dry_run": dry_run, **counts, "skipped": told})
        return
    if dry_run:
        click.echo(f"{matched} would be {deed.done}.")
        return
    click.echo(f"{tally.done} of {matched} {deed.done}, {skipped} left as they are.")
    _list(tally.skipped)


def _list(skipped: Sequence[Skipped]) -> None:
    if skipped:
        rows = ([str(each.id), each.why] for each in skipped)
        display.console().print(display.table(("id", "why"), rows))
