"""GET /emails/{id} and its events: folded straight from the stream, so they always see their own writes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from application.errors import EmailNotFound
from application.ports import Recorded, message_id
from domain.content import Content
from domain.events import EmailQueued, EmailRequeued, EmailRescheduled, Event
from domain.outlook import Outlook
from infrastructure.web import query, reply
from infrastructure.web.operation import Call
from infrastructure.web.parameters import email_id
from infrastructure.web.reply import Reply
from infrastructure.web.views import AttachmentView, EmailView, EventView, History, RecipientView, TagView

_BOOKKEEPING = frozenset(Event.model_fields)


def _version_or_time(value: object) -> int | datetime:
    text = str(value)
    try:
        found = int(text) if text.isdecimal() else datetime.fromisoformat(query.lost_plus(text))
    except ValueError:
        found = 0
    if found == 0 or (isinstance(found, datetime) and found.tzinfo is None):
        raise PydanticCustomError("as_of", "must be a version from 1, or a time such as 2026-08-05T11:52:01Z")
    return found


class AsOf(query.Query):
    """Up to where to look."""

    as_of: Annotated[
        int | datetime | None,
        BeforeValidator(_version_or_time),
        Field(description="A version (from 1), or a time with an offset."),
    ] = None


async def show(call: Call) -> Reply:
    """One email, its content included as long as that is kept."""
    id = email_id(call)
    history = await _load(call, id)
    content = await call.service.contents.load_content(id)
    return reply.of(view([recorded.event for recorded in history], content))


async def events(call: Call) -> Reply:
    """The email's history, complete, or up to a version or a time."""
    as_of = query.parse(call, AsOf).as_of
    history = await _load(call, email_id(call))
    return reply.of(History(data=[entry(recorded) for recorded in history if _by(recorded.event, as_of)]))


def view(history: Sequence[Event], content: Content | None) -> EmailView:
    """The email that a history tells of. It must begin with EmailQueued."""
    queued, outlook = history[0], Outlook.of(history)
    assert isinstance(queued, EmailQueued)  # noqa: S101 (Outlook.of would have refused)
    standing = outlook.standing
    content = content or Content()
    return EmailView(
        id=queued.originator_id,
        sender=str(queued.sender),
        **_envelope(queued),
        subject=queued.subject,
        created_at=queued.occurred_at,
        last_event=standing.last_event,
        scheduled_at=_scheduled_at(history),
        status=standing.status,
        attempts=standing.attempt,
        message_id=message_id(queued),
        provider=outlook.provider,
        error_class=outlook.error_class,
        reason=outlook.reason,
        retry_at=outlook.retry_at,
        settle_at=outlook.settle_at,
        html=content.html,
        text=content.text,
        tags=[TagView(name=tag.name, value=tag.value) for tag in queued.tags],
        priority=queued.priority,
        stream=queued.stream,
        metadata=queued.metadata,
        expires_at=_expires_at(queued, history),
        recipients=[
            RecipientView(address=r.address, kind=r.kind, status=r.status, at=r.at, reason=outlook.reasons.get(r.id))
            for r in standing.recipients.values()
        ],
        attachments=[
            AttachmentView(name=a.filename, size=a.size, type=a.content_type, sha256=a.sha256)
            for a in queued.attachments
        ],
    )


async def _load(call: Call, id: UUID) -> list[Recorded]:
    history = await call.service.ledger.load(id)
    if not history or history[0].event.tenant != call.caller.tenant or not isinstance(history[0].event, EmailQueued):
        raise EmailNotFound
    return history


def _by(event: Event, as_of: int | datetime | None) -> bool:
    if as_of is None:
        return True
    return event.originator_version <= as_of if isinstance(as_of, int) else event.occurred_at <= as_of


def entry(recorded: Recorded) -> EventView:
    event = recorded.event
    return EventView(
        id=event.event_id,
        type=recorded.topic,
        version=event.originator_version,
        position=recorded.position,
        occurred_at=event.occurred_at,
        actor=event.actor,
        data=data(event),
    )


def data(event: Event) -> dict[str, object]:
    """The event's own fields, without what every event has."""
    return event.model_dump(mode="json", exclude=set(_BOOKKEEPING))


def _envelope(queued: EmailQueued) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {"to": [], "cc": [], "bcc": [], "reply_to": [str(m) for m in queued.reply_to]}
    for recipient in queued.recipients:
        named = f"{recipient.name} <{recipient.address}>" if recipient.name else recipient.address
        lists[recipient.kind].append(named)
    return lists


def _expires_at(queued: EmailQueued, history: Sequence[Event]) -> datetime | None:
    """Whoever sends it again wants it sent."""
    return None if any(isinstance(event, EmailRequeued) for event in history) else queued.expires_at


def _scheduled_at(history: Sequence[Event]) -> datetime | None:
    times = [event.send_at for event in history if isinstance(event, EmailQueued | EmailRescheduled)]
    return times[-1]
