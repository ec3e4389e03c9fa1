"""A log with a chain over it, and everything that somebody with the database's password can do to both."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, text

from infrastructure.audit import blocks, checkpoints
from infrastructure.audit.blocks import AUDIT_BLOCKS
from infrastructure.audit.checkpoints import AUDIT_CHECKPOINTS
from infrastructure.audit.index import hints
from infrastructure.audit.keeper import ChainKeeper
from infrastructure.audit.signing import Signer, Witness
from infrastructure.audit.verification import Verdict, Verification
from infrastructure.database.engines import Database
from projections import audit
from tests.ledger.conftest import open_ledger
from tests.samples import LEASE, NOW, queued, stamp, taken

T = TypeVar("T")


class Row(NamedTuple):
    """An event as it is stored."""

    position: int
    stream: str  # 32 hex digits
    version: int
    topic: str
    state: bytes


class Book:
    """Some emails' events with gaps between their positions, in blocks, with a checkpoint in the middle."""

    def __init__(self, url: str, signer: Signer | None = None) -> None:
        self.now = NOW
        self.signer = signer
        self._runner = asyncio.Runner()
        self.database = Database.open(url)
        self.ledger = self.run(_opened(url))
        self.keeper = ChainKeeper(self.ledger, self.database, self.clock, signer, timedelta(hours=1))
        self.run(self.keeper.prepare())
        self._saved: list[Sequence[Any]] = []

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def tell(self, change: Callable[..., T], *args: Any) -> T:
        with self.database.write() as connection:
            return change(connection, *args)

    def close(self) -> None:
        self.run(self.ledger.close())
        self.database.close()
        self._runner.close()

    # -- a log

    def fill(self, emails: int) -> None:
        """Each has three events; those of two emails are woven into one another."""
        lives = [queued(now=self.clock(), id=UUID(int=number, version=4)) for number in range(1, emails + 1)]
        for email in lives:
            attempt = email.start_delivery("main", "default", LEASE, stamp(self.clock()))
            email.conclude(attempt, taken(email), stamp(self.clock()), chance=0)
        histories = [email.collect_events() for email in lives]
        for first, second in zip(histories[::2], histories[1::2], strict=True):
            woven = [event for pair in zip(first, second, strict=True) for event in pair]
            self.run(self.ledger.append(woven))

    def index(self) -> None:
        """Let the read model know all events."""
        self.tell(_index, self.run(self.ledger.scan(0, 10_000)))

    def chain(self, most: int = 7) -> None:
        while self.run(self.keeper.step(most)):
            pass

    def rows(self) -> list[Row]:
        with self.database.read() as connection:
            place = "notification_id" if self.database.kind == "postgresql" else "rowid"
            query = f"SELECT {place}, originator_id, originator_version, topic, state FROM events ORDER BY 1"
            found = connection.execute(text(query)).all()
        return [Row(p, getattr(id, "hex", id), version, topic, bytes(state)) for p, id, version, topic, state in found]

    def write(self, rows: Sequence[Row]) -> None:
        """Have these, and nothing else, in the log."""
        self.tell(_write, rows)

    # -- looking, and undoing what a test did

    def verify(self, witnesses: Sequence[Witness] = (), against: Sequence[dict[str, Any]] = ()) -> Verdict:
        known = [*witnesses, *([self.signer.witness] if self.signer else [])]
        return self.run(Verification(self.database, known, against, hints).run())

    def found(self) -> list[tuple[str, int | None]]:
        """Kind and position of each finding but holes, which follow from others."""
        return [(each.kind, each.position) for each in self.verify().findings if each.kind != "hole"]

    def checkpoint(self) -> dict[str, Any]:
        return self.tell(checkpoints.make, self.signer, self.clock()).document

    def newest(self) -> blocks.Block:
        with self.database.read() as connection:
            return blocks.newest(connection)

    def save(self) -> None:
        with self.database.read() as connection:
            tables = [connection.execute(select(table)).all() for table in (AUDIT_BLOCKS, AUDIT_CHECKPOINTS)]
        self._saved = [self.rows(), *tables]

    def restore(self) -> None:
        rows, *tables = self._saved
        self.write(rows)
        for table, saved in zip((AUDIT_BLOCKS, AUDIT_CHECKPOINTS), tables, strict=True):
            self.tell(lambda c, t=table: c.execute(delete(t)))
            self.tell(lambda c, t=table, s=saved: c.execute(insert(t), [row._asdict() for row in s]) if s else None)


async def _opened(url: str) -> Any:
    return open_ledger(url)


def _write(connection: Connection, rows: Sequence[Row]) -> None:
    connection.execute(text("DELETE FROM events"))
    postgresql = connection.dialect.name == "postgresql"
    place = "notification_id" if postgresql else "rowid"
    into = f"INSERT INTO events ({place}, originator_id, originator_version, topic, state)"
    values = "(:position, CAST(:stream AS uuid), :version, :topic, :state)" if postgresql else None
    statement = text(f"{into} VALUES {values or '(:position, :stream, :version, :topic, :state)'}")
    if rows:
        connection.execute(statement, [row._asdict() for row in rows])


def _index(connection: Connection, events: Sequence[Any]) -> None:
    tables = audit.PROJECTION.tables("")
    tables[0].metadata.create_all(connection)
    audit.PROJECTION.fold(connection, tables, events)


def made(url: str, signer: Signer | None = None) -> Book:
    """A book of 60 events at positions 4, 6, 8 …, in blocks of seven, the newest four of them in none."""
    book = Book(url, signer)
    book.fill(20)
    book.write([row._replace(position=2 * row.position + 2) for row in book.rows()])
    book.index()
    for _ in range(4):
        book.run(book.keeper.step(7))
    book.checkpoint()
    for _ in range(4):
        book.run(book.keeper.step(7))
    book.save()
    return book
