"""Questions to the `dead_letters` read model; who was addressed, `recipients` knows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select

from domain.address import address_key
from domain.status import EmailStatus, RecipientStatus
from projections.dead_letters import LETTERS
from projections.emails import COUNTS
from projections.recipients import RECIPIENTS

_REACHED = (RecipientStatus.DELIVERED.value, RecipientStatus.COMPLAINED.value)
_c, _r = LETTERS.c, RECIPIENTS.c


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters. `after` (older than that one) and `before` (newer) are positions, and may both be given."""

    tenant: str | None = None  # None: everybody's, for operators
    status: EmailStatus | None = None
    provider: str | None = None
    error_class: str | None = None
    reason: str | None = None
    stream: str | None = None
    sender_domain: str | None = None
    recipient: str | None = field(default=None, repr=False)  # somebody it was addressed to, and who has not got it
    since: datetime | None = None  # ended at or after
    until: datetime | None = None  # ended before
    limit: int = 20
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One email that ended while somebody has not got it."""

    email_id: UUID
    tenant: str
    status: EmailStatus
    accepted_at: datetime
    ended_at: datetime
    stream: str
    sender_domain: str
    provider: str | None
    error_class: str | None
    reason: str | None
    attempts: int
    recipients_failed: int
    position: int


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first."""

    rows: tuple[DeadLetter, ...]
    has_more: bool


_SHOWN = [_c[f.name] for f in fields(DeadLetter)]


def page(connection: Connection, wanted: DeadLetterFilter) -> Page:
    """One page. A cursor holds its place whatever is sent again meanwhile."""
    order = _c.position.desc() if wanted.before is None else _c.position.asc()
    query = select(*_SHOWN).where(*_conditions(wanted)).order_by(order).limit(wanted.limit + 1)
    found = [_row(dict(row)) for row in connection.execute(query).mappings()]
    shown = found[: wanted.limit]
    return Page(tuple(shown if wanted.before is None else reversed(shown)), has_more=len(found) > wanted.limit)


def count(connection: Connection, wanted: DeadLetterFilter) -> int:
    """How many fit, on all pages together."""
    query = select(func.count()).select_from(LETTERS).where(*_conditions(wanted))
    return int(connection.execute(query).scalar_one())


def newest(connection: Connection) -> int:
    """The position of the newest dead letter of all; 0 when there is none."""
    return connection.execute(select(func.max(_c.position))).scalar() or 0


def _conditions(wanted: DeadLetterFilter) -> Collection[ColumnElement[bool]]:
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.tenant, lambda tenant: _c.tenant == tenant),
        (wanted.status, lambda status: _c.status == status.value),
        (wanted.provider, lambda provider: _c.provider == provider),
        (wanted.error_class, lambda error_class: _c.error_class == error_class),
        (wanted.reason, lambda reason: _c.reason == reason),
        (wanted.stream, lambda stream: _c.stream == stream),
        (wanted.sender_domain, lambda domain: _c.sender_domain == domain),
        (wanted.recipient, lambda address: _c.email_id.in_(_addressed(address, wanted.tenant))),
        (wanted.since, lambda since: _c.ended_at >= since),
        (wanted.until, lambda until: _c.ended_at < until),
        (wanted.after, lambda position: _c.position < position),
        (wanted.before, lambda position: _c.position > position),
    )
    return [condition(value) for value, condition in conditions if value is not None]


def _addressed(address: str, tenant: str | None) -> Any:
    """The emails to somebody who has not got them. Addresses are found by tenant: an operator looks at each of them."""
    tenants = select(COUNTS.c.tenant) if tenant is None else [tenant]
    missed = _r.tenant.in_(tenants) & (_r.key == address_key(address)) & _r.status.not_in(_REACHED)
    return select(_r.email_id).where(missed)


def _row(row: dict[str, Any]) -> DeadLetter:
    return DeadLetter(**{**row, "status": EmailStatus(row["status"])})
