"""Limits as tables: what all processes use up together, each key's row locked in one order by whoever asks."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from application.ports import Refusal, Want
from application.rates import Spent
from application.usage import Place, Usage
from infrastructure.database.engines import Database
from infrastructure.ledger.batcher import Batcher
from projections.columns import Id, Instant

_MOST = 500  # wishes in one commit
_BELIEVED = timedelta(seconds=1)  # how old what is known of pauses may be
_FORGET_EVERY = timedelta(minutes=10)
_CREATING = 0x706C_6C69  # "plli": who creates the tables
_SLOTS = timedelta(0)  # the period of a row that is there to be locked only

_META = MetaData()
_USED = Table(
    "limit_usage",
    _META,
    Column("key", String, primary_key=True),
    Column("period", BigInteger, primary_key=True),  # microseconds
    Column("last", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("idle_at", Instant, nullable=False),  # from then on the row may be deleted
    Index("limit_usage_by_time", "idle_at"),
)
_HELD = Table(
    "limit_slots",
    _META,
    Column("key", String, primary_key=True),
    Column("holder", Id, primary_key=True),
    Column("until", Instant, nullable=False),
    Index("limit_slots_by_holder", "holder"),
    Index("limit_slots_by_time", "until"),
)
_PAUSED = Table(
    "limit_pauses",
    _META,
    Column("key", String, primary_key=True),
    Column("until", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True)
class _Take:
    holder: UUID
    wants: Sequence[Want]
    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class _GiveBack:
    holder: UUID


_Wish = _Take | _GiveBack


class SqlLimits:
    """Implements the port Limits. What is wished for together is settled in one commit, whoever comes first first.

    Where nothing is limited, all it costs is a look at the pauses once a second.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wishes: Batcher[_Wish, Refusal | None] = Batcher(self._settle, "limits", _MOST)
        self._holders: set[UUID] = set()  # who may have slots: all others have nothing to give back
        self._pauses: Mapping[str, datetime] = {}
        self._looked_at: datetime | None = None  # at the pauses
        self._looking = asyncio.Lock()
        self._forgot_at: datetime | None = None

    async def prepare(self) -> None:
        """Create the tables where they are missing."""
        await self._database.tell(_create)

    async def take(self, holder: UUID, wants: Sequence[Want], now: datetime, until: datetime) -> Refusal | None:
        if refusal := await self._paused(wants, now):
            return refusal
        limited = [want for want in wants if want.rate or want.slots is not None]
        if not limited:
            return None
        wants_slots = any(want.slots is not None for want in limited)
        if new := wants_slots and holder not in self._holders:
            self._holders.add(holder)
        refused = await self._wishes.submit(_Take(holder, limited, now, until))
        if refused and new:
            self._holders.discard(holder)
        return refused

    async def give_back(self, holder: UUID) -> None:
        if holder in self._holders:
            self._holders.discard(holder)
            await self._wishes.submit(_GiveBack(holder))

    async def keep(self, holders: Sequence[UUID], until: datetime) -> None:
        if mine := [holder for holder in holders if holder in self._holders]:
            await self._database.tell(_keep, mine, until)

    async def pause(self, key: str, until: datetime) -> None:
        await self._database.tell(_pause, key, until)
        self._pauses = {**self._pauses, key: max(until, self._pauses.get(key, until))}

    async def close(self) -> None:
        await self._wishes.close()

    async def _paused(self, wants: Sequence[Want], now: datetime) -> Refusal | None:
        async with self._looking:
            if self._looked_at is None or not self._looked_at <= now < self._looked_at + _BELIEVED:
                self._pauses = await self._database.ask(_pauses, now)
                self._looked_at = now
        found = [Refusal(want.key, self._pauses[want.key]) for want in wants if want.key in self._pauses]
        return max((each for each in found if each.until > now), key=lambda each: each.until, default=None)

    def _settle(self, wishes: Sequence[_Wish]) -> Sequence[Refusal | Exception | None]:
        self._forget([wish.now for wish in wishes if isinstance(wish, _Take)])
        with self._database.write() as connection:
            return _settle(connection, wishes)

    def _forget(self, times: Sequence[datetime]) -> None:
        """Now and then delete what does not count any more."""
        now = max(times, default=None)
        if now and (self._forgot_at is None or now >= self._forgot_at + _FORGET_EVERY):
            with self._database.write() as connection:
                _forget(connection, now)
            self._forgot_at = now


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    _META.create_all(connection)


def _settle(connection: Connection, wishes: Sequence[_Wish]) -> list[Refusal | Exception | None]:
    """Keys are locked first, then slots, each in their order: nobody waits in a circle."""
    if connection.dialect.name == "postgresql":
        # What a crash of the server forgets is over before it is back, or was a fraction of a second's counting.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
    takes = [wish for wish in wishes if isinstance(wish, _Take)]
    usage = Usage(_lock_keys(connection, takes), {})
    givers = [wish.holder for wish in wishes if isinstance(wish, _GiveBack)]
    keys = {want.key for take in takes for want in take.wants if want.slots is not None}
    which = or_(_HELD.c.key.in_(keys), _HELD.c.holder.in_(givers))
    slots = _lock_slots(connection, which) if keys or givers else {}
    for (key, holder), until in slots.items():
        usage.slots.setdefault(key, {})[holder] = until
    counted = dict(usage.spent)
    answers: list[Refusal | Exception | None] = [_answer(usage, wish) for wish in wishes]
    _store_counts(connection, {place: spent for place, spent in usage.spent.items() if spent != counted[place]})
    _store_slots(connection, slots, usage)
    return answers


