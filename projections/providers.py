"""How each provider stands, and since when: what the routers of all processes follow, and what operators look at."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Connection, Double, Integer, MetaData, String, Table, Text, select

from domain import provider_events as p
from domain.provider_state import ProviderState
from projections import rows
from projections.columns import Id, Instant
from projections.projection import Events, Projection, Tables, of_kinds, of_stream


def tables(suffix: str = "") -> Tables:
    providers = Table(
        f"providers_v2{suffix}",
        MetaData(),
        Column("name", String, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("since", Instant),
        Column("paused", Boolean, nullable=False),
        Column("cause", String),
        Column("rule", String),
        Column("reason", Text),
        Column("error_class", String),
        Column("degraded_until", Instant),
        Column("openings", Integer, nullable=False),  # in a row
        Column("drill_fault", String),
        Column("drill_rate", Double, nullable=False),
        Column("drill_until", Instant),
        Column("stream_id", Id, nullable=False),
        Column("pause_reason", Text),
        Column("degradations", Integer, nullable=False),  # ever
        Column("degraded_at", Instant),
        Column("recovered_at", Instant),
        Column("evidence", String),
        Column("position", BigInteger, nullable=False),
        info=of_stream("stream_id"),
    )
    return (providers,)


(PROVIDERS,) = tables()
_c = PROVIDERS.c
_STATE = len(fields(ProviderState))  # the first columns are its fields


@dataclass(slots=True)
class ProviderRow:
    """One provider: how it stands, and what led to that, for people."""

    state: ProviderState
    stream_id: UUID
    pause_reason: str | None = field(default=None, repr=False)  # an operator's words, while it is paused
    degradations: int = 0  # how often it was taken out of use since there are records, probes included
    degraded_at: datetime | None = None  # the last time
    recovered_at: datetime | None = None
    evidence: str | None = None  # of the last recovery: `send`, `check`
    position: int = 0  # of its latest event


# -- fold ------------------------------------------------------------------------------------------------------------


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (providers,) = into
    mine = of_kinds(events, p.ProviderEvent.__subclasses__())
    before = rows.fetch(connection, providers, "name", {event.provider for _, event in mine})
    known = {row[0]: _read(row) for row in before}
    for position, event in mine:
        new = ProviderRow(ProviderState(event.provider), event.originator_id)
        _follow(known.setdefault(event.provider, new), position, event)
    rows.delete(connection, providers, "name", [row[0] for row in before])
    rows.insert(connection, providers, [_row(each) for each in known.values()])


def _follow(known: ProviderRow, position: int, event: p.ProviderEvent) -> None:
    known.state.apply(event)
    known.position = position
    match event:
        case p.ProviderDegraded():
            known.degradations, known.degraded_at = known.degradations + 1, event.occurred_at
        case p.ProviderRecovered():
            known.recovered_at, known.evidence = event.occurred_at, event.evidence
        case p.ProviderPaused():
            known.pause_reason = event.reason
        case p.ProviderResumed():
            known.pause_reason = None


def _row(known: ProviderRow) -> rows.Row:
    return *astuple(known.state), *(getattr(known, each.name) for each in fields(ProviderRow)[1:])


def _read(row: rows.Row) -> ProviderRow:
    return ProviderRow(ProviderState.of(row[:_STATE]), *row[_STATE:])


# -- queries ---------------------------------------------------------------------------------------------------------


def everyone(connection: Connection) -> Mapping[str, ProviderRow]:
    """All providers anything was ever said about, by name."""
    return {row.name: _read(tuple(row)) for row in connection.execute(select(PROVIDERS).order_by(_c.name))}


PROJECTION = Projection("providers", 2, tables, fold)
