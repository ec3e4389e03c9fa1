"""GET /recipients/{address}/activity: everything that happened to one recipient's emails."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from infrastructure.web import query, reply
from infrastructure.web.as_of import LogAsOf, moment, position
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.parameters import address
from infrastructure.web.reply import Reply
from infrastructure.web.views import Activity, ActivityEntry
from projections.activity import timeline


class ActivityQuery(query.Query):
    """Which page of a recipient's activity."""

    as_of: LogAsOf = None

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[query.Position | None, Field(description="An entry's position: the page of those before it.")] = (
        None
    )

    @property
    def before(self) -> int | None:
        """The position before which entries are wanted."""
        last = position(self.as_of) if self.as_of else None
        bounds = [each for each in (self.after, None if last is None else last + 1) if each is not None]
        return min(bounds, default=None)

    @property
    def until(self) -> datetime | None:
        return moment(self.as_of) if self.as_of and position(self.as_of) is None else None


async def show(call: Call) -> Reply:
    """What happened, the newest first."""
    wanted, whom = query.parse(call, ActivityQuery), address(call)
    await wait_for_position(call)
    # The list goes back in time, so what comes after an entry lies before its position.
    found = await call.service.database.ask(
        timeline, call.caller.tenant, whom, limit=wanted.limit + 1, before=wanted.before, until=wanted.until
    )
    entries = [
        ActivityEntry(
            position=entry.position,
            type=entry.type,
            email_id=entry.email_id,
            occurred_at=entry.occurred_at,
            data=dict(entry.summary),
        )
        for entry in found[: wanted.limit]
    ]
    return reply.of(Activity(has_more=len(found) > wanted.limit, data=entries))
