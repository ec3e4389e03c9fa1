"""GET /recipients: who got mail and what became of it, found by address, by where it stands, and time."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from application.errors import InvalidField
from domain.status import RecipientStatus
from infrastructure.web import query, reply
from infrastructure.web.headers import wait_for_position
from infrastructure.web.listing import Recipient
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.support_views import FoundRecipient, RecipientList
from projections.recipient_list import Place, RecipientFilter, RecipientRow, page


def _read(value: str) -> Place:
    """A row's `cursor`, as `_written` writes it. Raises ValueError."""
    position, _, id = value.partition(":")
    if not position.isascii() or not position.isdigit() or int(position) > query.LARGEST:
        raise ValueError("It is no cursor of this list.")
    return int(position), UUID(id)


def _written(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _place(value: str) -> str:
    try:
        return _written(_read(value))
    except ValueError:
        raise PydanticCustomError("cursor", "must be the cursor of a recipient in this list") from None


_Cursor = Annotated[query.Text, AfterValidator(_place)]


class RecipientQuery(query.Query):
    """Which recipients, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[_Cursor | None, Field(description="A recipient's `cursor`: the page of those older.")] = None
    before: Annotated[_Cursor | None, Field(description="A recipient's `cursor`: the page of those newer.")] = None
    address: Recipient | None = None
    prefix: Annotated[query.Text | None, Field(description="How the address begins; case does not matter.")] = None
    domain: query.Text | None = None
    status: RecipientStatus | None = None
    bounce_class: Literal["hard", "soft", "undetermined"] | None = None
    provider: Annotated[query.Text | None, Field(description="The one that took it or spoke of it last.")] = None
    since: Annotated[query.Moment | None, Field(description="Of emails accepted at this time or later.")] = None
    until: Annotated[query.Moment | None, Field(description="Of emails accepted before this time.")] = None


async def show(call: Call) -> Reply:
    """Recipients of emails, the newest emails first, as the read model shows them."""
    wanted = query.parse(call, RecipientQuery)
    if wanted.after is not None and wanted.before is not None:
        raise InvalidField("before", "cannot be combined with after")
    await wait_for_position(call)
    found = await call.service.database.ask(page, which(wanted, call.caller.tenant))
    return reply.of(RecipientList(has_more=found.has_more, data=[view(row) for row in found.rows]))


def which(wanted: RecipientQuery, tenant: str) -> RecipientFilter:
    """What is asked, in the words of the read model."""
    asked = wanted.model_dump(exclude={"after", "before"})
    after, before = (_read(each) if each else None for each in (wanted.after, wanted.before))
    return RecipientFilter(tenant=tenant, **asked, after=after, before=before)


def view(row: RecipientRow) -> FoundRecipient:
    return FoundRecipient(
        id=row.id,
        email_id=row.email_id,
        created_at=row.created_at,
        kind=row.kind,
        address=row.address,
        name=row.name,
        status=row.status,
        status_at=row.at,
        provider=row.provider,
        bounce_class=row.bounce_class,
        reason=row.reason,
        smtp_status=row.smtp_status,
        enhanced_status=row.enhanced_status,
        opened_at=row.opened_at,
        clicked_at=row.clicked_at,
        unsubscribed_at=row.unsubscribed_at,
        cursor=_written(row.place),
    )
