"""The event store on PostgreSQL: the library's recorder, its insert replaced by binary COPY under the same lock."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    InternalError,
    Notification,
    OperationalError,
    PersistenceError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from application.errors import StoreUnavailable
from application.ports import WHOLE, Part
from infrastructure.ledger.store import Append, Key, Outcome, insert, judge, keys, positions

EVENTS_CHANNEL = "postledger_events"
_SCHEMA_LOCK = 0x706C5F6C65646772  # "pl_ledgr"; any constant will do, as long as all processes share it
_CONNECT_TIMEOUT = 3.0
_TRIES = 3
_UNKNOWN = (
    "The event store went away while committing, so it is not known whether this was accepted. "
    "Send it again with the same Idempotency-Key."
)
# Everything else that the database may answer is a mistake of ours, and no reason to try again. What the library calls
# internal are mostly timeouts, and a server that became read-only.
_OUTAGES = (OperationalError, InterfaceError, InternalError)
_T = TypeVar("_T")

_CONTENT_TABLES = (
    "CREATE TABLE IF NOT EXISTS email_content (email_id uuid PRIMARY KEY, body bytea NOT NULL)",
    "CREATE TABLE IF NOT EXISTS email_blobs (sha256 text, email_id uuid, PRIMARY KEY (sha256, email_id))",
)
_COPIES: Mapping[str, tuple[str, list[str]]] = {
    "events": (
        "COPY events (originator_id, originator_version, topic, state, notification_id) FROM STDIN (FORMAT BINARY)",
        ["uuid", "int8", "text", "bytea", "int8"],
    ),
    "email_content": ("COPY email_content (email_id, body) FROM STDIN (FORMAT BINARY)", ["uuid", "bytea"]),
    "email_blobs": ("COPY email_blobs (sha256, email_id) FROM STDIN (FORMAT BINARY)", ["text", "uuid"]),
}


class LedgerRecorder(PostgresApplicationRecorder):
    """The library's recorder with group commit. Reading, and the library's own tools, work on the same table."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        if datastore.enable_db_functions:
            raise ValueError("enable_db_functions drops the table lock, and readers would lose events for ever.")
        super().__init__(datastore, events_table_name="events")

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The library's entry: one append, with its exceptions and its answer (notification ids)."""
        return insert(self.commit, stored_events)

    def commit(self, appends: Sequence[Append], *, careful: bool = False) -> list[Outcome]:
        """One transaction. Optimistic first; on a conflict again, looking before writing."""
        try:
            with self.datastore.get_connection() as connection:
                return self._commit(connection, appends, careful=careful)
        except IntegrityError:
            if careful:
                raise
            return self.commit(appends, careful=True)

    def _commit(
        self, connection: psycopg.Connection[Any], appends: Sequence[Append], *, careful: bool
    ) -> list[Outcome]:
        with connection.cursor(row_factory=tuple_row) as cursor, _transaction(cursor):
            outcomes: list[Outcome | None] = [None] * len(appends)
            fresh = list(appends)
            if careful:
                outcomes, fresh = judge(appends, self._stored(cursor, keys(appends)))
            first = self._write(cursor, fresh) if fresh else 0
        return positions(outcomes, fresh, first)

    def _write(self, cursor: psycopg.Cursor[Any], appends: Sequence[Append]) -> int:
        """Write everything, numbered without a gap; returns the first position. Needs the table lock."""
        events = [event for append in appends for event in append.events]
        contents = [content for append in appends for content in append.contents]
        first = self._reserve(cursor, len(events))
        rows = [
            (e.originator_id, e.originator_version, e.topic, e.state, position)
            for position, e in enumerate(events, first)
        ]
        _copy(cursor, "events", rows)
        _copy(cursor, "email_content", [(c.email_id, c.body) for c in contents])
        _copy(cursor, "email_blobs", [(sha256, c.email_id) for c in contents for sha256 in c.blobs])
        return first

    def _reserve(self, cursor: psycopg.Cursor[Any], count: int) -> int:
        cursor.execute(
            "SELECT setval('events_notification_id_seq', nextval('events_notification_id_seq') + %s)", (count - 1,)
        )
        return int(cursor.fetchone()[0]) - count + 1  # type: ignore[index]  # setval always answers

    def _stored(self, cursor: psycopg.Cursor[Any], wanted: Sequence[Key]) -> dict[Key, Notification]:
        cursor.execute(
            "SELECT originator_id, originator_version, topic, state, notification_id FROM events"
            " JOIN unnest(%s::uuid[], %s::bigint[]) AS wanted (id, version)"
            " ON originator_id = wanted.id AND originator_version = wanted.version",
            ([id for id, _ in wanted], [version for _, version in wanted]),
        )
        return {(row[0], row[1]): _notification(row) for row in cursor}

    def streams(self, ids: Sequence[UUID]) -> list[Notification]:
        return [
            _notification(row)
            for row in self._query(
                "SELECT originator_id, originator_version, topic, state, notification_id FROM events"
                " WHERE originator_id = ANY(%s) ORDER BY originator_id, originator_version",
                list(ids),
            )
        ]

    def page(self, after: int, limit: int, topics: Sequence[str], part: Part = WHOLE) -> list[Notification]:
        wanted = "AND topic = ANY(%s)" if topics else "AND %s::text[] IS NOT NULL"
        if part.of > 1:
            wanted += f" AND (get_byte(uuid_send(originator_id), 15) & 15) %% {part.of:d} = {part.number:d}"
        return [
            _notification(row)
            for row in self._query(
                "SELECT originator_id, originator_version, topic, state, notification_id FROM events"
                f" WHERE notification_id > %s {wanted} ORDER BY notification_id LIMIT %s",
                after,
                list(topics),
                limit,
            )
        ]

    def last_position(self) -> int:
        """Not the library's `max_notification_id`, which tries ten times before it admits that the database is away."""
        return int(self._query("SELECT coalesce(max(notification_id), 0) FROM events")[0][0])

    def contents(self, email_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        return dict(self._query("SELECT email_id, body FROM email_content WHERE email_id = ANY(%s)", list(email_ids)))

    def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        rows = self._query("SELECT DISTINCT sha256 FROM email_blobs WHERE sha256 = ANY(%s)", list(sha256s))
        return {row[0] for row in rows}

    def create_table(self) -> None:
        """Create everything, one process at a time: the library's own DDL fails when two processes run it at once."""
        with self.datastore.get_connection() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_SCHEMA_LOCK,))
            try:
                if not self._is_there(connection):
                    super().create_table()
                    for statement in _CONTENT_TABLES:
                        connection.execute(statement)
            finally:
                connection.execute("SELECT pg_advisory_unlock(%s)", (_SCHEMA_LOCK,))

    @staticmethod
    def _is_there(connection: psycopg.Connection[Any]) -> bool:
        row = connection.execute("SELECT to_regclass('email_blobs') IS NOT NULL AS there").fetchone()
        return bool(row and row["there"])

    def _query(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with self.datastore.get_connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            # Binary results: a bytea in text form is twice as long and has to be decoded.
            return cursor.execute(statement, params, prepare=True, binary=True).fetchall()


class PostgresEventStore:
    """The recorder behind the ledger's port: connects when first needed, and turns failures into StoreUnavailable."""

    def __init__(self, url: str) -> None:
        self._datastore = _datastore(url)
        self._recorder: LedgerRecorder | None = None
        self._preparing = threading.Lock()

    def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        """A connection lost in COMMIT leaves the outcome open: ask again, looking at what is stored."""
        in_doubt = False
        for _ in range(_TRIES):
            try:
                return self._ready().commit(appends, careful=in_doubt)
            except _OUTAGES as error:
                if _nobody_there(error):
                    break
                in_doubt = True
                self._refresh()
        raise StoreUnavailable(_UNKNOWN if in_doubt else None)

    def streams(self, ids: Sequence[UUID]) -> list[Notification]:
        return self._ask(lambda recorder: recorder.streams(ids))

    def page(self, after: int, limit: int, topics: Sequence[str], part: Part = WHOLE) -> list[Notification]:
        return self._ask(lambda recorder: recorder.page(after, limit, topics, part))

    def last_position(self) -> int:
        return self._ask(lambda recorder: recorder.last_position())

    def contents(self, email_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        return self._ask(lambda recorder: recorder.contents(email_ids))

    def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        return self._ask(lambda recorder: recorder.blobs_in_use(sha256s))

    def close(self) -> None:
        self._datastore.close()

    def _ask(self, question: Callable[[LedgerRecorder], _T]) -> _T:
        for _ in range(_TRIES):
            try:
                return question(self._ready())
            except _OUTAGES as error:
                if _nobody_there(error):
                    break
                self._refresh()
        raise StoreUnavailable

    def _ready(self) -> LedgerRecorder:
        with self._preparing:
            if self._recorder is None:
                try:
                    recorder = LedgerRecorder(self._datastore)
                    recorder.create_table()
                except _OUTAGES:
                    raise StoreUnavailable from None
                self._recorder = recorder
            return self._recorder

    def _refresh(self) -> None:
        """After a lost connection the pool's others are dead as well (the server restarted): replace them now."""
        with suppress(psycopg.Error):  # whoever tries again learns it soon enough
            self._datastore.pool.check()


def _nobody_there(error: PersistenceError) -> bool:
    """Whether the pool has waited for a connection in vain: it was long enough, and nothing was asked for yet."""
    return isinstance(error.__cause__, PoolTimeout)


def _datastore(url: str) -> PostgresDatastore:
    info = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(info.pop("dbname", "postgres")),
        host=str(info.pop("host", "localhost")),
        port=str(info.pop("port", 5432)),
        user=str(info.pop("user", "postgres")),
        password=str(info.pop("password", "")),
        connect_timeout=_CONNECT_TIMEOUT,
        idle_in_transaction_session_timeout=30,
        pool_size=1,
        max_overflow=7,
    )
    # What else stands in the URL (sslmode, options …) has no parameter in the library's constructor.
    extra = {**info, "connect_timeout": int(_CONNECT_TIMEOUT)}
    datastore.pool.kwargs = {**_kwargs(datastore), **extra}
    return datastore


def _kwargs(datastore: PostgresDatastore) -> dict[str, Any]:
    kwargs = datastore.pool.kwargs
    return kwargs if isinstance(kwargs, dict) else {}


@contextmanager
def _transaction(cursor: psycopg.Cursor[Any]) -> Iterator[None]:
    """BEGIN with the table lock in one round trip, COMMIT with the NOTIFY in another.

    The lock lets one writer at a time number its events and commit, so that positions appear in order and a reader of
    `notification_id > last` can miss nothing. It does not block readers.
    """
    cursor.execute("BEGIN; SET LOCAL lock_timeout = '10s'; LOCK TABLE events IN EXCLUSIVE MODE")
    try:
        yield
    except BaseException:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK")
        raise
    cursor.execute(f"NOTIFY {EVENTS_CHANNEL}; COMMIT")


def _copy(cursor: psycopg.Cursor[Any], table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    statement, types = _COPIES[table]
    with cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _notification(row: tuple[Any, ...]) -> Notification:
    return Notification(originator_id=row[0], originator_version=row[1], topic=row[2], state=row[3], id=row[4])
