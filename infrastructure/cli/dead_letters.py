"""`postledger dead-letters`: emails that ended while somebody has not got them, and sending them again."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import click

from application.commands import Caller, Receipt, Retry
from application.errors import EmailNotFound
from domain.address import normalise
from domain.delivery import ErrorClass
from domain.errors import InvalidAddress
from domain.events import EmailQueued, Priority
from domain.status import EmailStatus
from infrastructure.bootstrap import System
from infrastructure.cli import display, many, options
from infrastructure.cli.failures import NOT_FOUND, Failure
from infrastructure.cli.many import AT_ONCE, Chosen, Deed, Target
from infrastructure.cli.running import follow, with_system
from infrastructure.cli.timeline import Timeline
from infrastructure.web.history import entry
from projections.dead_letter_list import DeadLetter, DeadLetterFilter, Page, count, newest, page

_COLUMNS = ("id", "status", "ended_at", "provider", "error_class", "reason", "attempts", "tenant")
_STATUSES = ("failed", "bounced", "partially_delivered", "suppressed", "expired")
_MODELS = ("dead_letters", "recipients", "emails")
_FILTERS = (
    click.option("--status", type=click.Choice(_STATUSES), help="That ended like this."),
    click.option("--provider", metavar="NAME", help="For which this provider was asked last."),
    click.option("--error-class", type=click.Choice([kind.value for kind in ErrorClass]), help="Ended by this."),
    click.option("--reason-code", "reason_code", metavar="WORD", help="For this reason, such as no_mailbox."),
    click.option("--stream", metavar="NAME", help="Of this mail stream."),
    click.option("--sender-domain", metavar="DOMAIN", help="From this domain."),
    click.option("--recipient", metavar="ADDRESS", help="That this person has not got."),
    click.option("--tenant", metavar="NAME", help="Of this tenant alone."),
    click.option("--since", type=options.Moment(), help="Ended then (UTC) or later; 2h is two hours ago."),
    click.option("--until", type=options.Moment(), help="Ended before then."),
)


@click.group("dead-letters")
def dead_letters_group() -> None:
    """Emails that ended while somebody has not got them."""


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@dead_letters_group.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="Only those older than this one.")
def list_command(limit: int, after: int | None, **wanted: Any) -> None:
    """The newest first."""
    found_by = replace(_filter(wanted), limit=limit, after=after)

    async def work(system: System) -> Page:
        await follow(system, *_MODELS)
        return await system.database.ask(page, found_by)

    found: Page = with_system(work)
    rows = [_row(letter) for letter in found.rows]
    if not display.for_people():
        display.document({"object": "list", "has_more": found.has_more, "data": rows})
        return
    display.console().print(display.table(_COLUMNS, ([_cell(row[name]) for name in _COLUMNS] for row in rows)))
    if found.has_more:
        click.echo(f"There are more: --after {rows[-1]['position']}")


@dead_letters_group.command("show")
@click.argument("id", type=click.UUID)
def show_command(id: UUID) -> None:
    """The whole story of one: everything that happened to it, why it ended, and who has not got it."""

    async def work(system: System) -> Timeline:
        history = await system.ledger.load(id)
        if not history or not isinstance(history[0].event, EmailQueued):
            raise Failure(str(EmailNotFound()), "`postledger dead-letters list` shows what there is.", NOT_FOUND)
        return Timeline.of(str(id), [entry(recorded).model_dump(mode="json") for recorded in history])

    timeline: Timeline = with_system(work)
    dead = timeline.standing.is_dead_letter
    if not display.for_people():
        display.document({"dead_letter": dead, **timeline.as_document()})
        return
    timeline.show(display.console(), note="" if dead else "This is no dead letter, or is none any more.")
    if dead:
        click.echo(f"Send it again: postledger dead-letters retry {id} --reason WHY")


@dead_letters_group.command("retry")
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]…")
@_filtered
@many.ALL
@many.REASON
@click.option("--through", metavar="PROVIDER", help="Through this provider, whatever its route says.")
@click.option("--priority", type=click.Choice([p.value for p in Priority]), help="Instead of the one it had.")
@many.DRY_RUN
@many.YES
def retry_command(
    ids: Sequence[UUID],
    everything: bool,
    reason: str,
    through: str | None,
    priority: str | None,
    dry_run: bool,
    yes: bool,
    **wanted: Any,
) -> None:
    """Send emails again to those who have not got them: those named, or those that fit. The oldest go first."""
    many.one_way(ids, {name: value for name, value in wanted.items() if value is not None}, everything)
    found_by = _filter(wanted)
    wish: Retry = many.checked(lambda: Retry(reason=reason, provider=through, priority=_priority(priority)))

    async def choose(system: System) -> Chosen:
        _check(system, through)
        if ids:
            return Chosen(len(set(ids)), many.named(ids))
        await follow(system, *_MODELS)
        until = await system.database.ask(newest) + 1  # what fails again meanwhile is newer
        these = replace(found_by, before=0, after=until, limit=AT_ONCE)
        if not (total := await system.database.ask(count, these)):
            many.suspect(system, these.provider)
        return Chosen(total, _oldest_first(system, these))

    async def retry(system: System, id: UUID, caller: Caller) -> Receipt:
        return await system.service.change_email.retry(id, wish, caller)

    many.decide(Deed("Sending again", "sent again", retry), choose, named=bool(ids), dry_run=dry_run, yes=yes)


async def _oldest_first(system: System, wanted: DeadLetterFilter) -> AsyncIterator[Sequence[Target]]:
    while (found := await system.database.ask(page, wanted)).rows:
        yield [Target(letter.email_id, letter.tenant) for letter in reversed(found.rows)]
        wanted = replace(wanted, before=found.rows[0].position)


def _check(system: System, through: str | None) -> None:
    if through is not None and through not in system.providers:
        raise Failure(f"There is no provider {through}.", f"There are: {', '.join(system.providers)}.", NOT_FOUND)


def _priority(value: str | None) -> Priority | None:
    return Priority(value) if value else None


def _filter(wanted: dict[str, Any]) -> DeadLetterFilter:
    given = {name: value for name, value in wanted.items() if value is not None}
    if "reason_code" in given:
        given["reason"] = given.pop("reason_code")
    if "status" in given:
        given["status"] = EmailStatus(given["status"])
    if "recipient" in given:
        given["recipient"] = _address(given["recipient"])
    return DeadLetterFilter(**given)


def _address(text: str) -> str:
    try:
        return normalise(text)
    except InvalidAddress as error:
        raise click.BadParameter(str(error), param_hint="--recipient") from None


def _row(letter: DeadLetter) -> dict[str, Any]:
    row = asdict(letter)
    row["id"] = str(row.pop("email_id"))
    return {**row, "accepted_at": letter.accepted_at.isoformat(), "ended_at": letter.ended_at.isoformat()}


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