def _answer(usage: Usage, wish: _Wish) -> Refusal | None:
    if isinstance(wish, _Take):
        return usage.take(wish.holder, wish.wants, wish.now, wish.until)
    usage.give_back(wish.holder)
    return None


def _lock_keys(connection: Connection, takes: Sequence[_Take]) -> dict[Place, Spent]:
    """What was spent of each rate that is wanted. The rows are made where there are none, so as to be locked."""
    now = min((take.now for take in takes), default=None)
    places = sorted({(want.key, period) for take in takes for want in take.wants for period in _periods(want)})
    if not places:
        return {}
    rows = [{"key": k, "period": _number(p), "last": 0, "counts": "[]", "idle_at": now} for k, p in places]
    insert = _insert(connection)(_USED).values(rows)
    locked = insert.on_conflict_do_update(index_elements=["key", "period"], set_={"key": insert.excluded.key})
    found = connection.execute(locked.returning(_USED.c.key, _USED.c.period, _USED.c.last, _USED.c.counts))
    return {(r.key, timedelta(microseconds=r.period)): Spent(r.last, tuple(json.loads(r.counts))) for r in found}


def _periods(want: Want) -> Iterator[timedelta]:
    if want.rate:
        yield want.rate.period
    if want.slots is not None:
        yield _SLOTS


def _lock_slots(connection: Connection, which: ColumnElement[bool]) -> dict[tuple[str, UUID], datetime]:
    query = select(_HELD).where(which).order_by(_HELD.c.key, _HELD.c.holder).with_for_update()
    return {(row.key, row.holder): row.until for row in connection.execute(query)}


def _store_counts(connection: Connection, changed: Mapping[Place, Spent]) -> None:
    if changed:
        connection.execute(_COUNT, [_counted(key, period, spent) for (key, period), spent in changed.items()])


_COUNT = (
    update(_USED)
    .where(_USED.c.key == bindparam("of_key"), _USED.c.period == bindparam("of_period"))
    .values(last=bindparam("new_last"), counts=bindparam("new_counts"), idle_at=bindparam("new_idle_at"))
)


def _counted(key: str, period: timedelta, spent: Spent) -> dict[str, Any]:
    return {
        "of_key": key,
        "of_period": _number(period),
        "new_last": spent.last,
        "new_counts": json.dumps(spent.counts, separators=(",", ":")),
        "new_idle_at": spent.forgotten_at(period),
    }


def _store_slots(connection: Connection, before: Mapping[tuple[str, UUID], datetime], usage: Usage) -> None:
    after = {(key, holder): until for key, holders in usage.slots.items() for holder, until in holders.items()}
    _drop_slots(connection, [place for place in before if place not in after])
    changed = [(key, holder, until) for (key, holder), until in after.items() if before.get((key, holder)) != until]
    if changed:
        rows = [{"key": key, "holder": holder, "until": until} for key, holder, until in sorted(changed)]
        insert = _insert(connection)(_HELD)
        taken = insert.on_conflict_do_update(index_elements=["key", "holder"], set_={"until": insert.excluded.until})
        connection.execute(taken, rows)


_DROP = delete(_HELD).where(and_(_HELD.c.key == bindparam("of_key"), _HELD.c.holder == bindparam("of_holder")))


def _drop_slots(connection: Connection, places: Sequence[tuple[str, UUID]]) -> None:
    if places:
        connection.execute(_DROP, [{"of_key": key, "of_holder": holder} for key, holder in places])


def _keep(connection: Connection, holders: Sequence[UUID], until: datetime) -> None:
    if slots := _lock_slots(connection, _HELD.c.holder.in_(holders)):
        longer = update(_HELD).where(
            _HELD.c.key == bindparam("of_key"), _HELD.c.holder == bindparam("of_holder"), _HELD.c.until < until
        )
        connection.execute(longer.values(until=until), [{"of_key": key, "of_holder": holder} for key, holder in slots])


def _pause(connection: Connection, key: str, until: datetime) -> None:
    insert = _insert(connection)(_PAUSED).values(key=key, until=until)
    longer = insert.excluded.until > _PAUSED.c.until
    connection.execute(
        insert.on_conflict_do_update(index_elements=["key"], set_={"until": insert.excluded.until}, where=longer)
    )


def _pauses(connection: Connection, now: datetime) -> dict[str, datetime]:
    query = select(_PAUSED.c.key, _PAUSED.c.until).where(_PAUSED.c.until > now)
    return {row.key: row.until for row in connection.execute(query)}


def _forget(connection: Connection, now: datetime) -> None:
    """Rows in other hands are left for another time."""
    for table, over in (
        (_USED, _USED.c.idle_at <= now),
        (_HELD, _HELD.c.until <= now),
        (_PAUSED, _PAUSED.c.until <= now),
    ):
        columns = tuple(table.primary_key)
        found = connection.execute(select(*columns).where(over).with_for_update(skip_locked=True)).all()
        if found:
            one = and_(*(column == bindparam(f"of_{column.name}") for column in columns))
            old = [{f"of_{name}": value for name, value in row._mapping.items()} for row in found]
            connection.execute(delete(table).where(one), old)


def _insert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _number(period: timedelta) -> int:
    return period // timedelta(microseconds=1)
