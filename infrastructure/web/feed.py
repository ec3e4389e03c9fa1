"""GET /events and GET /events/stream: the caller's events in the one global order, as CloudEvents."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sse_starlette import EventSourceResponse, ServerSentEvent

from application.errors import InvalidField, StoreUnavailable
from application.ports import Recorded
from domain.catalogue import EVENTS
from infrastructure.web import query, reply
from infrastructure.web.history import data
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.service import Service
from infrastructure.web.views import CloudEvent, Feed

_PAGE = 500  # events read at a time
_PAGES = 20  # read for one answer at most, however few of them are the caller's
_HEARTBEAT = 15  # seconds
_SOURCES = {"suppression": "/suppressions", "provider": "/providers"}  # all others are of emails
_TYPES = frozenset(event.TYPE for event in EVENTS) | frozenset(event.topic() for event in EVENTS)


def _known_types(value: str) -> str:
    unknown = [name for name in value.split(",") if name.strip() not in _TYPES]
    if unknown:
        raise PydanticCustomError("event_type", "must name event types such as email.queued, separated by commas")
    return value


class Followed(query.Query):
    """Which events, and from where on."""

    after: Annotated[query.Position | None, Field(description="A position; what comes after it is given.")] = None
    types: Annotated[
        Annotated[query.Text, AfterValidator(_known_types)] | None,
        Field(description="Event types separated by commas, with or without their version: `email.queued`."),
    ] = None

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.types.split(",")) if self.types else ()


class FeedQuery(Followed):
    """A page of the feed."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


async def page(call: Call) -> Reply:
    """The next events after a position."""
    wanted = query.parse(call, FeedQuery)
    after = wanted.after or 0
    found: list[Recorded] = []
    for _ in range(_PAGES):
        recorded, end = await _read(call.service, after, wanted.topics)
        for event in recorded:
            if len(found) == wanted.limit:
                return _feed(found, after, has_more=True)
            after = event.position
            if event.event.tenant == call.caller.tenant:
                found.append(event)
        after = max(after, end)
        if len(recorded) < _PAGE:
            return _feed(found, after, has_more=False)
    return _feed(found, after, has_more=True)


async def stream(call: Call) -> EventSourceResponse:
    """Events as they happen, over server-sent events. A client that comes back goes on where it was."""
    wanted = query.parse(call, Followed)
    after = _last_event_id(call) if b"last-event-id" in call.headers else wanted.after
    if after is None:
        after = await call.service.ledger.position()
    return EventSourceResponse(_follow(call, after, wanted.topics), ping=_HEARTBEAT, send_timeout=60)


async def _follow(call: Call, after: int, topics: tuple[str, ...]) -> AsyncIterator[ServerSentEvent]:
    """Ends when the service stops or its store goes away; the client then connects again with its last id."""
    service = call.service
    while not service.stopping.is_set():
        try:
            recorded, end = await _read(service, after, topics)
        except StoreUnavailable:
            return
        for event in recorded:
            if event.event.tenant == call.caller.tenant:
                yield _server_sent(event)
        after = max(end, recorded[-1].position if recorded else after)
        if len(recorded) < _PAGE:
            await _news(service, after)


async def _read(service: Service, after: int, topics: tuple[str, ...]) -> tuple[list[Recorded], int]:
    """The next events, and how far the log has been read when there are no more of them."""
    head = await service.ledger.position()  # before the read: what it skips up to here does not fit `topics`
    recorded = await service.ledger.read(after, _PAGE, topics)
    return recorded, head if len(recorded) < _PAGE else after


async def _news(service: Service, after: int) -> None:
    """Until there may be something new, or the service stops."""
    tasks = [
        asyncio.create_task(service.ledger.wait(after, _HEARTBEAT)),
        asyncio.create_task(service.stopping.wait()),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with suppress(StoreUnavailable):  # the next read says so as well
                task.result()
    finally:
        for task in tasks:
            task.cancel()


def _last_event_id(call: Call) -> int:
    text = call.headers[b"last-event-id"]
    if not text.isdigit() or len(text) > 18:
        raise InvalidField("Last-Event-ID", "must be the id of an event of this stream: its position")
    return int(text)


def _feed(found: list[Recorded], after: int, *, has_more: bool) -> Reply:
    return reply.of(Feed(has_more=has_more, next_after=after, data=[cloud_event(recorded) for recorded in found]))


def _server_sent(recorded: Recorded) -> ServerSentEvent:
    return ServerSentEvent(
        id=str(recorded.position), event=recorded.topic, data=cloud_event(recorded).model_dump_json()
    )


def cloud_event(recorded: Recorded) -> CloudEvent:
    event = recorded.event
    return CloudEvent(
        id=event.event_id,
        source=_SOURCES.get(recorded.topic.partition(".")[0], "/emails"),
        type=recorded.topic,
        subject=str(event.originator_id),
        time=event.occurred_at,
        position=recorded.position,
        version=event.originator_version,
        tenant=event.tenant,
        actor=event.actor,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        traceparent=event.traceparent,
        data=data(event),
    )
