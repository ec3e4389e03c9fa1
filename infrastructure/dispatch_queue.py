"""The dispatch queue that all workers share, on the table of the read model of the same name."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Connection, bindparam, func, or_, select, update

from application.ports import Claim
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from projections.dispatch_queue import PRIORITIES, QUEUE

_c = QUEUE.c


class SqlDispatchQueue:
    """Implements the port DispatchQueue with leases. A row in other hands is skipped, never waited for."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def claim(self, worker: str, limit: int, lease: timedelta, now: datetime) -> list[Claim]:
        return await self._database.tell(_claim, worker, limit, now + lease, now)

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        return await self._database.tell(_set_lease, worker, email_ids, worker, until)

    async def release(self, worker: str, email_ids: Sequence[UUID]) -> None:
        await self._database.tell(_set_lease, worker, email_ids, None, None)
        self._wakeups.projections.notify()

    async def next_due(self, now: datetime) -> datetime | None:
        return await self._database.ask(_next_due, now)

    async def wait(self, timeout: float) -> None:
        await self._wakeups.projections.wait(timeout)


def _claim(connection: Connection, worker: str, limit: int, until: datetime, now: datetime) -> list[Claim]:
    """One statement per priority, so that each is a short walk along the index however much is scheduled for later."""
    claims: list[Claim] = []
    for priority in PRIORITIES.values():
        if left := limit - len(claims):
            due = _due(priority, now, left)
            taken = update(QUEUE).where(_c.email_id.in_(select(due.c.email_id)))
            leased = taken.values(lease_owner=worker, lease_until=until).returning(_c.email_id, _c.due_at)
            found = connection.execute(leased).all()
            claims += [Claim(email_id, until) for email_id, _ in sorted(found, key=lambda row: (row[1], row[0]))]
    return claims


def _due(priority: int, now: datetime, limit: int) -> CTE:
    due = select(_c.email_id).where(_c.priority == priority, _c.due_at <= now, _free(now))
    return due.order_by(_c.due_at).limit(limit).with_for_update(skip_locked=True).cte("due")


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(_c.lease_until.is_(None), _c.lease_until <= now)


def _set_lease(
    connection: Connection, worker: str, email_ids: Sequence[UUID], owner: str | None, until: datetime | None
) -> list[UUID]:
    """Change the leases that are this worker's, and return whose. Rows are locked in the order a fold locks them in."""
    mine = select(_c.email_id).where(_c.email_id.in_(bindparam("ids", expanding=True)), _c.lease_owner == worker)
    locked = mine.order_by(_c.email_id).with_for_update().cte("locked")
    change = (
        update(QUEUE).where(_c.email_id.in_(select(locked.c.email_id))).values(lease_owner=owner, lease_until=until)
    )
    return list(connection.scalars(change.returning(_c.email_id), {"ids": list(email_ids)}))


def _next_due(connection: Connection, now: datetime) -> datetime | None:
    firsts = [
        connection.scalar(select(func.min(_c.due_at)).where(_c.priority == priority, _free(now)))
        for priority in PRIORITIES.values()
    ]
    return min((first for first in firsts if first is not None), default=None)
