"""The suppression list for people to look through: what stands, for each tenant, address and scope.

Whether a message may go out is asked of the log itself, never of this table, which follows a moment later.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Index, MetaData, String, Table, Text, select

from domain import events as e
from domain.address import address_key
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_kinds, of_stream


def tables(suffix: str = "") -> Tables:
    name = f"suppressions_v2{suffix}"
    suppressions = Table(
        name,
        MetaData(),
        Column("tenant", String, primary_key=True),
        Column("key", Text, primary_key=True),  # the address, case folded
        Column("scope", String, primary_key=True),
        Column("address", Text, nullable=False),
        Column("domain", Text, nullable=False),
        Column("rule", String, nullable=False),
        Column("source", String, nullable=False),
        Column("reason", Text, nullable=False),
        Column("email_id", Id),
        Column("added_at", Instant, nullable=False),
        Column("stream_id", Id, nullable=False),  # one for each tenant and key
        Column("position", BigInteger, nullable=False),  # of the event that says so
        Index(f"{name}_by_key", "key", postgresql_ops={"key": "text_pattern_ops"}),  # serves prefixes too
        Index(f"{name}_by_place", "tenant", "position"),
        Index(f"{name}_by_position", "position"),
        Index(f"{name}_by_stream", "stream_id"),
        info=of_stream("stream_id"),
    )
    return (suppressions,)


(SUPPRESSIONS,) = tables()
_c = SUPPRESSIONS.c

_Place = tuple[str, str, str]  # tenant, key, scope


# -- fold ------------------------------------------------------------------------------------------------------------


_KINDS: tuple[type[e.SuppressionAdded | e.SuppressionRemoved], ...] = (e.SuppressionAdded, e.SuppressionRemoved)


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (suppressions,) = into
    mine = of_kinds(events, _KINDS)
    found = rows.fetch(connection, suppressions, "stream_id", {event.originator_id for _, event in mine})
    before: Mapping[_Place, rows.Row] = {row[:3]: row for row in found}
    after = dict(before)
    for position, event in mine:
        row = _row(position, event)
        if isinstance(event, e.SuppressionRemoved):
            after.pop(row[:3], None)
        else:
            after.setdefault(row[:3], row)  # of several causes, the first is shown until it falls
    rows.delete(connection, suppressions, "position", [row[-1] for row in found if after.get(row[:3]) != row])
    rows.insert(connection, suppressions, [row for place, row in after.items() if before.get(place) != row])


def _row(position: int, event: e.SuppressionAdded | e.SuppressionRemoved) -> rows.Row:
    place = (event.tenant, address_key(event.address), event.scope)
    said = (event.address, event.address.rpartition("@")[2], event.rule, event.source, event.reason)
    email_id = event.email_id if isinstance(event, e.SuppressionAdded) else None
    return *place, *said, email_id, event.occurred_at, event.originator_id, position


# -- queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """Which entries of one tenant. `after` (older than that one) and `before` (newer) are positions."""

    tenant: str
    rule: str | None = None
    scope: str | None = None
    domain: str | None = None
    prefix: str | None = field(default=None, repr=False)  # how the address begins
    limit: int = 20
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class SuppressionRow:
    """One entry."""

    address: str = field(repr=False)
    scope: str
    rule: str
    source: str
    reason: str = field(repr=False)
    email_id: UUID | None
    added_at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first."""

    rows: tuple[SuppressionRow, ...]
    has_more: bool


_SHOWN = [_c[f.name] for f in fields(SuppressionRow)]


def by_address(connection: Connection, tenant: str, address: str) -> list[SuppressionRow]:
    """What stands for this address, newest first."""
    mine = (_c.tenant == tenant) & (_c.key == address_key(address))
    return _rows(connection, select(*_SHOWN).where(mine).order_by(_c.position.desc()))


def page(connection: Connection, wanted: SuppressionFilter) -> Page:
    """One page. A cursor holds its place whatever is added or removed meanwhile."""
    backwards = wanted.before is not None and wanted.after is None
    order = _c.position.asc() if backwards else _c.position.desc()
    query = select(*_SHOWN).where(_c.tenant == wanted.tenant, *_conditions(wanted))
    found = _rows(connection, query.order_by(order).limit(wanted.limit + 1))
    shown = found[: wanted.limit]
    return Page(tuple(reversed(shown) if backwards else shown), has_more=len(found) > wanted.limit)


def _conditions(wanted: SuppressionFilter) -> Collection[ColumnElement[bool]]:
    conditions: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.rule, lambda rule: _c.rule == rule),
        (wanted.scope, lambda scope: _c.scope == scope),
        (wanted.domain, lambda domain: _c.domain == domain),
        (wanted.prefix, lambda prefix: _c.key.startswith(prefix.casefold(), autoescape=True)),
        (wanted.after, lambda position: _c.position < position),
        (wanted.before, lambda position: _c.position > position),
    )
    return [condition(value) for value, condition in conditions if value is not None]


def _rows(connection: Connection, query: Any) -> list[SuppressionRow]:
    return [SuppressionRow(**row) for row in connection.execute(query).mappings()]


PROJECTION = Projection("suppressions", 2, tables, fold)
