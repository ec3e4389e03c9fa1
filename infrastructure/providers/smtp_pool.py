"""The connections to one SMTP server that are kept for the next message."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from infrastructure.providers.smtp_connection import SmtpConnection, SmtpTrouble
from infrastructure.providers.smtp_settings import SmtpSettings

_MESSAGES_PER_CONNECTION = 100
_IDLE = 30.0  # seconds; servers hang up on the idle, and firewalls forget them without a word
_FULL_NAME = re.compile(r"[A-Za-z0-9.-]+")


class SmtpPool:
    """At most `settings.pool` connections, the most recently used one first."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.pool)
        self._idle: list[SmtpConnection] = []
        self._tls = settings.tls_context()
        self._helo = settings.helo
        self._closer: asyncio.TimerHandle | None = None
        self._closed = False

    @asynccontextmanager
    async def connection(self, *, fresh: bool = False) -> AsyncIterator[SmtpConnection]:
        """A connection for one message; kept for the next one unless an exception passes through here."""
        async with self._slots:
            if fresh and self._idle:
                self._idle.pop(0).close()  # makes room for the new one, and is likely as stale as the one that broke
            connection = None if fresh else self._take()
            if connection is None:
                connection = await self.open()
            try:
                yield connection
                await self._give_back(connection)
            except BaseException:
                connection.close()
                raise

    async def open(self) -> SmtpConnection:
        """A new connection that the pool knows nothing of. Raises SmtpTrouble."""
        if self._helo is None:
            name = await asyncio.to_thread(socket.getfqdn)
            self._helo = name if _FULL_NAME.fullmatch(name) else "localhost"
        connection = SmtpConnection(self._settings, self._helo, self._tls)
        await connection.open()
        return connection

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.quit() for connection in idle))
        if self._closer is not None:
            self._closer.cancel()

    def _take(self) -> SmtpConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.close()
        return None

    async def _give_back(self, connection: SmtpConnection) -> None:
        connection.messages += 1
        if self._closed or connection.messages >= _MESSAGES_PER_CONNECTION:
            await connection.quit()
            return
        with suppress(SmtpTrouble):  # after the answer: then the connection is gone, and that is all
            await connection.reset()
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            self._close_later()
            return
        connection.close()

    def _close_later(self) -> None:
        if self._closer is None:
            self._closer = asyncio.get_running_loop().call_later(_IDLE, self._close_idle)

    def _close_idle(self) -> None:
        limit = asyncio.get_running_loop().time() - _IDLE
        for connection in [each for each in self._idle if each.idle_since <= limit]:
            self._idle.remove(connection)
            connection.close()
        self._closer = None
        if self._idle:
            self._close_later()
