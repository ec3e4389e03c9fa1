"""What the API answers to support: who got what, what did not arrive, and of what nobody knows."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from domain.status import RecipientStatus
from infrastructure.web.views import View

_PLACE = "Its place in the list, for `{}`."


class FoundRecipient(View):
    """One recipient of one email, and what became of it."""

    object: Literal["recipient"] = "recipient"
    id: UUID
    email_id: UUID
    created_at: Annotated[datetime, Field(description="When the email was accepted.")]
    kind: str
    address: str
    name: str
    status: RecipientStatus
    status_at: Annotated[datetime | None, Field(description="The provider's time of what it stands for.")]
    provider: Annotated[str | None, Field(description="The one that took it or spoke of it last.")]
    bounce_class: str | None
    reason: str | None
    smtp_status: int | None
    enhanced_status: str | None
    opened_at: datetime | None
    clicked_at: datetime | None
    unsubscribed_at: datetime | None
    cursor: Annotated[str, Field(description=_PLACE.format("after` and `before"))]


class RecipientList(View):
    """A page of recipients, those of the newest emails first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[FoundRecipient]


class DeadLetterView(View):
    """An email that ended while somebody has not got it. Who that is, the email itself tells."""

    object: Literal["dead_letter"] = "dead_letter"
    id: Annotated[UUID, Field(description="The email's.")]
    status: str
    created_at: datetime
    ended_at: Annotated[datetime, Field(description="When it became a dead letter.")]
    stream: str
    sender_domain: str
    provider: Annotated[str | None, Field(description="The one asked last.")]
    error_class: Annotated[str | None, Field(description="Of what ended it; null for a bounce.")]
    reason: str | None
    attempts: int
    recipients_failed: Annotated[int, Field(description="How many would be sent to again.")]
    position: Annotated[int, Field(description=_PLACE.format("after` and `before"))]


class DeadLetterList(View):
    """A page of dead letters, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[DeadLetterView]


class SkippedView(View):
    """An email that was left as it is."""

    id: UUID
    why: str


class RetriedView(View):
    """What came of sending dead letters again."""

    object: Literal["dead_letter_retry"] = "dead_letter_retry"
    dry_run: bool
    matched: Annotated[int, Field(description="How many fitted, before any was sent again.")]
    retried: int
    skipped: Annotated[list[SkippedView], Field(description="Those whose state had changed meanwhile.")]
    has_more: Annotated[bool, Field(description="Whether more fit than one call may send again.")]
    before: Annotated[int | None, Field(description="Where to go on, past what was skipped: send it as `before`.")]


class DoubtView(View):
    """An email in doubt."""

    object: Literal["unconfirmed"] = "unconfirmed"
    id: Annotated[UUID, Field(description="The email's.")]
    provider: Annotated[str, Field(description="Which may or may not have taken it.")]
    attempt: int
    since: datetime
    settle_at: Annotated[datetime | None, Field(description="When evidence is looked for; null when it is parked.")]
    parked: Annotated[bool, Field(description="It waits for somebody to resolve it.")]
    reason: str
    position: Annotated[int, Field(description=_PLACE.format("after"))]


class DoubtList(View):
    """A page of emails in doubt, the oldest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[DoubtView]
