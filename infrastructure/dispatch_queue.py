"""The dispatch queue that all workers share, on the table of the read model of the same name."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    select,
    union_all,
    update,
)

from application.lanes import OWN
from application.ports import Claim, Wanted
from domain.events import Priority
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from projections.dispatch_queue import EXPIRING, PRIORITIES, QUEUE

_c = QUEUE.c
_CLAIMED = (_c.email_id, _c.due_at, _c.tenant, _c.lane)
_OVERDUE = 10  # emails that expired while they waited, taken at once


class SqlDispatchQueue:
    """Implements the port DispatchQueue with leases. A row in other hands is skipped, never waited for."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def claim(self, wanted: Wanted, now: datetime) -> list[Claim]:
        return await self._database.tell(_claim, wanted, now)

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        return await self._database.tell(_extend, worker, email_ids, until)

    async def put_back(self, worker: str, email_ids: Sequence[UUID], lane: str, until: datetime | None = None) -> None:
        await self._database.tell(_put_back, worker, email_ids, lane, until)

    async def next_due(self, now: datetime, priorities: Sequence[Priority]) -> datetime | None:
        return await self._database.ask(_next_due, now, priorities)

    async def wait(self, timeout: float) -> None:
        await self._wakeups.projections.wait(timeout)


@dataclass(slots=True)
class _Line:
    """Those of one tenant that wait in one lane, and how many of them may be claimed."""

    lane: str
    tenant: str
    room: int


def _claim(connection: Connection, wanted: Wanted, now: datetime) -> list[Claim]:
    """A few index look-ups per line, however many emails are in it, or scheduled for later."""
    claims: list[Claim] = []
    for priority in wanted.priorities:
        number = PRIORITIES[priority]
        if (left := wanted.limit - len(claims)) > 0:
            claims += _lease(connection, [_overdue(number, min(_OVERDUE, left), now)], wanted, now)
        lines = _lines(connection, number, wanted, now)
        while lines and (left := wanted.limit - len(claims)) > 0:
            shares = _shares(lines, left)
            found = _take_turns(connection, number, shares, wanted, now)
            claims += found
            lines = _longer(lines, shares, found)
    return claims


def _all_lines(of_priority: ColumnElement[bool], now: ColumnElement[datetime]) -> Select[Any]:
    """Lanes and tenants with somebody due, by skipping from one to the next along the index, not by reading all rows.

    One query, however many there are: with limits for every domain each may have a lane.
    """

    def least(column: ColumnElement[Any], *where: ColumnElement[bool]) -> Any:
        return select(func.min(column)).where(of_priority, *where).scalar_subquery()

    lanes = select(least(_c.lane).label("lane")).cte("lanes", recursive=True)
    lanes = lanes.union_all(select(least(_c.lane, _c.lane > lanes.c.lane)).where(lanes.c.lane.is_not(None)))
    tenant = least(_c.tenant, _c.lane == lanes.c.lane).label("tenant")
    lines = select(lanes.c.lane, tenant).where(lanes.c.lane.is_not(None)).cte("lines", recursive=True)
    tenant = least(_c.tenant, _c.lane == lines.c.lane, _c.tenant > lines.c.tenant)
    lines = lines.union_all(select(lines.c.lane, tenant).where(lines.c.tenant.is_not(None)))
    first = least(_c.claimable_at, _c.lane == lines.c.lane, _c.tenant == lines.c.tenant)
    return select(lines.c.lane, lines.c.tenant).where(lines.c.tenant.is_not(None), first <= now)


_LINES = _all_lines(_c.priority == bindparam("number", type_=_c.priority.type), bindparam("now", type_=_c.due_at.type))


def _lines(connection: Connection, priority: int, wanted: Wanted, now: datetime) -> list[_Line]:
    """The lines in which somebody is due, in a random order: nobody is always the first."""
    found = connection.execute(_LINES, {"number": priority, "now": now})
    lines = [_Line(row.lane, row.tenant, room) for row in found if (room := wanted.room(row.lane, row.tenant))]
    random.shuffle(lines)
    return lines


def _take_turns(
    connection: Connection, priority: int, shares: Sequence[tuple[_Line, int]], wanted: Wanted, now: datetime
) -> list[Claim]:
    """From each line its share, the longest due first."""
    return _lease(connection, [_due(priority, line, min(share, line.room), now) for line, share in shares], wanted, now)


