"""Rebuilds read models from the whole log, beside the live ones, and swaps them in."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import uuid4

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.schema import CreateTable

from application.ports import Clock, Ledger, Recorded
from infrastructure.database.engines import Database
from infrastructure.database.notifications import PROJECTIONS, Wakeups
from infrastructure.database.positions import advance, hold
from projections.projection import Events, Projection, Tables

Progress = Callable[[int, int], None]  # (events folded, events to fold)
_PAGE = 5000


class Rebuild:
    """One rebuild of some read models. Until the swap at its end nobody sees anything of it."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        projections: Sequence[Projection],
        wakeups: Wakeups,
        clock: Clock,
        *,
        page: int = _PAGE,
    ) -> None:
        self._ledger = ledger
        self._database = database
        # The names of indexes must never be met again, for they keep them when their tables are renamed.
        suffix = f"__{uuid4().hex[:8]}"
        self._shadows = [(projection, projection.tables(suffix)) for projection in projections]
        self._wakeups = wakeups
        self._clock = clock
        self._page = page

    async def run(self, progress: Progress) -> int:
        """Build, index, catch up, swap. Returns the position at which the read models were swapped in."""
        await self._database.tell(_start, self._shadows)
        try:
            position = await self._fold_after(0, progress)
            for _, tables in self._shadows:
                await self._database.tell(_index, tables)
            position = await self._fold_after(position, progress)
            position = await self._database.tell(self._swap, position, asyncio.get_running_loop())
        except BaseException:
            await self._database.tell(_drop, [table for _, tables in self._shadows for table in tables])
            raise
        self._wakeups.projections.notify()
        return position

    async def _fold_after(self, position: int, progress: Progress) -> int:
        """Fold page by page up to the head; while one page is written, the next is read and decoded."""
        head = await self._ledger.position()
        page = await self._ledger.read(position, self._page)
        while page:
            position = page[-1].position
            _, page = await asyncio.gather(
                self._database.tell(self._fold, page), self._ledger.read(position, self._page)
            )
            progress(position, max(head, position))
        return position

    def _fold(self, connection: Connection, page: Events) -> None:
        for projection, tables in self._shadows:
            projection.fold(connection, tables, page)

    def _swap(self, connection: Connection, position: int, loop: asyncio.AbstractEventLoop) -> int:
        """In one short transaction: lock out the runners, fold the rest, take the live tables' place."""
        live = [hold(connection, projection) for projection, _ in sorted(self._shadows, key=lambda s: s[0].name)]
        while page := self._read(position, loop):
            self._fold(connection, page)
            position = page[-1].position
        for projection, shadow in sorted(self._shadows, key=lambda s: s[0].name):
            _replace(connection, projection, shadow)
            advance(connection, projection, live.pop(0), position, self._clock())
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"NOTIFY {PROJECTIONS}"))
        return position

    def _read(self, position: int, loop: asyncio.AbstractEventLoop) -> Sequence[Recorded]:
        return asyncio.run_coroutine_threadsafe(self._ledger.read(position, self._page), loop).result()


def _start(connection: Connection, shadows: Sequence[tuple[Projection, Tables]]) -> None:
    names = inspect(connection).get_table_names()
    for projection, tables in shadows:
        for live in projection.tables(""):
            for name in names:
                if name.startswith(f"{live.name}__"):  # left by a rebuild that was interrupted
                    connection.execute(text(f"DROP TABLE {name}"))
        for table in tables:
            connection.execute(CreateTable(table))  # without its secondary indexes: they are built faster at the end


def _index(connection: Connection, tables: Tables) -> None:
    for table in tables:
        for index in table.indexes:
            index.create(connection)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"ANALYZE {table.name}"))


def _drop(connection: Connection, tables: Sequence[Table]) -> None:
    for table in tables:
        connection.execute(text(f"DROP TABLE IF EXISTS {table.name}"))


def _replace(connection: Connection, projection: Projection, shadow: Tables) -> None:
    live = projection.tables("")
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {', '.join(table.name for table in live)} IN ACCESS EXCLUSIVE MODE"))
    if projection.carry:
        projection.carry(connection, live, shadow)
    _drop(connection, live)
    for old, new in zip(live, shadow, strict=True):
        connection.execute(text(f"ALTER TABLE {new.name} RENAME TO {old.name}"))
