"""The tables of the read models: which are live at once, and which have to be built first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from infrastructure.database import builds, positions
from infrastructure.database.parked import PARKED
from infrastructure.database.positions import ProjectionPosition
from projections.projection import Projection

_SHORT = 10_000  # events that a new read model folds while everybody waits, instead of being built


def prepare(connection: Connection, projections: Sequence[Projection], head: int, now: datetime) -> None:
    """Create what is missing. Safe for many processes at once, of several versions of the code.

    A read model that never was here is live from the beginning of a short log (`head` is its end); on a long one, and
    whenever an older version of it is or was live, a build begins that the workers see to.
    """
    positions.lock_creation(connection)
    for metadata in (positions.POSITIONS.metadata, PARKED.metadata):
        metadata.create_all(connection)
    builds.create(connection)
    known = positions.versions(connection)
    for projection in projections:
        versions = known.get(projection.name, set())
        if projection.version not in versions and (head > _SHORT or any(v < projection.version for v in versions)):
            builds.begin(connection, projection, 1, now, auto=True)
            continue
        projection.tables("")[0].metadata.create_all(connection)
        if projection.version not in versions:
            positions.place(connection, projection, 0, now)


def standings(connection: Connection, projections: Sequence[Projection], head: int) -> list[ProjectionPosition]:
    """All there is to tell about each of these, those included that are built before they are live."""
    under_way = builds.under_way(connection)
    live = {(p.name, p.version): p for p in positions.standings(connection, projections, head)}
    found: list[ProjectionPosition] = []
    for projection in projections:
        key = (projection.name, projection.version)
        parts = [part for part in under_way if (part.name, part.version) == key]
        if key in live:
            found.append(replace(live[key], building=_percent(parts, head)))
        elif parts:
            found.append(_being_built(parts, head))
    return found


def _being_built(parts: Sequence[builds.Part], head: int) -> ProjectionPosition:
    first, position = parts[0], min(part.position for part in parts)
    state = (first.name, first.version, position, max(0, head - position), first.error, first.updated_at)
    return ProjectionPosition(*state, state="building", building=_percent(parts, head))


def _percent(parts: Sequence[builds.Part], head: int) -> float | None:
    if not parts:
        return None
    return round(100 * sum(part.position for part in parts) / (len(parts) * head), 1) if head else 100.0
