"""Queries over the read model `audit`: lists by who, what and when, and the threads from causes to effects."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select

from projections.audit import AUDIT

_SKEW = timedelta(hours=1)  # clocks of several machines: how far times may be from the order of positions
_c = AUDIT.c


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event, as the index has it."""

    position: int
    event_id: UUID
    stream_id: UUID
    version: int
    tenant: str
    type: str
    occurred_at: datetime
    actor: str
    reason: str | None
    correlation_id: UUID
    causation_id: UUID | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events; what is left out means all. `after` (older than it) and `before` (newer) are positions."""

    tenant: str | None = None
    actor: str | None = None
    type: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    stream_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    after: int | None = None
    before: int | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The newest first."""

    rows: tuple[AuditEntry, ...]
    has_more: bool


_CONDITIONS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "tenant": lambda name: _c.tenant == name,
    "actor": lambda name: _c.actor == name,
    "type": lambda name: _c.type == name,
    "correlation_id": lambda id: _c.correlation_id == id,
    "causation_id": lambda id: _c.causation_id == id,
    "stream_id": lambda id: _c.stream_id == id,
    "since": lambda moment: _c.occurred_at >= moment,
    "until": lambda moment: _c.occurred_at < moment,
    "after": lambda position: _c.position < position,
    "before": lambda position: _c.position > position,
}


def page(connection: Connection, wanted: AuditFilter) -> AuditPage:
    """One page. With `before` it is the page next to that position, so that one can turn pages both ways."""
    given = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    conditions = [_CONDITIONS[name](value) for name, value in given.items()] + _bounds(connection, wanted)
    upwards = wanted.before is not None and wanted.after is None
    order = _c.position if upwards else _c.position.desc()
    found = connection.execute(select(AUDIT).where(*conditions).order_by(order).limit(wanted.limit + 1))
    rows = [AuditEntry(**row) for row in found.mappings()]
    shown = rows[: wanted.limit]
    return AuditPage(tuple(reversed(shown) if upwards else shown), len(rows) > wanted.limit)


def by_event(connection: Connection, ids: Collection[UUID]) -> list[AuditEntry]:
    """The events of these ids, in order."""
    return _entries(connection, _c.event_id.in_(ids))


def of_stream(connection: Connection, id: UUID, limit: int) -> list[AuditEntry]:
    """The first events of a stream."""
    return _entries(connection, _c.stream_id == id, limit)


def effects(connection: Connection, ids: Collection[UUID], limit: int) -> list[AuditEntry]:
    """What these events, or deliveries of providers, led to directly."""
    return _entries(connection, _c.causation_id.in_(ids), limit)


def correlated(connection: Connection, id: UUID, limit: int) -> list[AuditEntry]:
    """The first events of everything that one request, or another beginning, led to."""
    return _entries(connection, _c.correlation_id == id, limit)


def at_positions(connection: Connection, positions: Collection[int]) -> list[AuditEntry]:
    return _entries(connection, _c.position.in_(positions))


def _entries(connection: Connection, which: ColumnElement[bool], limit: int | None = None) -> list[AuditEntry]:
    found = connection.execute(select(AUDIT).where(which).order_by(_c.position).limit(limit))
    return [AuditEntry(**row) for row in found.mappings()]


def _bounds(connection: Connection, wanted: AuditFilter) -> list[ColumnElement[bool]]:
    """Positions outside of which no time that is wanted can be: times follow positions, but for the clocks' skew."""
    bounds: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        bounds.append(_c.position > _before(connection, wanted.since - _SKEW))
    if wanted.until is not None:
        last = _before(connection, wanted.until + _SKEW)
        bounds.append(_c.position <= last)
    return bounds


def _before(connection: Connection, moment: datetime) -> int:
    """The last position at which the time is before this moment; a bisection."""
    low, high = 0, int(connection.execute(select(func.coalesce(func.max(_c.position), 0))).scalar_one())
    while low < high:
        middle = (low + high) // 2
        query = select(_c.position, _c.occurred_at).where(_c.position > middle).order_by(_c.position).limit(1)
        position, occurred_at = connection.execute(query).one()
        if occurred_at < moment:
            low = position
        else:
            high = middle
    return low
