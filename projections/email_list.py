"""Questions to the `emails` read model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, select

from domain.address import address_key
from domain.status import EmailStatus
from projections.emails import COUNTS, EMAILS, TERMS, recipient_term, tag_term


@dataclass(frozen=True, slots=True)
class EmailFilter:
    """Which emails of one tenant. `after_id` (older than that one) and `before_id` (newer) are Resend's cursors."""

    tenant: str
    status: EmailStatus | None = None
    recipient: str | None = None
    tag: tuple[str, str | None] | None = None  # name and value; None for any value
    since: datetime | None = None  # accepted at or after
    until: datetime | None = None  # accepted before
    limit: int = 20
    after_id: UUID | None = None
    before_id: UUID | None = None


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
    """One page. A cursor that names no email of this tenant gives an empty page."""
    position = EMAILS.c.queued_position
    backwards = wanted.before_id is not None and wanted.after_id is None
    order = position.asc() if backwards else position.desc()
    query = _matching(wanted).order_by(order).limit(wanted.limit + 1)
    found = [_row(dict(row)) for row in connection.execute(query).mappings()]
    shown = found[: wanted.limit]
    return Page(tuple(reversed(shown) if backwards else shown), has_more=len(found) > wanted.limit)


def counts_by_status(connection: Connection, tenant: str) -> dict[EmailStatus, int]:
    """How many emails of this tenant stand where; their sum is all that were accepted."""
    query = select(COUNTS.c.status, COUNTS.c.emails).where(COUNTS.c.tenant == tenant, COUNTS.c.emails > 0)
    return {EmailStatus(status): emails for status, emails in connection.execute(query)}


def _matching(wanted: EmailFilter) -> Select[Any]:
    columns = [EMAILS.c[field.name] for field in fields(EmailRow)]
    query = select(*columns).where(EMAILS.c.tenant == wanted.tenant)
    for term in _terms(wanted):
        having = select(TERMS.c.queued_position).where(TERMS.c.tenant == wanted.tenant, TERMS.c.term == term)
        query = query.where(EMAILS.c.queued_position.in_(having))
    return query.where(*_conditions(wanted))


def _conditions(wanted: EmailFilter) -> list[ColumnElement[bool]]:
    c = EMAILS.c
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.status, lambda status: c.status == status.value),
        (wanted.since, lambda since: c.created_at >= since),
        (wanted.until, lambda until: c.created_at < until),
        (wanted.after_id, lambda id: c.queued_position < _place(wanted.tenant, id)),
        (wanted.before_id, lambda id: c.queued_position > _place(wanted.tenant, id)),
    )
    return [condition(value) for value, condition in conditions if value is not None]


def _place(tenant: str, id: UUID) -> Any:
    other = EMAILS.alias()
    return select(other.c.queued_position).where(other.c.id == id, other.c.tenant == tenant).scalar_subquery()


def _terms(wanted: EmailFilter) -> list[str]:
    terms = [recipient_term(address_key(wanted.recipient))] if wanted.recipient else []
    return [*terms, tag_term(*wanted.tag)] if wanted.tag else terms


def _row(row: dict[str, Any]) -> EmailRow:
    return EmailRow(**{**row, "envelope": json.loads(row["envelope"]), "status": EmailStatus(row["status"])})
