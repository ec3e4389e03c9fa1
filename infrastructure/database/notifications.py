"""Wake-ups between processes (PostgreSQL's LISTEN and NOTIFY) and inside one."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

import psycopg

from infrastructure.database.engines import libpq_url
from infrastructure.database.signal import Signal

EVENTS = "postledger_events"  # the ledger appended
PROJECTIONS = "postledger_projections"  # read models moved
INBOX = "postledger_inbox"  # a provider delivered something
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0

_log = logging.getLogger(__name__)


class Notifications:
    """Listens on PostgreSQL channels with one connection, and rings the Signal of each."""

    def __init__(self, url: str, signals: Mapping[str, Signal]) -> None:
        self._url = libpq_url(url)
        self._signals = signals

    async def run(self) -> None:
        """Listen until cancelled. A lost connection is opened again."""
        wait = _FIRST_WAIT
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    wait = _FIRST_WAIT
                    await self._listen(connection)
            except psycopg.OperationalError as error:
                _log.warning("Listening for notifications was interrupted: %s", type(error).__name__)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _listen(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        for channel in self._signals:
            await connection.execute(f"LISTEN {channel}".encode())
        for signal in self._signals.values():
            signal.notify()  # something may have been missed while nobody listened
        async for notice in connection.notifies():
            self._signals[notice.channel].notify()


class Wakeups:
    """What a process waits for: new events, read models that moved, deliveries of providers."""

    def __init__(self, url: str) -> None:
        self.events = Signal()
        self.projections = Signal()
        self.inbox = Signal()
        self._listener: asyncio.Task[None] | None = None
        self._url = url

    def start(self) -> None:
        """Listen to other processes too, where the database can. Needs a running loop."""
        if self._url.startswith("postgresql") and self._listener is None:
            signals = {EVENTS: self.events, PROJECTIONS: self.projections, INBOX: self.inbox}
            self._listener = asyncio.create_task(Notifications(self._url, signals).run())

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
