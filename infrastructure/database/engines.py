"""Connections and transactions: one face for SQLite and PostgreSQL."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from application.errors import ReadModelBuilding, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")
Kind = Literal["sqlite", "postgresql"]

_CONNECTIONS = 8  # as many as threads, so that no thread ever waits for a connection
_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # what was committed survives a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 30000",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA temp_store = FILE",  # what is sorted for an index grows with the table
)
_SWITCHES = 250  # five seconds
_LEFT = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.IdleInTransactionSessionTimeout)  # it goes on elsewhere
_BEGIN = "postledger_begin"  # execution option: the statement that opens a SQLite transaction


class Database:
    """Transactions on one database, for threads (`read`, `write`) and for coroutines (`ask`, `tell`)."""

    def __init__(self, url: str, kind: Kind, engine: Engine) -> None:
        self.url = url
        self.kind: Kind = kind
        self._reader = engine.execution_options(**{_BEGIN: "BEGIN"})
        self._writer = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._engine = engine
        # SQLite has one writer at a time. Queueing here is fair and prompt; its own busy handler sleeps and guesses.
        self.turn: AbstractContextManager[Any] = threading.Lock() if kind == "sqlite" else nullcontext()
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="database")

    @classmethod
    def open(cls, url: str) -> "Database":
        """Open `sqlite:///path` or `postgresql://…` (also libpq's form with `?host=/socket/dir`). Connects lazily."""
        address = make_url(url)
        if address.get_backend_name() == "sqlite":
            return cls(url, "sqlite", _sqlite(address))
        return cls(url, "postgresql", _postgresql(address))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state. Raises StoreUnavailable."""
        with outages(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block. Raises StoreUnavailable."""
        with self.turn, outages(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """A connection for several transactions, which ends with the block, and its temporary tables with it."""
        with outages(), self._reader.connect() as connection:
            try:
                if self.kind == "sqlite":
                    raw: Any = connection.connection.driver_connection
                    raw.execute("PRAGMA cache_size = -16384")  # 16 MiB, and so much again for sorting
                yield connection
            finally:
                connection.invalidate()

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """A write transaction on a connection that was borrowed. It commits at the end of the block."""
        begins = connection.get_execution_options()[_BEGIN]
        with self.turn, outages():
            try:
                with connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).begin():
                    yield
            finally:
                connection.execution_options(**{_BEGIN: begins})

    async def ask(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `query(connection, …)` in a thread, in a read transaction."""
        return await self._in_thread(self.read, query, *args, **kwargs)

    async def tell(self, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `change(connection, …)` in a thread, in a write transaction, committed when this returns."""
        return await self._in_thread(self.write, change, *args, **kwargs)

    def close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()

    async def _in_thread(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def run() -> T:
            with transaction() as connection:
                return work(connection, *args, **kwargs)

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, run)
        except StoreUnavailable:
            if transaction == self.write:
                raise  # it may have committed; whoever asked knows whether to do it again
            # After a restart of the server the pool finds out by the first failure, and then connects anew.
            return await loop.run_in_executor(self._threads, run)


@contextmanager
def outages() -> Iterator[None]:
    """The one place that tells a store that cannot be reached, or is full, from a mistake of ours."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        if _is_missing_table(error):
            raise ReadModelBuilding from error  # all other tables are created before anything is asked
        if is_outage(error):
            raise StoreUnavailable from error
        raise


def _is_missing_table(error: Exception) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith("no such table")
    return isinstance(cause, psycopg.errors.UndefinedTable)


def is_outage(error: Exception) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.OperationalError):
        return cause.sqlite_errorcode != sqlite3.SQLITE_ERROR  # that one means bad SQL; the others busy, full, I/O
    return isinstance(cause, (psycopg.OperationalError, PoolExhausted, *_LEFT))


def libpq_url(url: str) -> str:
    """The same PostgreSQL database for psycopg itself, which knows no `+driver`."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def _sqlite(address: URL) -> Engine:
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        address,
        pool_size=_CONNECTIONS,
        connect_args={"isolation_level": None, "timeout": 30, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    _into_wal(connection)
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _into_wal(connection: sqlite3.Connection) -> None:
    """A new file's first connections may meet in this switch, and SQLite's busy handler does not cover it."""
    for _ in range(_SWITCHES):
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
            return
        time.sleep(0.02)
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _postgresql(address: URL) -> Engine:
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_size=_CONNECTIONS,
        connect_args={"connect_timeout": 10},
    )
    event.listen(engine, "handle_error", _leave)
    return engine


def _leave(context: ExceptionContext) -> None:
    """A server that others have taken over from may live on, read-only: its connections are of no use any more."""
    if isinstance(context.original_exception, _LEFT):
        context.is_disconnect = True
