"""How the service is doing, from the read models: a few index look-ups, none of which counts further than MOST."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from application.ports import Clock
from application.vitals import MOST, ReadModel, Signs
from infrastructure.audit import blocks
from infrastructure.database.engines import Database
from infrastructure.database.follower_positions import FOLLOWERS
from infrastructure.database.positions import ProjectionPosition
from projections.dead_letters import LETTERS
from projections.dispatch_queue import PRIORITIES, QUEUE
from projections.unconfirmed import UNCONFIRMED

_FRESH = 10.0  # seconds for which one look is good enough for everybody
_NONE = timedelta(0)
_q = QUEUE.c


class SqlVitals:
    """Implements the port Vitals. Any number may ask at once; the database is asked every ten seconds at most."""

    def __init__(
        self,
        database: Database,
        positions: Callable[[], Awaitable[Sequence[ProjectionPosition]]],
        window: timedelta,
        clock: Clock,
        *,
        fresh: float = _FRESH,
    ) -> None:
        """`window` is how far back a dead letter counts as one of lately; `fresh` is in seconds."""
        self._database = database
        self._positions = positions
        self._window = window
        self._clock = clock
        self._fresh = fresh
        self._turn = asyncio.Lock()
        self._known: Signs | None = None
        self._read_at = 0.0

    async def read(self) -> Signs:
        async with self._turn:
            if self._known is None or time.monotonic() >= self._read_at + self._fresh:
                self._known = await self._look()
                self._read_at = time.monotonic()
            return self._known

    async def _look(self) -> Signs:
        now = self._clock()
        return await self._database.ask(_signs, await self._positions(), now, now - self._window)


def _signs(connection: Connection, places: Sequence[ProjectionPosition], now: datetime, since: datetime) -> Signs:
    models = [ReadModel(p.name, p.lag, p.error is not None, p.parked, p.lag_seconds) for p in places]
    head = max((p.position + p.lag for p in places), default=0)
    due = {priority.value: _due(connection, number, now) for priority, number in PRIORITIES.items()}
    oldest = [row.oldest for row in due.values() if row.oldest is not None]
    doubts = _doubts(connection)
    return Signs(
        queue={priority: row.emails for priority, row in due.items()},
        queue_oldest=max((now - each for each in oldest), default=_NONE),
        scheduled=min(MOST, sum(_later(connection, number, now) for number in PRIORITIES.values())),
        unconfirmed=doubts.emails,
        unconfirmed_oldest=now - doubts.oldest if doubts.oldest else _NONE,
        parked=doubts.parked,
        dead_letters=_count(connection, select(LETTERS.c.email_id)),
        dead_letters_lately=_count(connection, select(LETTERS.c.email_id).where(LETTERS.c.ended_at >= since)),
        read_models=[*models, *_followers(connection)],
        unchained=max(0, head - blocks.newest(connection).last),
    )


def _due(connection: Connection, priority: int, now: datetime) -> Row[Any]:
    """How many are due and waiting, and since when the first of them, in the order in which workers take them.

    What waits in a lane is taken later than it was due; of a queue longer than MOST an even older one may be further
    back.
    """
    rows = select(_q.state, _q.due_at).where(_q.priority == priority, _q.claimable_at.is_not(None))
    first = rows.order_by(_q.claimable_at).limit(MOST).subquery()
    waiting = select(func.count().label("emails"), func.min(first.c.due_at).label("oldest"))
    return connection.execute(waiting.where(first.c.state == "waiting", first.c.due_at <= now)).one()


def _later(connection: Connection, priority: int, now: datetime) -> int:
    rows = select(_q.state, _q.due_at).where(_q.priority == priority, _q.claimable_at > now)
    first = rows.order_by(_q.claimable_at).limit(MOST).subquery()
    waiting = select(func.count()).select_from(first).where(first.c.state == "waiting", first.c.due_at > now)
    return int(connection.execute(waiting).scalar_one())


def _doubts(connection: Connection) -> Row[Any]:
    """In the order in which they began, so that the oldest is among them."""
    c = UNCONFIRMED.c
    first = select(c.since, c.settle_at).order_by(c.position).limit(MOST).subquery()
    parked = func.count().filter(first.c.settle_at.is_(None))
    return connection.execute(
        select(
            func.count().label("emails"), func.min(first.c.since).label("oldest"), parked.label("parked")
        ).select_from(first)
    ).one()


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(select(func.count()).select_from(query.limit(MOST).subquery())).scalar_one())


def _followers(connection: Connection) -> list[ReadModel]:
    """A follower that finds nothing of its topics stores its position seldom, so how far it is behind tells nothing.

    There is a read model of the same name beside some.
    """
    rows = connection.execute(select(FOLLOWERS.c.name, FOLLOWERS.c.error))
    return [ReadModel(f"follower:{row.name}", 0, row.error is not None) for row in rows]
