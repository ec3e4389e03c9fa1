"""`postledger emails list` and `recipients list`: finding mail, as `GET /emails` and `GET /recipients` do."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from domain.status import EmailStatus, RecipientStatus
from infrastructure.bootstrap import System
from infrastructure.cli import display, options
from infrastructure.cli.failures import USAGE, Failure
from infrastructure.cli.running import follow, with_system
from infrastructure.web import listing, recipients
from infrastructure.web.fields import field_errors
from infrastructure.web.query import Query
from infrastructure.web.views import View
from projections import email_list, recipient_list

Q = TypeVar("Q", bound=Query)

_EMAILS = ("id", "status", "created_at", "from", "to", "subject", "attempts")
_RECIPIENTS = ("email_id", "address", "status", "created_at", "provider", "bounce_class", "reason")
_SHARED = (
    click.option("--provider", metavar="NAME", help="That dealt with it last."),
    click.option("--since", type=options.Moment(), help="Accepted then (UTC) or later; 2h is two hours ago."),
    click.option("--until", type=options.Moment(), help="Accepted before then."),
    click.option("--tenant", metavar="NAME", default="default", show_default=True, help="Of this tenant."),
    click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many."),
)
_EMAIL_FILTERS = (
    click.option("--status", type=click.Choice([each.value for each in EmailStatus]), help="That stand so."),
    click.option("--recipient", metavar="ADDRESS", help="To this person."),
    click.option("--recipient-domain", metavar="DOMAIN", help="To anybody there."),
    click.option("--sender", metavar="ADDRESS", help="From this address."),
    click.option("--subject", metavar="WORDS", help="With all of these words in the subject."),
    click.option("--tag", metavar="NAME[:VALUE]", help="With this tag."),
    click.option("--metadata", metavar="KEY:VALUE", help="With this in its metadata."),
    click.option("--stream", metavar="NAME", help="Of this mail stream."),
    click.option("--after", metavar="ID", help="Only those older than this email."),
)
_RECIPIENT_FILTERS = (
    click.option("--status", type=click.Choice([each.value for each in RecipientStatus]), help="Who stand so."),
    click.option("--address", metavar="ADDRESS", help="This person alone."),
    click.option("--prefix", metavar="TEXT", help="Whose address begins so."),
    click.option("--domain", metavar="DOMAIN", help="Who are there."),
    click.option("--bounce-class", type=click.Choice(["hard", "soft", "undetermined"]), help="Who bounced so."),
    click.option("--after", metavar="CURSOR", help="Only those older than this one."),
)


def _taking(filters: Sequence[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((*filters, *_SHARED)):
            command = option(command)
        return command

    return add


@click.group("emails")
def emails_group() -> None:
    """All emails: find them."""


@emails_group.command("list")
@_taking(_EMAIL_FILTERS)
def list_emails(tenant: str, **wanted: Any) -> None:
    """The newest first. Filters narrow the list together."""
    asked = _checked(listing.EmailQuery, wanted)

    async def work(system: System) -> email_list.Page:
        await follow(system, "emails")
        return await system.database.ask(email_list.page, listing.which(asked, tenant))

    found: email_list.Page = with_system(work)
    _show(_EMAILS, [listing.view(row) for row in found.rows], found.has_more, "id")


@click.group("recipients")
def recipients_group() -> None:
    """Everybody who was sent mail: find them, and what became of it."""


@recipients_group.command("list")
@_taking(_RECIPIENT_FILTERS)
def list_recipients(tenant: str, **wanted: Any) -> None:
    """One line for each email somebody was sent, the newest first. Filters narrow the list together."""
    asked = _checked(recipients.RecipientQuery, wanted)

    async def work(system: System) -> recipient_list.Page:
        await follow(system, "recipients", "emails")
        return await system.database.ask(recipient_list.page, recipients.which(asked, tenant))

    found: recipient_list.Page = with_system(work)
    _show(_RECIPIENTS, [recipients.view(row) for row in found.rows], found.has_more, "cursor")


def _checked(model: type[Q], wanted: dict[str, Any]) -> Q:
    try:
        return model.model_validate({name: value for name, value in wanted.items() if value is not None})
    except ValidationError as error:
        wrong = field_errors(error.errors(include_url=False, include_input=False))[0]
        raise Failure(f"--{wrong.field.replace('_', '-')} {wrong.message}.", code=USAGE) from None


def _show(columns: Sequence[str], found: Sequence[View], has_more: bool, cursor: str) -> None:
    rows = [view.model_dump(mode="json", by_alias=True) for view in found]
    if not display.for_people():
        display.document({"object": "list", "has_more": has_more, "data": rows})
        return
    display.console().print(display.table(columns, ([_cell(row[name]) for name in columns] for row in rows)))
    if has_more:
        click.echo(f"There are more: --after {rows[-1][cursor]}")


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
