"""A proxy between us and PostgreSQL that loses a COMMIT, or the answer to it, and hangs up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from psycopg.conninfo import conninfo_to_dict

Loses = Literal["question", "answer"]


class Meddler:
    """Forwards everything, except for the next `times` COMMITs."""

    def __init__(self, url: str, loses: Loses) -> None:
        info = conninfo_to_dict(url)
        self._socket = f"{info['host']}/.s.PGSQL.{info.get('port', 5432)}"
        self._account = f"{info['user']}:{info.get('password') or ''}", info["dbname"]
        self._loses = loses
        self._connections: set[asyncio.Task[None]] = set()
        self.times = 0

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        user, database = self._account
        yield f"postgresql://{user}@127.0.0.1:{server.sockets[0].getsockname()[1]}/{database}?sslmode=disable"
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(asyncio.CancelledError, ConnectionError):
            await self._carry(reader, writer)
        self._connections.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        lost = asyncio.Event()
        ways = [
            asyncio.create_task(self._questions(reader, server_writer, lost)),
            asyncio.create_task(self._answers(server_reader, writer, lost)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (server_writer, writer):
                end.close()

    async def _questions(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if b"COMMIT" in data and self.times > 0:
                self.times -= 1
                if self._loses == "question":
                    return
                lost.set()
            server.write(data)
            await server.drain()

    async def _answers(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await server.read(1 << 16):
            if lost.is_set() and b"COMMIT" in data:
                return
            writer.write(data)
            await writer.drain()
