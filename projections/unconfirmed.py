"""The emails in doubt: a provider may or may not have taken them, and nobody has found out yet."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    func,
    select,
)

from domain import events as e
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_stream


def tables(suffix: str = "") -> Tables:
    name = f"unconfirmed_v1{suffix}"
    unconfirmed = Table(
        name,
        MetaData(),
        Column("email_id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("provider", String, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("since", Instant, nullable=False),
        Column("settle_at", Instant),  # NULL: parked for an operator
        Column("reason", String, nullable=False),
        Column("position", BigInteger, nullable=False),  # of the event that raised the doubt
        Index(f"{name}_by_position", "position"),
        Index(f"{name}_by_tenant", "tenant", "position"),
        Index(f"{name}_by_provider", "provider", "position"),
        info=of_stream("email_id"),
    )
    return (unconfirmed,)


(UNCONFIRMED,) = tables()
_c = UNCONFIRMED.c


@dataclass(slots=True)
class Doubt:
    """One email in doubt."""

    email_id: UUID
    tenant: str
    provider: str
    attempt: int
    since: datetime
    settle_at: datetime | None
    reason: str
    position: int


# -- fold: what each event makes of the doubt about its email --------------------------------------------------------

_values: Callable[[Any], rows.Row] = attrgetter(*(field.name for field in fields(Doubt)))


def _doubted(doubt: Doubt | None, event: e.EmailDeliveryUnconfirmed, position: int) -> Doubt:
    if doubt is None or doubt.attempt != event.attempt:
        began = event.occurred_at
    else:
        began, position = doubt.since, doubt.position  # in doubt still: parked, or once more without an answer
    about = (event.originator_id, event.tenant, event.provider, event.attempt)
    return Doubt(*about, began, event.settle_at, event.reason, position)


def _closed(doubt: Doubt | None, event: Any, position: int) -> Doubt | None:
    return doubt if doubt and doubt.attempt != event.attempt else None


def _resolved(doubt: Doubt | None, event: e.EmailDeliveryResolved, position: int) -> Doubt | None:
    return doubt if event.doubtful else _closed(doubt, event, position)


def _over(doubt: Doubt | None, event: e.Event, position: int) -> None:
    return None


_STEPS: Mapping[type[e.Event], Callable[[Doubt | None, Any, int], Doubt | None]] = {
    e.EmailDeliveryUnconfirmed: _doubted,
    e.EmailDeliveryResolved: _resolved,
    e.EmailDispatched: _closed,
    e.EmailDeliveryDeferred: _closed,
    e.EmailDeliveryStarted: _over,
    e.EmailDeliveryFailed: _over,
    e.EmailCancelled: _over,
    e.EmailExpired: _over,
}


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (unconfirmed,) = into
    mine = [(p.position, p.event) for p in events if type(p.event) in _STEPS]
    found = rows.fetch(connection, unconfirmed, "email_id", {event.originator_id for _, event in mine})
    before = {row[0]: row for row in found}
    doubts: dict[UUID, Doubt | None] = {id: Doubt(*row) for id, row in before.items()}
    for position, event in mine:
        id = event.originator_id
        doubts[id] = _STEPS[type(event)](doubts.get(id), event, position)
    after = {id: _values(doubt) for id, doubt in doubts.items() if doubt}
    rows.delete(connection, unconfirmed, "email_id", [id for id, row in before.items() if after.get(id) != row])
    rows.insert(connection, unconfirmed, [row for id, row in after.items() if before.get(id) != row])


# -- queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DoubtFilter:
    """Which ones. `after` (in doubt for a shorter time than that one) is a position."""

    tenant: str | None = None  # None: everybody's, for operators
    provider: str | None = None
    until: datetime | None = None  # in doubt since before this time
    limit: int = 20
    after: int | None = None
    up_to: int | None = None  # a position: none newer than that one


@dataclass(frozen=True, slots=True)
class Page:
    """Oldest first."""

    rows: tuple[Doubt, ...]
    has_more: bool


def page(connection: Connection, wanted: DoubtFilter) -> Page:
    """One page. A cursor holds its place whatever is settled meanwhile."""
    query = select(UNCONFIRMED).where(*_conditions(wanted)).order_by(_c.position).limit(wanted.limit + 1)
    found = [Doubt(**row) for row in connection.execute(query).mappings()]
    return Page(tuple(found[: wanted.limit]), has_more=len(found) > wanted.limit)


def count(connection: Connection, wanted: DoubtFilter) -> int:
    """How many fit, on all pages together."""
    return int(
        connection.execute(select(func.count()).select_from(UNCONFIRMED).where(*_conditions(wanted))).scalar_one()
    )


def _conditions(wanted: DoubtFilter) -> Collection[ColumnElement[bool]]:
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.tenant, lambda tenant: _c.tenant == tenant),
        (wanted.provider, lambda provider: _c.provider == provider),
        (wanted.until, lambda until: _c.since < until),
        (wanted.after, lambda position: _c.position > position),
        (wanted.up_to, lambda position: _c.position <= position),
    )
    return [condition(value) for value, condition in conditions if value is not None]


PROJECTION = Projection("unconfirmed", 1, tables, fold)
