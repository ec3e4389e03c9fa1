"""What the API answers with: Resend's fields under Resend's names, then ours."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.events import Priority
from domain.status import EmailStatus, RecipientStatus


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(
        frozen=True, populate_by_name=True, serialize_by_alias=True, json_schema_serialization_defaults_required=True
    )


class Accepted(View):
    """The email's id. It will reach an end that can be looked up."""

    id: UUID


class Rejected(View):
    """An item of a permissive batch that was not accepted."""

    index: Annotated[int, Field(description="The item's place in the batch, from 0.")]
    message: str


class AcceptedBatch(View):
    """The ids of what was accepted, in the order of the batch."""

    data: list[Accepted]
    errors: Annotated[list[Rejected], Field(description="Empty unless the batch was permissive.")] = []


class Changed(View):
    """The email that was changed."""

    object: Literal["email"] = "email"
    id: UUID


class TagView(View):
    name: str
    value: str


class RecipientView(View):
    """One recipient and how far the email got to them."""

    address: str
    kind: Literal["to", "cc", "bcc"]
    status: RecipientStatus
    at: Annotated[datetime | None, Field(description="The provider's time of what `status` says.")]
    reason: Annotated[str | None, Field(description="Why, where it was said: of a bounce, or a suppression.")]


class AttachmentView(View):
    """What is known of an attachment; its bytes are not served."""

    name: str
    size: Annotated[int, Field(description="In bytes.")]
    type: str
    sha256: str


class EmailSummary(View):
    """An email as a list shows it."""

    object: Literal["email"] = "email"
    id: UUID
    sender: str = Field(alias="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    created_at: datetime
    last_event: str
    scheduled_at: datetime | None
    status: EmailStatus
    attempts: Annotated[int, Field(description="How often a provider was called for it.")]


class EmailView(EmailSummary):
    """An email with all that is known of it."""

    message_id: str
    provider: Annotated[str | None, Field(description="The one asked last.")]
    error_class: Annotated[str | None, Field(description="What the trouble is, while there is some.")]
    reason: Annotated[str | None, Field(description="Why, in a word: of what is put off, in doubt, or a dead letter.")]
    retry_at: Annotated[datetime | None, Field(description="When a deferred email is tried again.")]
    settle_at: Annotated[
        datetime | None,
        Field(description="When evidence about one in doubt is looked for; null when it waits for somebody."),
    ]
    html: Annotated[str | None, Field(description="null when there is none, or after the content was purged.")]
    text: Annotated[str | None, Field(description="null when there is none, or after the content was purged.")]
    tags: list[TagView]
    priority: Priority
    stream: str
    metadata: dict[str, str]
    expires_at: datetime | None
    recipients: list[RecipientView]
    attachments: list[AttachmentView]


class EmailList(View):
    """A page of emails, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[EmailSummary]


class EventView(View):
    """One entry of an email's history."""

    id: UUID
    type: Annotated[str, Field(description="The event's topic, such as `email.queued.v1`.")]
    version: Annotated[int, Field(description="Its place in the email's own history, from 1.")]
    position: Annotated[int, Field(description="Its place in the order of all events.")]
    occurred_at: datetime
    actor: str
    data: dict[str, Any]


class History(View):
    """The complete history of one email, in order."""

    object: Literal["list"] = "list"
    has_more: Literal[False] = False
    data: list[EventView]


class ActivityEntry(View):
    """One thing that happened to an email of a recipient."""

    position: Annotated[int, Field(description="Its place in the order of all events.")]
    type: Annotated[str, Field(description="The event's topic.")]
    email_id: UUID
    occurred_at: datetime
    data: Annotated[dict[str, Any], Field(description="What the event says, in short.")]


class Activity(View):
    """What happened to one recipient, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[ActivityEntry]


class SuppressionView(View):
    """Why nothing is sent to an address: one reason, in Resend's shape."""

    object: Literal["suppression"] = "suppression"
    email: str
    origin: Literal["bounce", "complaint", "unsubscribe", "manual"]
    created_at: datetime
    scope: Annotated[str, Field(description="`*` for all mail, or the name of a mail stream.")]
    rule: str
    source: Annotated[str, Field(description="Who says so: `provider:NAME`, `api:KEY`, `operator:NAME`.")]
    reason: str
    email_id: Annotated[UUID | None, Field(description="The email that led to it.")]


class SuppressionDetail(SuppressionView):
    """The widest reason, and all that stand."""

    entries: list[SuppressionView]


class SuppressionEntry(SuppressionView):
    """An entry of the list, and its place in it."""

    position: Annotated[int, Field(description="For `after` and `before`.")]


class SuppressionPage(View):
    """A page of the suppression list, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[SuppressionEntry]


class Unsuppressed(View):
    """The address that may be sent to again."""

    object: Literal["suppression"] = "suppression"
    email: str
    deleted: Literal[True] = True
    scopes: Annotated[list[str], Field(description="What was taken back.")]


class RefusedLine(View):
    """A line of an import that was not taken."""

    line: Annotated[int, Field(description="Its number in the file, from 1 (the header).")]
    message: str


class Imported(View):
    """What became of the lines of an import."""

    object: Literal["suppression_import"] = "suppression_import"
    added: int
    already: Annotated[int, Field(description="Those that stood on the list before.")]
    refused_count: int
    refused: Annotated[list[RefusedLine], Field(description="The first 10,000 of them.")]


class CloudEvent(View):
    """An event as CloudEvents 1.0 JSON, with our extension attributes."""

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    type: str
    subject: Annotated[str, Field(description="The id of the email it is about.")]
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    position: int
    version: int
    tenant: str
    actor: str
    correlationid: UUID
    causationid: UUID | None = None
    traceparent: str | None = None
    data: dict[str, Any]


class Feed(View):
    """A page of events in the order in which they were committed."""

    object: Literal["list"] = "list"
    has_more: bool
    next_after: Annotated[int, Field(description="Where to go on. It moves even where no event fits the filter.")]
    data: list[CloudEvent]


class Health(View):
    """Whether the process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(View):
    """Whether requests can be served, and what is missing."""

    status: Literal["ready", "not_ready"]
    checks: Annotated[dict[str, str | None], Field(description="By name; null means fine.")]


class ProjectionView(View):
    """How far one read model follows the log."""

    name: str
    version: int
    state: Annotated[Literal["live", "building"], Field(description="Nothing can be read while it is first built.")]
    building: Annotated[float | None, Field(description="How far a build of it is, in percent.")]
    position: Annotated[int, Field(description="All events up to here are folded.")]
    lag: Annotated[int, Field(description="How many positions it is behind.")]
    lag_seconds: Annotated[float, Field(description="How old the first event is that is not folded.")]
    parked: Annotated[int, Field(description="Streams that it could not follow.")]
    error: Annotated[str | None, Field(description="What holds it, if it cannot go on.")]
    updated_at: datetime | None


class ProjectionList(View):
    """Every read model."""

    object: Literal["list"] = "list"
    has_more: Literal[False] = False
    data: list[ProjectionView]


class FieldProblem(View):
    """One thing that is wrong, and where."""

    field: Annotated[str, Field(description="Such as `to[1]` or `attachments[0].content`.")]
    message: str
    code: str


class ProblemView(View):
    """RFC 9457 problem details; `statusCode`, `name` and `message` are for Resend's clients."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem]
    request_id: UUID
    status_code: int = Field(alias="statusCode")
    name: str
    message: str
