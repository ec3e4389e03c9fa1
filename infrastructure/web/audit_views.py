"""What the API answers about the audit trail."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from infrastructure.web.views import View


class AuditEventView(View):
    """One event, without what it says in full: `GET /emails/{id}/events` has that."""

    object: Literal["audit_event"] = "audit_event"
    id: Annotated[UUID, Field(description="The event's.")]
    type: str
    position: Annotated[int, Field(description="Its place in the list, for `after` and `before`.")]
    stream_id: Annotated[UUID, Field(description="The email's, or of whatever else it is about.")]
    version: Annotated[int, Field(description="Its place in its stream, from 1.")]
    occurred_at: datetime
    actor: Annotated[str, Field(description="Who: `api:…`, `worker`, `provider:NAME`, `operator:…`.")]
    reason: Annotated[str | None, Field(description="Why, in a word of ours, where there is one.")]
    correlation_id: Annotated[UUID, Field(description="Of the request, or other beginning, that it goes back to.")]
    causation_id: Annotated[UUID | None, Field(description="The event, or delivery of a provider, that led to it.")]


class AuditList(View):
    """A page of events, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[AuditEventView]


class CheckpointView(View):
    """A checkpoint that is kept."""

    object: Literal["checkpoint"] = "checkpoint"
    number: Annotated[int, Field(description="Its place in the list, for `after`.")]
    checkpoint: Annotated[
        dict[str, Any], Field(description="As it was signed; to be kept elsewhere as it is. docs/audit.md explains it.")
    ]


class CheckpointList(View):
    """A page of checkpoints, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[CheckpointView]
