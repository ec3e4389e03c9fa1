"""The inbox as a table: every verified delivery of a provider, as it came. Old entries may be deleted."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from application.errors import Untrusted
from application.inbox import Entry, InboxFilter, Settled
from application.ports import Hook
from domain.ids import uuid7
from infrastructure.database.engines import Database
from infrastructure.database.notifications import INBOX, Wakeups
from infrastructure.ledger.batcher import Batcher
from projections.columns import Id, Instant

# Headers that a translation may need. Others may hold secrets, such as Postmark's credentials, and are not kept.
_KEPT = ("content-type", "user-agent", "x-amz-sns-", "svix-", "webhook-", "x-twilio-", "x-postledger-")
_MOST = 200  # deliveries in one commit
_MANY = 1000  # deliveries deleted in one commit
_CREATING = 0x706C_696E  # "plin": who creates the table

INBOX_TABLE = Table(
    "inbox",
    MetaData(),
    Column("id", Id, primary_key=True),  # ordered by time
    Column("provider", String, nullable=False),
    Column("key", Text, nullable=False),  # the provider's own identity of the delivery
    Column("digest", String, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # new, done, unmatched, failed
    Column("kinds", Text, nullable=False),  # `,bounced,delivered,`
    Column("statements", Integer, nullable=False),
    Column("unmatched", Integer, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("next_try_at", Instant),  # NULL: nothing is left to do
    Column("lease_until", Instant),
    UniqueConstraint("provider", "key"),
    Index("inbox_by_next_try", "next_try_at"),
    Index("inbox_by_time", "received_at"),
)
_c = INBOX_TABLE.c


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry with what became of it, for operators."""

    entry: Entry
    state: str
    kinds: tuple[str, ...]
    statements: int
    unmatched: int
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Wish:
    provider: str
    key: str
    digest: str
    hook: Hook


class SqlInbox:
    """Implements the port Inbox. Deliveries that come in together are committed together."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups
        self._keeping: Batcher[_Wish, bool] = Batcher(self._keep, "inbox-writer", _MOST)

    async def prepare(self) -> None:
        """Create the table where it is missing."""
        await self._database.tell(_create)

    async def keep(self, provider: str, key: str, hook: Hook) -> bool:
        digest = hashlib.sha256(hook.body).hexdigest()
        return await self._keeping.submit(_Wish(provider, key, digest, hook))

    async def claim(self, limit: int, lease: timedelta, now: datetime) -> list[Entry]:
        return await self._database.tell(_claim, limit, now + lease, now)

    async def settle(self, settled: Sequence[Settled]) -> None:
        await self._database.tell(_settle, settled)

    async def wait(self, timeout: float) -> None:
        await self._wakeups.inbox.wait(timeout)

    async def page(self, wanted: InboxFilter, after: UUID | None, limit: int, *, newest: bool = False) -> list[Kept]:
        """The next entries that fit, the oldest first, or the newest."""
        return await self._database.ask(_page, wanted, after, limit, newest)

    async def get(self, id: UUID) -> Kept | None:
        return await self._database.ask(_get, id)

    async def forget(self, before: datetime) -> int:
        """Delete what was received before then and has nothing left to do. How many that were."""
        forgotten = 0
        while some := await self._database.tell(_forget, before):
            forgotten += some
        return forgotten

    async def close(self) -> None:
        await self._keeping.close()

    def _keep(self, wishes: Sequence[_Wish]) -> Sequence[bool | Exception]:
        with self._database.write() as connection:
            outcomes = list(_keep(connection, wishes))
            if self._database.kind == "postgresql":
                connection.execute(text(f"NOTIFY {INBOX}"))
        self._wakeups.inbox.notify()
        return outcomes


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATING})"))
    INBOX_TABLE.metadata.create_all(connection)


def _keep(connection: Connection, wishes: Sequence[_Wish]) -> Iterator[bool | Exception]:
    """Insert those that are new; tell a repetition from another body that comes under a used key."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [_row(wish) for wish in wishes]
    fresh = insert(INBOX_TABLE).values(rows).on_conflict_do_nothing(index_elements=["provider", "key"])
    new = {row.id for row in connection.execute(fresh.returning(_c.id))}
    stored = _digests(connection, [w for w, row in zip(wishes, rows, strict=True) if row["id"] not in new])
    for wish, row in zip(wishes, rows, strict=True):
        if row["id"] in new:
            yield True
        elif stored[wish.provider, wish.key] == wish.digest:
            yield False
        else:
            yield Untrusted("replayed")


