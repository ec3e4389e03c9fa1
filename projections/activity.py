"""Everything that happened to one person, over all emails: an append-only list that a fold never has to read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import BigInteger, Column, Connection, Index, MetaData, String, Table, Text, or_, select

from domain import events as e
from domain.address import address_key
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_kinds, of_stream


def tables(suffix: str = "") -> Tables:
    """People, and entries; an entry without a recipient concerns all people of its email."""
    people, entries, metadata = f"activity_people_v1{suffix}", f"activity_entries_v1{suffix}", MetaData()
    return (
        Table(
            people,
            metadata,
            Column("tenant", String, nullable=False),
            Column("key", Text, nullable=False),  # the address, case folded
            Column("email_id", Id, nullable=False),
            Column("recipient_id", Id, nullable=False),
            Index(f"{people}_by_key", "tenant", "key"),
            info=of_stream("email_id"),
        ),
        Table(
            entries,
            metadata,
            Column("position", BigInteger, primary_key=True, autoincrement=False),
            Column("email_id", Id, nullable=False),
            Column("recipient_id", Id),
            Column("type", String, nullable=False),  # the event's topic
            Column("occurred_at", Instant, nullable=False),
            Column("summary", Text, nullable=False),  # JSON
            Index(f"{entries}_by_email", "email_id", "position"),
            info=of_stream("email_id"),
        ),
    )


PEOPLE, ENTRIES = tables()

# What of an event a timeline shows. Events that are not named here show nothing but their type and time.
_ATTEMPT = ("attempt", "provider")
_SHOWN: Mapping[type[e.Event], tuple[str, ...]] = {
    e.EmailQueued: ("subject", "send_at"),
    e.EmailRescheduled: ("send_at",),
    e.EmailCancelled: (),
    e.EmailExpired: (),
    e.EmailDeliveryStarted: _ATTEMPT,
    e.EmailDispatched: _ATTEMPT,
    e.EmailDeliveryDeferred: (*_ATTEMPT, "error_class", "reason", "retry_at"),
    e.EmailDeliveryFailed: (*_ATTEMPT, "error_class", "reason"),
    e.EmailDeliveryUnconfirmed: (*_ATTEMPT, "reason", "settle_at"),
    e.EmailDeliveryResolved: (*_ATTEMPT, "resolution", "evidence"),
    e.EmailRequeued: ("reason",),
    e.EmailContentPurged: ("reason",),
    e.EmailRecipientDelivered: ("provider",),
    e.EmailRecipientDeferred: ("provider", "reason", "smtp_status", "enhanced_status"),
    e.EmailRecipientDeliveryFailed: ("provider", "bounce_class", "reason", "smtp_status", "enhanced_status"),
    e.EmailRecipientSuppressed: ("provider", "rule"),
    e.EmailRecipientOpened: ("provider", "machine"),
    e.EmailRecipientClicked: ("provider", "machine", "url"),
    e.EmailRecipientComplained: ("provider", "complaint"),
    e.EmailRecipientUnsubscribed: ("provider", "scope"),
    e.EmailRecipientResubscribed: ("provider", "scope"),
    e.EmailRecipientReportWithdrawn: ("provider", "provider_type"),
    e.EmailFeedbackUnattributed: ("provider", "kind", "reason"),
}
_TOPICS = {event: event.topic() for event in _SHOWN}


def fold(connection: Connection, into: Tables, events: Events) -> None:
    people, entries = into
    queued = [event for _, event in of_kinds(events, [e.EmailQueued])]
    persons = [(q.tenant, r.address.casefold(), q.originator_id, r.id) for q in queued for r in q.recipients]
    rows.insert(connection, people, persons)
    rows.insert(connection, entries, [_entry(p.position, p.event) for p in events if type(p.event) in _SHOWN])


def _entry(position: int, event: e.Event) -> rows.Row:
    kind, said = type(event), event.__dict__
    shown = {name: said[name] for name in _SHOWN[kind] if said[name] is not None}
    return (
        position,
        event.originator_id,
        said.get("recipient_id"),
        _TOPICS[kind],
        event.occurred_at,
        to_json(shown).decode(),
    )


# -- queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    position: int
    email_id: UUID
    recipient_id: UUID | None
    type: str
    occurred_at: datetime
    summary: Mapping[str, Any]


def timeline(
    connection: Connection,
    tenant: str,
    address: str,
    limit: int = 100,
    after: int | None = None,
    before: int | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """What happened to this person, newest first; `after` and `before` a position, exclusive; `until` inclusive."""
    person = (PEOPLE.c.tenant == tenant) & (PEOPLE.c.key == address_key(address))
    c = ENTRIES.c
    query = select(*c).where(
        c.email_id.in_(select(PEOPLE.c.email_id).where(person)),
        or_(c.recipient_id.is_(None), c.recipient_id.in_(select(PEOPLE.c.recipient_id).where(person))),
    )
    if after is not None:
        query = query.where(c.position > after)
    if before is not None:
        query = query.where(c.position < before)
    if until is not None:
        query = query.where(c.occurred_at <= until)
    # `+ 0` keeps planners from walking the whole list backwards; they are to start from the person.
    found = connection.execute(query.order_by((c.position + 0).desc()).limit(limit)).mappings()
    return [Entry(**{**row, "summary": json.loads(row["summary"])}) for row in found]


PROJECTION = Projection("activity", 1, tables, fold)
