"""Questions to the `emails` read model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Table, exists, select

from domain.address import address_key
from domain.status import EmailStatus
from projections import terms
from projections.emails import COUNTS, EMAILS, TERMS
from projections.stepwise import look

_RARE = 1000  # emails under a term that are few enough to be looked at one by one
_SKEW = timedelta(hours=1)  # clocks of several machines: how far times may be from the order of positions


@dataclass(frozen=True, slots=True)
class EmailFilter:
    """Which emails of one tenant. `after_id` (older than that one) and `before_id` (newer) are Resend's cursors."""

    tenant: str
    status: EmailStatus | None = None
    provider: str | None = None  # the one asked last
    recipient: str | None = field(default=None, repr=False)
    recipient_domain: str | None = None
    sender: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)  # words, all of which must occur
    tag: tuple[str, str | None] | None = None  # name and value; None for any value
    metadata: tuple[str, str] | None = field(default=None, repr=False)
    stream: str | None = None
    since: datetime | None = None  # accepted at or after
    until: datetime | None = None  # accepted before
    limit: int = 20
    after_id: UUID | None = None
    before_id: UUID | None = None

    @property
    def terms(self) -> list[str]:
        """What must be said of an email for it to be found."""
        asked: tuple[tuple[Any, Callable[[Any], list[str]]], ...] = (
            (self.recipient, lambda address: [terms.asked_recipient(address)]),
            (self.recipient_domain, lambda name: [terms.domain(name)]),
            (self.sender, lambda address: [terms.sender(address_key(address))]),
            (self.subject, lambda text: [terms.word(word) for word in terms.words(text)]),
            (self.tag, lambda tag: [terms.tag(*tag)]),
            (self.metadata, lambda pair: [terms.metadata(*pair)]),
            (self.stream, lambda name: [terms.stream(name)]),
        )
        return [term for value, make in asked if value is not None for term in make(value)]


@dataclass(frozen=True, slots=True)
class EmailRow:
    """One email in a list."""

    id: UUID
    queued_position: int
    created_at: datetime
    sender: str
    subject: str
    envelope: Mapping[str, list[str]]  # to, cc, bcc, reply_to, each only when there are any
    status: EmailStatus
    last_event: str
    provider: str | None
    attempts: int
    scheduled_at: datetime | None
    updated_at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first."""

    rows: tuple[EmailRow, ...]
    has_more: bool


def page(connection: Connection, wanted: EmailFilter) -> Page:
    """One page. A cursor that names no email of this tenant gives an empty page.

    Emails that have a rare term are looked at one by one. Where all terms are common, so are, most likely, the emails
    that have them all, and walking down the list until a page is full is short: that is left to the planner.
    """
    position = EMAILS.c.queued_position
    backwards = wanted.before_id is not None and wanted.after_id is None
    postings = {term: _first_few(connection, wanted.tenant, term) for term in wanted.terms}
    rare = [set(few) for few in postings.values() if len(few) < _RARE]
    common = [term for term, few in postings.items() if len(few) == _RARE]
    order = position.asc() if backwards else position.desc()
    query = _matching(connection, wanted, common).order_by(order).limit(wanted.limit + 1)
    if rare:
        places = sorted(set.intersection(*rare), reverse=not backwards)
        found = look(places, wanted.limit + 1, lambda some: _rows(connection, query.where(position.in_(some))))
    else:
        found = _rows(connection, query)
    shown = found[: wanted.limit]
    return Page(tuple(reversed(shown) if backwards else shown), has_more=len(found) > wanted.limit)


def counts_by_status(connection: Connection, tenant: str) -> dict[EmailStatus, int]:
    """How many emails of this tenant stand where; their sum is all that were accepted."""
    query = select(COUNTS.c.status, COUNTS.c.emails).where(COUNTS.c.tenant == tenant, COUNTS.c.emails > 0)
    return {EmailStatus(status): emails for status, emails in connection.execute(query)}


def _matching(connection: Connection, wanted: EmailFilter, terms: Sequence[str]) -> Select[Any]:
    return select(*(EMAILS.c[each.name] for each in fields(EmailRow))).where(
        EMAILS.c.tenant == wanted.tenant,
        *_conditions(wanted),
        *in_time(connection, wanted.tenant, wanted.since, wanted.until, EMAILS),
        *(_has(wanted.tenant, term) for term in terms),
    )


def _first_few(connection: Connection, tenant: str, term: str) -> list[int]:
    """Up to _RARE positions of emails with this term. In order, so that planners take them from the index."""
    c = TERMS.c
    mine = select(c.queued_position).where(c.tenant == tenant, c.term == term)
    query = mine.order_by(c.queued_position).limit(_RARE)
    return list(connection.execute(query).scalars())


def _has(tenant: str, term: str) -> ColumnElement[bool]:
    """The offset, which skips nothing, has PostgreSQL look at one email after the other: it would collect everything
    that has the term first, all of a million.
    """
    c = TERMS.c
    mine = (c.tenant == tenant) & (c.term == term) & (c.queued_position == EMAILS.c.queued_position)
    return exists(select(1).where(mine).offset(0))


def in_time(
    connection: Connection, tenant: str, since: datetime | None, until: datetime | None, of: Table
) -> list[ColumnElement[bool]]:
    """Times as positions as well: a list goes by these, and must not be walked to a time long past."""
    mine = select(EMAILS.c.queued_position).where(EMAILS.c.tenant == tenant)
    created_at, position = EMAILS.c.created_at, of.c.queued_position
    conditions: list[ColumnElement[bool]] = []
    if since is not None:
        before = mine.where(created_at < since - _SKEW).order_by(created_at.desc()).limit(1)
        conditions += [of.c.created_at >= since, position > (connection.execute(before).scalar() or 0)]
    if until is not None:
        later = mine.where(created_at >= until + _SKEW).order_by(created_at).limit(1)
        conditions.append(of.c.created_at < until)
        if (end := connection.execute(later).scalar()) is not None:
            conditions.append(position < end)
    return conditions


def _conditions(wanted: EmailFilter) -> list[ColumnElement[bool]]:
    c = EMAILS.c
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.status, lambda status: c.status == status.value),
        (wanted.provider, lambda provider: c.provider == provider),
        (wanted.after_id, lambda id: c.queued_position < _place(wanted.tenant, id)),
        (wanted.before_id, lambda id: c.queued_position > _place(wanted.tenant, id)),
    )
    return [condition(value) for value, condition in conditions if value is not None]


def _place(tenant: str, id: UUID) -> Any:
    other = EMAILS.alias()
    return select(other.c.queued_position).where(other.c.id == id, other.c.tenant == tenant).scalar_subquery()


def _rows(connection: Connection, query: Select[Any]) -> list[EmailRow]:
    return [_row(dict(row)) for row in connection.execute(query).mappings()]


def _row(row: dict[str, Any]) -> EmailRow:
    return EmailRow(**{**row, "envelope": json.loads(row["envelope"]), "status": EmailStatus(row["status"])})
