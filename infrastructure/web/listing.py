"""GET /emails: the list, found by what an email is about, where it stands, and time."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from application.errors import InvalidField
from domain.address import normalise
from domain.errors import InvalidAddress
from domain.status import EmailStatus
from infrastructure.web import query, reply
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.views import EmailList, EmailSummary
from projections.email_list import EmailFilter, EmailRow, page
from projections.terms import words


def _address(value: str) -> str:
    try:
        return normalise(value)
    except InvalidAddress as error:
        raise PydanticCustomError(
            "email_address", "is not a valid email address: {reason}", {"reason": str(error)}
        ) from None


Recipient = Annotated[query.Text, AfterValidator(_address)]


def _tag(value: str) -> str:
    name, colon, label = value.partition(":")
    if not name or (colon and not label):
        raise PydanticCustomError("tag", "must be written name:value, or name for any value")
    return value


def _pair(value: str) -> str:
    key, colon, said = value.partition(":")
    if not key or not colon or not said:
        raise PydanticCustomError("metadata", "must be written key:value")
    return value


def _words(value: str) -> str:
    if not words(value):
        raise PydanticCustomError("subject", "must hold a word: letters or digits")
    return value


class EmailQuery(query.Query):
    """Which emails, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[UUID | None, Field(description="An email's id: the page of those older than it.")] = None
    before: Annotated[UUID | None, Field(description="An email's id: the page of those newer than it.")] = None
    status: EmailStatus | None = None
    recipient: Recipient | None = None
    recipient_domain: Annotated[query.Text | None, Field(description="Of any of its recipients.")] = None
    sender: Recipient | None = None
    subject: Annotated[
        Annotated[query.Text, AfterValidator(_words)] | None,
        Field(description="Words, all of which the subject has (its first 20 count); case and accents do not matter."),
    ] = None
    stream: query.Text | None = None
    provider: Annotated[query.Text | None, Field(description="The one asked last.")] = None
    metadata: Annotated[
        Annotated[query.Text, AfterValidator(_pair)] | None,
        Field(description="As key:value; the first 100 characters of the value count."),
    ] = None
    tag: Annotated[
        Annotated[query.Text, AfterValidator(_tag)] | None,
        Field(description="A tag, as name:value, or as name alone for any value."),
    ] = None
    since: Annotated[query.Moment | None, Field(description="Accepted at this time or later.")] = None
    until: Annotated[query.Moment | None, Field(description="Accepted before this time.")] = None


async def show(call: Call) -> Reply:
    """Emails, the newest first, as the read models show them."""
    wanted = query.parse(call, EmailQuery)
    if wanted.after is not None and wanted.before is not None:
        raise InvalidField("before", "cannot be combined with after")
    await wait_for_position(call)
    found = await call.service.database.ask(page, which(wanted, call.caller.tenant))
    return reply.of(EmailList(has_more=found.has_more, data=[view(row) for row in found.rows]))


def which(wanted: EmailQuery, tenant: str) -> EmailFilter:
    """What is asked, in the words of the read model."""
    name, _, value = (wanted.tag or "").partition(":")
    key, _, said = (wanted.metadata or "").partition(":")
    return EmailFilter(
        tenant=tenant,
        status=wanted.status,
        provider=wanted.provider,
        recipient=wanted.recipient,
        recipient_domain=wanted.recipient_domain,
        sender=wanted.sender,
        subject=wanted.subject,
        metadata=(key, said) if key else None,
        stream=wanted.stream,
        tag=(name, value or None) if name else None,
        since=wanted.since,
        until=wanted.until,
        limit=wanted.limit,
        after_id=wanted.after,
        before_id=wanted.before,
    )


def view(row: EmailRow) -> EmailSummary:
    lists = {name: list(row.envelope.get(name, ())) for name in ("to", "cc", "bcc", "reply_to")}
    return EmailSummary(
        id=row.id,
        sender=row.sender,
        **lists,
        subject=row.subject,
        created_at=row.created_at,
        last_event=row.last_event,
        scheduled_at=row.scheduled_at,
        status=row.status,
        attempts=row.attempts,
    )
