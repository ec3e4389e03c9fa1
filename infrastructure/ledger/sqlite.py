"""The event store on SQLite: one file, one process, WAL, every commit synced to disk."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.persistence import Notification, PersistenceError, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from application.errors import StoreUnavailable
from application.ports import WHOLE, Part
from infrastructure.ledger.store import Append, Key, Outcome, insert, judge, keys, positions

_LOCK_TIMEOUT = 30  # seconds to wait for another writer of the same file
_COLUMNS = "originator_id, originator_version, topic, state, rowid"
# Everything else means busy, full, unreadable or gone.
_MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError)
_T = TypeVar("_T")
_CONTENT_TABLES = (
    "CREATE TABLE IF NOT EXISTS email_content (email_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS email_blobs (sha256 TEXT, email_id TEXT, PRIMARY KEY (sha256, email_id)) WITHOUT ROWID",
)


class LedgerRecorder(SQLiteApplicationRecorder):
    """The library's recorder with group commit; positions are the table's rowids."""

    def __init__(self, datastore: SQLiteDatastore, turn: AbstractContextManager[Any]) -> None:
        super().__init__(datastore, events_table_name="events")
        self._turn = turn

    def construct_create_table_statements(self) -> list[str]:
        return [*super().construct_create_table_statements(), *_CONTENT_TABLES]

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The library's entry: one append, with its exceptions and its answer (notification ids)."""
        return insert(self.commit, stored_events)

    def commit(self, appends: Sequence[Append], *, careful: bool = False) -> list[Outcome]:
        """One transaction. Optimistic first; on a conflict again, looking before writing."""
        try:
            with self._transaction() as cursor:
                outcomes: list[Outcome | None] = [None] * len(appends)
                fresh = list(appends)
                if careful:
                    outcomes, fresh = judge(appends, self._stored(cursor, keys(appends)))
                first = self._write(cursor, fresh)
            return positions(outcomes, fresh, first)
        except sqlite3.IntegrityError:
            if careful:
                raise
            return self.commit(appends, careful=True)

    def _write(self, cursor: sqlite3.Cursor, appends: Sequence[Append]) -> int:
        first = int(cursor.execute("SELECT coalesce(max(rowid), 0) + 1 FROM events").fetchone()[0])
        events = [event for append in appends for event in append.events]
        contents = [content for append in appends for content in append.contents]
        cursor.executemany(
            f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
            [
                (_hex(e.originator_id), e.originator_version, e.topic, e.state, position)
                for position, e in enumerate(events, first)
            ],
        )
        cursor.executemany("INSERT INTO email_content VALUES (?, ?)", [(_hex(c.email_id), c.body) for c in contents])
        cursor.executemany(
            "INSERT INTO email_blobs VALUES (?, ?)",
            [(sha256, _hex(c.email_id)) for c in contents for sha256 in c.blobs],
        )
        return first

    def _stored(self, cursor: sqlite3.Cursor, wanted: Sequence[Key]) -> dict[Key, Notification]:
        streams = json.dumps([id.hex for id, _ in wanted])
        found = cursor.execute(
            f"SELECT {_COLUMNS} FROM events WHERE originator_id IN (SELECT value FROM json_each(?))", (streams,)
        )
        stored = {(n.originator_id, n.originator_version): n for n in map(_notification, found.fetchall())}
        return {key: stored[key] for key in wanted if key in stored}

    def streams(self, ids: Sequence[UUID]) -> list[Notification]:
        rows = self._query(
            f"SELECT {_COLUMNS} FROM events WHERE originator_id IN (SELECT value FROM json_each(?))"
            " ORDER BY originator_id, originator_version",
            json.dumps([id.hex for id in ids]),
        )
        return [_notification(row) for row in rows]

    def page(self, after: int, limit: int, topics: Sequence[str], part: Part = WHOLE) -> list[Notification]:
        wanted = "topic IN (SELECT value FROM json_each(?))" if topics else "? IS NOT NULL"
        if part.of > 1:
            digit = "(instr('0123456789abcdef', substr(originator_id, -1)) - 1)"
            wanted += f" AND {digit} % {part.of:d} = {part.number:d}"
        rows = self._query(
            f"SELECT {_COLUMNS} FROM events WHERE rowid > ? AND {wanted} ORDER BY rowid LIMIT ?",
            after,
            json.dumps(list(topics)),
            limit,
        )
        return [_notification(row) for row in rows]

    def contents(self, email_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        rows = self._query(
            "SELECT email_id, body FROM email_content WHERE email_id IN (SELECT value FROM json_each(?))",
            json.dumps([id.hex for id in email_ids]),
        )
        return {UUID(row[0]): row[1] for row in rows}

    def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        rows = self._query(
            "SELECT DISTINCT sha256 FROM email_blobs WHERE sha256 IN (SELECT value FROM json_each(?))",
            json.dumps(list(sha256s)),
        )
        return {row[0] for row in rows}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """The write lock is taken at once: a transaction that reads first could find itself unable to write."""
        with self._turn, self.datastore.get_connection(commit=True) as connection, connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if cursor.connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    def _query(self, statement: str, *params: object) -> list[Any]:
        with self.datastore.get_connection(commit=False) as connection, connection.cursor() as cursor:
            return cursor.execute(statement, params).fetchall()


class SqliteEventStore:
    """The recorder behind the ledger's port: opens the file when first needed; failures become StoreUnavailable."""

    def __init__(self, path: Path, turn: AbstractContextManager[Any] | None = None) -> None:
        """`turn` is what all writers of this file in this process queue up for."""
        self._path = path
        self._turn = turn or threading.Lock()
        self._recorder: LedgerRecorder | None = None
        self._preparing = threading.Lock()

    def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        return self._ask(lambda recorder: recorder.commit(appends))

    def streams(self, ids: Sequence[UUID]) -> list[Notification]:
        return self._ask(lambda recorder: recorder.streams(ids))

    def page(self, after: int, limit: int, topics: Sequence[str], part: Part = WHOLE) -> list[Notification]:
        return self._ask(lambda recorder: recorder.page(after, limit, topics, part))

    def last_position(self) -> int:
        return self._ask(lambda recorder: recorder.max_notification_id() or 0)

    def contents(self, email_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        return self._ask(lambda recorder: recorder.contents(email_ids))

    def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        return self._ask(lambda recorder: recorder.blobs_in_use(sha256s))

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.datastore.close()

    def _ask(self, question: Callable[[LedgerRecorder], _T]) -> _T:
        try:
            return question(self._ready())
        except _MISTAKES:
            raise
        except (sqlite3.Error, PersistenceError, OSError):
            raise StoreUnavailable from None

    def _ready(self) -> LedgerRecorder:
        with self._preparing:
            if self._recorder is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                recorder = LedgerRecorder(SQLiteDatastore(str(self._path), lock_timeout=_LOCK_TIMEOUT), self._turn)
                recorder.create_table()
                self._recorder = recorder
            return self._recorder


def _hex(id: UUID | str) -> str:
    return id.hex if isinstance(id, UUID) else id


def _notification(row: Any) -> Notification:
    return Notification(originator_id=UUID(row[0]), originator_version=row[1], topic=row[2], state=row[3], id=row[4])
