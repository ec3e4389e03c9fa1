"""GET /emails/{id} and its events: folded straight from the stream, so they always see their own writes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from application.errors import EmailNotFound
from application.ports import Recorded, message_id
from domain.content import Content
from domain.events import EmailQueued, EmailRequeued, EmailRescheduled, Event
from domain.outlook import Outlook
from infrastructure.web import query, reply
from infrastructure.web.as_of import AsOf
from infrastructure.web.operation import Call
from infrastructure.web.parameters import email_id
from infrastructure.web.reply import Reply
from infrastructure.web.views import AttachmentView, EmailView, EventView, History, RecipientView, TagView

_BOOKKEEPING = frozenset(Event.model_fields)


async def show(call: Call) -> Reply:
    """One email, as it stands or stood, its content included as long as that is kept."""
    id, as_of = email_id(call), query.parse(call, AsOf)
    history = [recorded for recorded in await _load(call, id) if as_of.includes(recorded)]
    if not history:
        raise EmailNotFound
    content = await call.service.contents.load_content(id)
    return reply.of(view([recorded.event for recorded in history], content))


async def events(call: Call) -> Reply:
    """The email's history, complete, or up to a version, a position or a time."""
    as_of = query.parse(call, AsOf)
    history = await _load(call, email_id(call))
    return reply.of(History(data=[entry(recorded) for recorded in history if as_of.includes(recorded)]))


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
