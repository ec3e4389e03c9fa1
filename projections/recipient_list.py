"""Questions to the `recipients` read model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from domain.address import address_key
from domain.status import RecipientStatus
from projections.email_list import in_time
from projections.recipients import RECIPIENTS
from projections.stepwise import look

_RARE = 1000  # recipients whose addresses begin alike that are few enough to be put in order
_LAST = chr(0x10FFFF)

Place = tuple[int, UUID]  # of a row in the list: its email's position, its id; never changes
_c = RECIPIENTS.c


@dataclass(frozen=True, slots=True)
class RecipientFilter:
    """Which recipients of one tenant's emails. `after` (older than that one) and `before` (newer) are places."""

    tenant: str
    address: str | None = field(default=None, repr=False)
    prefix: str | None = field(default=None, repr=False)  # how the address begins
    domain: str | None = None
    status: RecipientStatus | None = None
    bounce_class: str | None = None
    provider: str | None = None  # the one that spoke of it last
    since: datetime | None = None  # accepted at or after
    until: datetime | None = None  # accepted before
    limit: int = 20
    after: Place | None = None
    before: Place | None = None


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """One recipient of one email."""

    email_id: UUID
    id: UUID
    tenant: str
    queued_position: int
    created_at: datetime
    kind: str
    address: str = field(repr=False)
    name: str = field(repr=False)
    status: RecipientStatus
    at: datetime | None  # the provider's time behind `status`
    opened_at: datetime | None
    clicked_at: datetime | None
    unsubscribed_at: datetime | None
    provider: str | None
    bounce_class: str | None
    reason: str | None
    smtp_status: int | None
    enhanced_status: str | None

    @property
    def place(self) -> Place:
        return self.queued_position, self.id


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first."""

    rows: tuple[RecipientRow, ...]
    has_more: bool


def page(connection: Connection, wanted: RecipientFilter) -> Page:
    """One page. A cursor holds its place whatever comes in or changes meanwhile."""
    backwards = wanted.before is not None and wanted.after is None
    query = _ordered(_matching(connection, wanted), backwards).limit(wanted.limit + 1)
    if wanted.prefix is None:
        found = _rows(connection, query)
    else:
        found = _beginning(connection, query, wanted, wanted.prefix.casefold(), backwards)
    shown = found[: wanted.limit]
    return Page(tuple(reversed(shown) if backwards else shown), has_more=len(found) > wanted.limit)


def _matching(connection: Connection, wanted: RecipientFilter) -> Select[Any]:
    conditions = [*_conditions(wanted), *in_time(connection, wanted.tenant, wanted.since, wanted.until, RECIPIENTS)]
    columns = [_c[each.name] for each in fields(RecipientRow)]
    return select(*columns).where(_c.tenant == wanted.tenant, *conditions)


def _ordered(query: Select[Any], backwards: bool) -> Select[Any]:
    return query.order_by(*(each.asc() if backwards else each.desc() for each in (_c.queued_position, _c.id)))


def _beginning(
    connection: Connection, query: Select[Any], wanted: RecipientFilter, key: str, backwards: bool
) -> list[RecipientRow]:
    """Where many begin so, walking down the list until a page is full is short; where few do, they are looked up."""
    alike = (_c.key >= key) & (_c.key < key + _LAST)
    mine = select(_c.queued_position).where(_c.tenant == wanted.tenant, alike)
    few = connection.scalars(mine.order_by(_c.key).limit(_RARE)).all()  # in order: taken from the index
    if len(few) == _RARE:
        return _rows(connection, query.where(func.substr(_c.key, 1, len(key)) == key))
    places = sorted(set(few), reverse=not backwards)
    return look(
        places, wanted.limit + 1, lambda some: _rows(connection, query.where(alike, _c.queued_position.in_(some)))
    )


def _conditions(wanted: RecipientFilter) -> list[ColumnElement[bool]]:
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.address, lambda address: _c.key == address_key(address)),
        (wanted.domain, lambda name: _c.domain == name.casefold()),
        (wanted.status, lambda status: _c.status == status.value),
        (wanted.bounce_class, lambda name: _c.bounce_class == name),
        (wanted.provider, lambda name: _c.provider == name),
        (wanted.after, _older),
        (wanted.before, _newer),
    )
    return [condition(value) for value, condition in conditions if value is not None]


def _older(place: Place) -> ColumnElement[bool]:
    position, id = place
    return (_c.queued_position <= position) & or_(_c.queued_position < position, _c.id < id)


def _newer(place: Place) -> ColumnElement[bool]:
    position, id = place
    return (_c.queued_position >= position) & or_(_c.queued_position > position, _c.id > id)


def _rows(connection: Connection, query: Select[Any]) -> list[RecipientRow]:
    return [_row(row) for row in connection.execute(query).mappings()]


def _row(row: Mapping[Any, Any]) -> RecipientRow:
    return RecipientRow(**{**row, "status": RecipientStatus(row["status"])})
