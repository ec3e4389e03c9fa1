"""/audit: who did what when and why, as an index of the log, and the checkpoints that prove it."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from application.errors import InvalidField
from infrastructure.audit import checkpoints
from infrastructure.audit.checkpoints import Kept
from infrastructure.web import query, reply
from infrastructure.web.audit_views import AuditEventView, AuditList, CheckpointList, CheckpointView
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from projections.audit_log import AuditEntry, AuditFilter, page


class AuditQuery(query.Query):
    """Which events, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[query.Position | None, Field(description="A position: the page of those older.")] = None
    before: Annotated[query.Position | None, Field(description="A position: the page of those newer.")] = None
    actor: Annotated[query.Text | None, Field(description="Who did it, such as `operator:cli`.")] = None
    type: Annotated[query.Text | None, Field(description="The event's type without version: `email.queued`.")] = None
    correlation_id: Annotated[UUID | None, Field(description="All that one request led to, by its `X-Request-Id`.")] = (
        None
    )
    causation_id: Annotated[UUID | None, Field(description="What this event, or delivery, led to directly.")] = None
    stream_id: Annotated[UUID | None, Field(description="Of this email, or other stream.")] = None
    since: Annotated[query.Moment | None, Field(description="At this time or later.")] = None
    until: Annotated[query.Moment | None, Field(description="Before this time.")] = None


class CheckpointQuery(query.Query):
    """Which page of the checkpoints."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[query.Position | None, Field(description="A checkpoint's number: the page of those older.")] = None


async def events(call: Call) -> Reply:
    """The caller's events, the newest first, as the read model `audit` has them."""
    wanted = query.parse(call, AuditQuery)
    if wanted.after is not None and wanted.before is not None:
        raise InvalidField("before", "cannot be combined with after")
    await wait_for_position(call)
    found = await call.service.database.ask(page, AuditFilter(tenant=call.caller.tenant, **wanted.model_dump()))
    return reply.of(AuditList(has_more=found.has_more, data=[_event(row) for row in found.rows]))


async def checkpoint_page(call: Call) -> Reply:
    """The checkpoints of the log, which all tenants share, the newest first."""
    wanted = query.parse(call, CheckpointQuery)
    found = await call.service.database.ask(checkpoints.page, wanted.limit + 1, wanted.after)
    return reply.of(
        CheckpointList(has_more=len(found) > wanted.limit, data=[_checkpoint(kept) for kept in found[: wanted.limit]])
    )


def _event(row: AuditEntry) -> AuditEventView:
    return AuditEventView(
        id=row.event_id,
        type=row.type,
        position=row.position,
        stream_id=row.stream_id,
        version=row.version,
        occurred_at=row.occurred_at,
        actor=row.actor,
        reason=row.reason,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
    )


def _checkpoint(kept: Kept) -> CheckpointView:
    return CheckpointView(number=kept.number, checkpoint=kept.document)
