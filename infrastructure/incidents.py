"""Incidents as a table that all processes share."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from application.incidents import Incident, Telling
from infrastructure.database.engines import Database
from projections.columns import Id, Instant

_CREATING = 0x706C_6E63  # "plnc": who creates the table
_KEEP = timedelta(days=90)  # after its end
_ONGOING, _UNSETTLED = text("resolved_at IS NULL"), text("NOT settled")

INCIDENTS = Table(
    "incidents",
    MetaData(),
    Column("id", Id, primary_key=True),  # ordered by time
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("facts", Text, nullable=False),  # JSON
    Column("since", Instant, nullable=False),
    Column("resolved_at", Instant),
    Column("tellings", Text, nullable=False),  # JSON: channel to how far it has been told
    Column("settled", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Index(*("incidents_one_of_each", "kind", "subject"), unique=True, postgresql_where=_ONGOING, sqlite_where=_ONGOING),
    Index("incidents_unsettled", "settled", postgresql_where=_UNSETTLED, sqlite_where=_UNSETTLED),
)
_c = INCIDENTS.c


class SqlIncidents:
    """Implements the port Incidents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self) -> None:
        """Create the table where it is missing. Any number of processes may do so at once."""
        await self._database.tell(_create)

    async def unsettled(self) -> Sequence[Incident]:
        return await self._database.ask(_unsettled)

    async def add(self, incident: Incident) -> bool:
        return await self._database.tell(_add, incident)

    async def get(self, id: UUID) -> Incident | None:
        return await self._database.ask(_get, id)

    async def save(self, incident: Incident) -> bool:
        return await self._database.tell(_save, incident)

    async def recent(self, limit: int, ongoing: bool = False) -> list[Incident]:
        """The newest ones first; `ongoing` leaves out those that are over."""
        return await self._database.ask(_recent, limit, ongoing)


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    INCIDENTS.metadata.create_all(connection)


def _unsettled(connection: Connection) -> list[Incident]:
    return [_incident(row) for row in connection.execute(select(INCIDENTS).where(_UNSETTLED).order_by(_c.id))]


def _add(connection: Connection, incident: Incident) -> bool:
    """Old ones go when a new one comes, so that the table stays small."""
    connection.execute(delete(INCIDENTS).where(_c.settled, _c.resolved_at < incident.since - _KEEP))
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(INCIDENTS).values(_values(incident)).on_conflict_do_nothing()
    return connection.scalar(new.returning(_c.id)) is not None


def _get(connection: Connection, id: UUID) -> Incident | None:
    row = connection.execute(select(INCIDENTS).where(_c.id == id)).one_or_none()
    return _incident(row) if row else None


def _save(connection: Connection, incident: Incident) -> bool:
    as_read = (_c.id == incident.id) & (_c.version == incident.version)
    values = {**_values(incident), "version": incident.version + 1}
    return connection.execute(update(INCIDENTS).where(as_read).values(values)).rowcount == 1


def _recent(connection: Connection, limit: int, ongoing: bool) -> list[Incident]:
    query = select(INCIDENTS).order_by(_c.since.desc(), _c.id.desc()).limit(limit)
    return [_incident(row) for row in connection.execute(query.where(_ONGOING) if ongoing else query)]


def _values(incident: Incident) -> dict[str, Any]:
    tellings = {channel: asdict(telling) for channel, telling in incident.tellings.items()}
    return {
        "id": incident.id,
        "kind": incident.kind,
        "subject": incident.subject,
        "severity": incident.severity,
        "facts": json.dumps(dict(incident.facts), ensure_ascii=False),
        "since": incident.since,
        "resolved_at": incident.resolved_at,
        "tellings": json.dumps(tellings, default=datetime.isoformat),
        "settled": incident.settled,
        "version": incident.version,
    }


def _incident(row: Row[Any]) -> Incident:
    tellings = {channel: _telling(**told) for channel, told in json.loads(row.tellings).items()}
    return Incident(
        *(row.id, row.kind, row.subject, row.severity, json.loads(row.facts), row.since, row.resolved_at),
        tellings=tellings,
        settled=row.settled,
        version=row.version,
    )


def _telling(told: Any, tries: int, again_at: str | None) -> Telling:
    return Telling(told, tries, datetime.fromisoformat(again_at) if again_at else None)