def _shares(lines: Sequence[_Line], limit: int) -> list[tuple[_Line, int]]:
    """Each line one, and each tenant the same of the rest, rounded down: what is left over is for the next turn.

    Where that is too much, each tenant the same, however many its lines.
    """
    of_tenants: defaultdict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        of_tenants[line.tenant].append(line)
    if len(lines) <= limit:
        rest = (limit - len(lines)) // len(of_tenants)
        return [(line, 1 + rest // len(of_one)) for of_one in of_tenants.values() for line in of_one]
    share = max(1, limit // len(of_tenants))
    asked = [of_one[:share] for of_one in islice(of_tenants.values(), limit)]
    return [(line, share // len(of_one)) for of_one in asked for line in of_one]


def _lease(connection: Connection, some: Sequence[Select[Any]], wanted: Wanted, now: datetime) -> list[Claim]:
    """Until it is put back it waits for nobody's room: whatever becomes of the worker, it is out of its lane."""
    found = connection.execute(union_all(*(select(each.subquery()) for each in some))).all()
    until = now + wanted.lease
    leased = update(QUEUE).where(_c.email_id.in_([row.email_id for row in found]))
    if found:
        connection.execute(leased.values(lease_owner=wanted.worker, lane=OWN, claimable_at=until))
    return _in_turn([(row.due_at, Claim(row.email_id, until, row.tenant, row.lane)) for row in found])


def _due(priority: int, line: _Line, limit: int, now: datetime) -> Select[Any]:
    where = (_c.priority == priority, _c.lane == line.lane, _c.tenant == line.tenant, _c.claimable_at <= now)
    due = select(*_CLAIMED).where(*where).order_by(_c.claimable_at).limit(limit)
    return due.with_for_update(skip_locked=True)


def _overdue(priority: int, limit: int, now: datetime) -> Select[Any]:
    """What waits in a closed lane, or for its tenant's quota, still expires in time."""
    where = (EXPIRING, _c.expires_at <= now, _c.priority == priority, _c.claimable_at <= now)
    overdue = select(*_CLAIMED).where(*where).order_by(_c.expires_at).limit(limit)
    return overdue.with_for_update(skip_locked=True)


def _in_turn(found: list[tuple[datetime, Claim]]) -> list[Claim]:
    """Tenants by turns, each one's oldest first."""
    places: defaultdict[str, int] = defaultdict(int)
    turns: list[tuple[int, datetime, UUID, Claim]] = []
    for due_at, claim in sorted(found, key=lambda each: (each[0], each[1].email_id)):
        turns.append((places[claim.tenant], due_at, claim.email_id, claim))
        places[claim.tenant] += 1
    return [claim for *_, claim in sorted(turns, key=lambda turn: turn[:3])]


def _longer(lines: Sequence[_Line], shares: Sequence[tuple[_Line, int]], found: Sequence[Claim]) -> list[_Line]:
    """The lines that were not asked, or may have more to give than their share was."""
    counts = Counter((claim.lane, claim.tenant) for claim in found)
    asked = {(line.lane, line.tenant) for line, _ in shares}
    waiting = [line for line in lines if (line.lane, line.tenant) not in asked]
    full = [(line, share) for line, share in shares if counts[line.lane, line.tenant] >= share and line.room > share]
    return [*waiting, *(_Line(line.lane, line.tenant, line.room - share) for line, share in full)]


def _mine(worker: str) -> CTE:
    """Rows of this worker among `ids`, locked in the order in which a fold locks them."""
    mine = select(_c.email_id).where(_c.email_id.in_(bindparam("ids", expanding=True)), _c.lease_owner == worker)
    return mine.order_by(_c.email_id).with_for_update().cte("mine")


def _extend(connection: Connection, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
    mine = _mine(worker)
    change = update(QUEUE).where(_c.email_id.in_(select(mine.c.email_id))).values(claimable_at=until)
    return list(connection.scalars(change.returning(_c.email_id), {"ids": list(email_ids)}))


def _put_back(
    connection: Connection, worker: str, email_ids: Sequence[UUID], lane: str, until: datetime | None
) -> None:
    mine = _mine(worker)
    claimable = _c.due_at if until is None else until
    change = update(QUEUE).where(_c.email_id.in_(select(mine.c.email_id)))
    connection.execute(change.values(lease_owner=None, lane=lane, claimable_at=claimable), {"ids": list(email_ids)})


def _next_due(connection: Connection, now: datetime, priorities: Sequence[Priority]) -> datetime | None:
    firsts = [
        connection.scalar(
            select(func.min(_c.claimable_at)).where(_c.priority == PRIORITIES[priority], _c.claimable_at > now)
        )
        for priority in priorities
    ]
    return min((first for first in firsts if first is not None), default=None)