def _row(wish: _Wish) -> dict[str, Any]:
    headers = {name: value for name, value in wish.hook.headers.items() if name.startswith(_KEPT)}
    return {
        "id": uuid7(wish.hook.received_at),
        "provider": wish.provider,
        "key": wish.key,
        "digest": wish.digest,
        "received_at": wish.hook.received_at,
        "headers": json.dumps(headers),
        "body": wish.hook.body,
        "state": "new",
        "kinds": "",
        "statements": 0,
        "unmatched": 0,
        "tries": 0,
        "next_try_at": wish.hook.received_at,
    }


def _digests(connection: Connection, wishes: Sequence[_Wish]) -> Mapping[tuple[str, str], str]:
    if not wishes:
        return {}
    query = select(_c.provider, _c.key, _c.digest).where(_c.key.in_({wish.key for wish in wishes}))
    return {(row.provider, row.key): row.digest for row in connection.execute(query)}


def _claim(connection: Connection, limit: int, until: datetime, now: datetime) -> list[Entry]:
    free = or_(_c.lease_until.is_(None), _c.lease_until <= now)
    due = select(_c.id).where(_c.next_try_at <= now, free).order_by(_c.next_try_at).limit(limit)
    mine = due.with_for_update(skip_locked=True).cte("due")
    taken = update(INBOX_TABLE).where(_c.id.in_(select(mine.c.id))).values(lease_until=until)
    found = connection.execute(taken.returning(*_ENTRY)).all()
    return sorted((_entry(row) for row in found), key=lambda entry: entry.id)


_ENTRY = (_c.id, _c.provider, _c.headers, _c.body, _c.received_at, _c.tries)


def _entry(row: Row[Any]) -> Entry:
    hook = Hook(headers=json.loads(row.headers), body=row.body, received_at=row.received_at)
    return Entry(row.id, row.provider, hook, row.tries)


def _settle(connection: Connection, settled: Sequence[Settled]) -> None:
    if settled:
        connection.execute(_SETTLE, [_values(each) for each in settled])


_SETTLE = (
    update(INBOX_TABLE)
    .where(_c.id == bindparam("entry"))
    .values(
        state=bindparam("new_state"),
        kinds=bindparam("new_kinds"),
        statements=bindparam("new_statements"),
        unmatched=bindparam("new_unmatched"),
        next_try_at=bindparam("again"),
        tries=_c.tries + 1,
        lease_until=None,
    )
)


def _values(settled: Settled) -> dict[str, Any]:
    return {
        "entry": settled.id,
        "new_state": settled.state,
        "new_kinds": f",{','.join(settled.kinds)}," if settled.kinds else "",
        "new_statements": settled.statements,
        "new_unmatched": settled.unmatched,
        "again": settled.next_try_at,
    }


def _forget(connection: Connection, before: datetime) -> int:
    old = select(_c.id).where(_c.received_at < before, _c.next_try_at.is_(None)).limit(_MANY)
    return connection.execute(delete(INBOX_TABLE).where(_c.id.in_(old))).rowcount


def _page(connection: Connection, wanted: InboxFilter, after: UUID | None, limit: int, newest: bool) -> list[Kept]:
    query = _matching(select(INBOX_TABLE), wanted)
    if after is not None:
        query = query.where(_c.id < after if newest else _c.id > after)
    query = query.order_by(_c.id.desc() if newest else _c.id).limit(limit)
    return [_kept(row) for row in connection.execute(query)]


def _matching(query: Select[Any], wanted: InboxFilter) -> Select[Any]:
    for name, condition in _CONDITIONS.items():
        if (value := getattr(wanted, name)) is not None:
            query = query.where(condition(value))
    return query


_CONDITIONS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "provider": lambda name: _c.provider == name,
    "state": lambda state: _c.state == state,
    "kind": lambda kind: _c.kinds.contains(f",{kind},", autoescape=True),
    "since": lambda moment: _c.received_at >= moment,
    "until": lambda moment: _c.received_at < moment,
}


def _get(connection: Connection, id: UUID) -> Kept | None:
    row = connection.execute(select(INBOX_TABLE).where(_c.id == id)).one_or_none()
    return _kept(row) if row else None


def _kept(row: Row[Any]) -> Kept:
    kinds = tuple(row.kinds.strip(",").split(",")) if row.kinds else ()
    return Kept(_entry(row), row.state, kinds, row.statements, row.unmatched, row.next_try_at)
