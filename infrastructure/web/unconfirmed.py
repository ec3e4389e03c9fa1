"""GET /unconfirmed: emails of which nobody knows whether a provider took them."""

from typing import Annotated

from pydantic import Field

from infrastructure.web import query, reply
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.support_views import DoubtList, DoubtView
from projections.unconfirmed import Doubt, DoubtFilter, page


class DoubtQuery(query.Query):
    """Which ones, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[query.Position | None, Field(description="A position: the page of those newer.")] = None
    provider: query.Text | None = None
    until: Annotated[query.Moment | None, Field(description="In doubt since before this time.")] = None


async def show(call: Call) -> Reply:
    """Emails in doubt, the oldest first, as the read model shows them. `POST /emails/{id}/resolve` settles one."""
    wanted = query.parse(call, DoubtQuery)
    await wait_for_position(call)
    found = await call.service.database.ask(page, DoubtFilter(tenant=call.caller.tenant, **wanted.model_dump()))
    return reply.of(DoubtList(has_more=found.has_more, data=[_view(row) for row in found.rows]))


def _view(row: Doubt) -> DoubtView:
    return DoubtView(
        id=row.email_id,
        provider=row.provider,
        attempt=row.attempt,
        since=row.since,
        settle_at=row.settle_at,
        parked=row.settle_at is None,
        reason=row.reason,
        position=row.position,
    )
