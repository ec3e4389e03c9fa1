"""The index of everything that ever happened: who did what when, and what led to it. What exactly, the log says."""

from collections.abc import Mapping
from operator import attrgetter

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text

from domain import events as e
from domain.catalogue import EVENTS
from domain.personal import personal_fields
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_stream


def tables(suffix: str = "") -> Tables:
    name = f"audit_v1{suffix}"
    audit = Table(
        name,
        MetaData(),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Id, nullable=False),
        Column("stream_id", Id, nullable=False),
        Column("version", Integer, nullable=False),
        Column("tenant", String, nullable=False),
        Column("type", String, nullable=False),  # without the version of its shape
        Column("occurred_at", Instant, nullable=False),
        Column("actor", String, nullable=False),
        Column("reason", Text),  # our own word for it; what people wrote stays in the log
        Column("correlation_id", Id, nullable=False),
        Column("causation_id", Id),  # an event, or what a provider delivered
        Index(f"{name}_by_event", "event_id"),
        Index(f"{name}_by_cause", "causation_id"),
        Index(f"{name}_by_correlation", "correlation_id"),
        Index(f"{name}_by_stream", "stream_id", "version"),
        Index(f"{name}_by_tenant", "tenant", "position"),
        Index(f"{name}_by_actor", "tenant", "actor", "position"),
        Index(f"{name}_by_type", "tenant", "type", "position"),
        info=of_stream("stream_id"),
    )
    return (audit,)


(AUDIT,) = tables()

_WHY = ("reason", "rule", "error_class", "evidence")  # the first of them that an event has, and that is not personal


def _why(event: type[e.Event]) -> tuple[str, ...]:
    return tuple(name for name in _WHY if name in event.model_fields and name not in personal_fields(event))


_REASONS: Mapping[type[e.Event], tuple[str, ...]] = {event: _why(event) for event in EVENTS}
_bookkeeping = attrgetter("event_id", "originator_id", "originator_version", "tenant", "TYPE", "occurred_at", "actor")


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (audit,) = into
    rows.insert(connection, audit, [_row(placed.position, placed.event) for placed in events])


def _row(position: int, event: e.Event) -> rows.Row:
    reason = next((str(said) for name in _REASONS[type(event)] if (said := getattr(event, name))), None)
    return (position, *_bookkeeping(event), reason, event.correlation_id, event.causation_id)


PROJECTION = Projection("audit", 1, tables, fold)
