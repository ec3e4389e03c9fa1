"""The dead letters: every email that ended while somebody has not got it, until it is sent again or arrives after all.

Beside the table there is another one with the course of every email, for the fold to go on from: a bounce may come long
after a delivery. It knows recipients by their ids alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text

from domain import events as e
from domain.outlook import Outlook
from domain.standing import REPORTED, Standing
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_stream

_FOUND_BY = ("tenant", "status", "provider", "error_class", "reason", "stream", "sender_domain")


def tables(suffix: str = "") -> Tables:
    """Dead letters, and the courses of all emails."""
    name, metadata = f"dead_letters_v1{suffix}", MetaData()
    letters = Table(
        name,
        metadata,
        Column("email_id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("status", String, nullable=False),
        Column("accepted_at", Instant, nullable=False),
        Column("ended_at", Instant, nullable=False),
        Column("stream", String, nullable=False),
        Column("sender_domain", Text, nullable=False),
        Column("provider", String),  # the one asked last
        Column("error_class", String),
        Column("reason", Text),
        Column("attempts", Integer, nullable=False),
        Column("recipients_failed", Integer, nullable=False),
        Column("position", BigInteger, nullable=False),  # of the event that made it a dead letter
        Index(f"{name}_by_position", "position"),
        Index(f"{name}_by_end", "ended_at"),
        *(Index(f"{name}_by_{column}", column, "position") for column in _FOUND_BY),
        info=of_stream("email_id"),
    )
    courses = Table(
        f"dead_letter_courses_v1{suffix}",
        metadata,
        Column("email_id", Id, primary_key=True),
        Column("course", Text, nullable=False),  # JSON
        info=of_stream("email_id"),
    )
    return letters, courses


LETTERS, COURSES = tables()


# -- fold ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Course:
    """One email while a batch is folded into it."""

    email_id: UUID
    tenant: str
    stream: str
    sender_domain: str
    accepted_at: datetime
    outlook: Outlook
    ended_at: datetime | None = None  # while it is a dead letter
    position: int = 0

    @classmethod
    def of(cls, event: e.EmailQueued) -> "_Course":
        standing = Standing.opened(event)
        for recipient in standing.recipients.values():
            recipient.address = recipient.name = ""
        domain = event.sender.address.rpartition("@")[2]
        return cls(event.originator_id, event.tenant, event.stream, domain, event.occurred_at, Outlook(standing))

    def take(self, position: int, event: e.Event) -> None:
        self.outlook.apply(event)
        if not self.outlook.standing.is_dead_letter:
            self.ended_at, self.position = None, 0
        elif self.ended_at is None:
            self.ended_at, self.position = event.occurred_at, position

    def row(self) -> rows.Row | None:
        if self.ended_at is None:
            return None
        outlook, standing = self.outlook, self.outlook.standing
        error_class = outlook.error_class
        return (
            *(self.email_id, self.tenant, standing.status.value, self.accepted_at, self.ended_at, self.stream),
            *(self.sender_domain, outlook.provider, error_class.value if error_class else None, outlook.reason),
            *(standing.attempt, len(standing.undelivered), self.position),
        )


_JSON = TypeAdapter(_Course)
_OWN = {
    *(e.EmailQueued, e.EmailRescheduled, e.EmailCancelled, e.EmailExpired, e.EmailDeliveryStarted, e.EmailDispatched),
    *(e.EmailDeliveryDeferred, e.EmailDeliveryFailed, e.EmailDeliveryUnconfirmed, e.EmailDeliveryResolved),
    e.EmailRequeued,
}


def _matters(event: e.Event) -> bool:
    """Whether it can change where an email stands; opens and clicks, most of what is said, cannot."""
    if e.is_about_recipient(event):
        return type(event) in REPORTED or event.corrects is not None
    return type(event) in _OWN


def fold(connection: Connection, into: Tables, events: Events) -> None:
    letters, courses = into
    mine = [(p.position, p.event) for p in events if _matters(p.event)]
    new = {event.originator_id: _Course.of(event) for _, event in mine if type(event) is e.EmailQueued}
    known = {event.originator_id for _, event in mine} - new.keys()
    stored: dict[UUID, str] = dict(rows.fetch(connection, courses, "email_id", known))
    touched = new | {id: _JSON.validate_json(course) for id, course in stored.items()}
    before = {id: touched[id].row() for id in stored}
    for position, event in mine:
        if course := touched.get(event.originator_id):
            course.take(position, event)
    _write(connection, letters, before, {id: course.row() for id, course in touched.items()})
    written = {id: _JSON.dump_json(course, exclude_defaults=True).decode() for id, course in touched.items()}
    rows.insert(connection, courses, [(id, written[id]) for id in new])
    changed = [(id, written[id]) for id, course in stored.items() if written[id] != course]
    rows.update(connection, courses, changed, ("email_id", "course"))


def _write(
    connection: Connection,
    letters: Table,
    before: Mapping[UUID, rows.Row | None],
    after: Mapping[UUID, rows.Row | None],
) -> None:
    rows.delete(connection, letters, "email_id", [id for id, row in before.items() if row and after[id] != row])
    rows.insert(connection, letters, [row for id, row in after.items() if row and before.get(id) != row])


PROJECTION = Projection("dead_letters", 1, tables, fold)
