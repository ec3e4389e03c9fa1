"""Folds a page of events into the tables of a read model, around whatever streams it cannot fold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from application.ports import Recorded, Unreadable
from infrastructure.database.engines import is_outage
from infrastructure.database.parked import Parked, park, streams
from projections.projection import Projection, Tables

_MOST = 20  # streams of one page that are parked; where more fail, it is not for what is in them

Page = Sequence[Recorded | Unreadable]
_Failure = tuple[Recorded, Exception]  # the first event of its stream that could not be folded, and why


class FoldFails(Exception):
    """So much of a page could not be folded that the fold must be to blame, or its tables."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """The tables of one read model: the live ones, or those that a build fills, whose names end in `build`."""

    projection: Projection
    tables: Tables
    build: str = ""

    @classmethod
    def of(cls, projection: Projection, build: str = "") -> "ReadModel":
        return cls(projection, projection.tables(build), build)


def fold(connection: Connection, model: ReadModel, page: Page, now: datetime, *, careful: bool = False) -> list[Parked]:
    """Fold the page, except for streams that are parked. Returns the streams it parked, in the same transaction.

    What a fold raises is raised; then the same page is to be folded again, in a new transaction, with `careful`, which
    finds the streams to blame. Raises FoldFails when they are too many.
    """
    known = streams(connection, model.projection.name, model.projection.version, model.build)
    new = {parked.stream_id: parked for parked in _unreadable(page, known, now, model)}
    events = [each for each in page if type(each) is Recorded]
    if known or new:
        events = [each for each in events if _comes_before(each, known, new)]
    if careful:
        failures = _around(connection, model, events)
        new |= {event.event.originator_id: _parked(model, event, error, now) for event, error in failures}
    elif events:
        model.projection.fold(connection, model.tables, events)
    found = list(new.values())
    park(connection, found)
    return found


def _comes_before(each: Recorded, known: Collection[UUID], new: Mapping[UUID, Parked]) -> bool:
    """Whether it is to be folded: before whatever parks its stream."""
    id = each.event.originator_id
    return id not in known and (id not in new or each.position < new[id].position)


def _unreadable(page: Page, known: Collection[UUID], now: datetime, model: ReadModel) -> list[Parked]:
    first: dict[UUID, Unreadable] = {}
    for each in page:
        if isinstance(each, Unreadable) and each.stream_id not in known:
            first.setdefault(each.stream_id, each)
    return [
        Parked(*_name(model), each.stream_id, each.position, each.topic, each.reason, now) for each in first.values()
    ]


def _parked(model: ReadModel, recorded: Recorded, error: Exception, now: datetime) -> Parked:
    stream_id = recorded.event.originator_id
    return Parked(*_name(model), stream_id, recorded.position, recorded.topic, type(error).__name__, now)


def _name(model: ReadModel) -> tuple[str, int, str]:
    return model.projection.name, model.projection.version, model.build


def _around(connection: Connection, model: ReadModel, events: Sequence[Recorded]) -> list[_Failure]:
    """Fold all but what fails: halve the streams until those to blame are left."""
    error = _try(connection, model, events)
    if error is None:
        return []
    ids = list(dict.fromkeys(each.event.originator_id for each in events))
    if len(ids) == 1:
        return _up_to(connection, model, events)
    failures: list[_Failure] = []
    for half in (set(ids[: len(ids) // 2]), set(ids[len(ids) // 2 :])):
        failures += _around(connection, model, [each for each in events if each.event.originator_id in half])
        if len(failures) > _MOST:
            raise FoldFails(f"{type(error).__name__} in more than {_MOST} streams") from error
    return failures


def _up_to(connection: Connection, model: ReadModel, events: Sequence[Recorded]) -> list[_Failure]:
    """Of one stream, fold what comes before the event to blame."""
    for each in events:
        if error := _try(connection, model, [each]):
            return [(each, error)]
    return []  # it was their batch that failed, and one by one they are folded


def _try(connection: Connection, model: ReadModel, events: Sequence[Recorded]) -> Exception | None:
    if not events:
        return None
    try:
        with connection.begin_nested():
            model.projection.fold(connection, model.tables, events)
    except Exception as error:
        if is_outage(error):
            raise
        return error
    return None
