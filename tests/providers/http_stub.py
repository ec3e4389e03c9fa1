"""A raw HTTP server for tests of provider adapters: it does what it is told, breaking off included.

async with HttpStub() as stub:
    stub.answers.append(json_answer({"id": "x"}))          # then the next request gets it
    stub.default = Answered(202, {"X-Message-Id": "abc"})  # all others get this
    ... stub.host ("127.0.0.1:PORT"), stub.requests (each complete request, in order)
"""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request that came in whole."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answered:
    """What is answered, after `delay` seconds."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0


class Broken(Enum):
    """Ways not to answer."""

    RESET_ON_CONNECT = auto()  # the connection ends before anything is read
    RESET_IN_BODY = auto()  # after the head was read
    RESET_AFTER_REQUEST = auto()  # everything was read
    SILENCE = auto()  # everything was read; nothing ever comes
    RESET_IN_ANSWER = auto()  # half of an answer
    GARBAGE = auto()  # no HTTP


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answered:
    return Answered(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


Reaction = Answered | Broken | Callable[[Received], Answered | Broken]


class HttpStub:
    """Listens on 127.0.0.1 while its `async with` lasts."""

    def __init__(self, default: Reaction = Answered(200), tls: ssl.SSLContext | None = None) -> None:
        self.default = default
        self.answers: deque[Reaction] = deque()
        self.requests: list[Received] = []
        self.port = 0
        self.connections = 0  # so far
        self._tls = tls
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections, as a server does with idle ones."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self._peek() is Broken.RESET_ON_CONNECT:
            self._next()
            return False
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if self._peek() is Broken.RESET_IN_BODY:
            self._next()
            return False
        line, *fields = head.rstrip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        body = await _body(reader, headers)
        method, path, _ = line.split(" ")
        request = Received(method, path, headers, body)
        self.requests.append(request)
        return await self._react(self._next(), request, reader, writer)

    async def _react(
        self, reaction: Reaction, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if callable(reaction):
            reaction = reaction(request)
        match reaction:
            case Broken.SILENCE:
                await reader.read()  # until the other side has had enough
                return False
            case Broken.RESET_IN_ANSWER:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                await writer.drain()
                return False
            case Broken.GARBAGE:
                writer.write(b"\x00\xff 250 who is there?\r\n\r\n")
                await writer.drain()
                return False
            case Answered():
                await asyncio.sleep(reaction.delay)
                headers = {"Content-Length": str(len(reaction.body)), **reaction.headers}
                fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {reaction.status} Told\r\n{fields}\r\n".encode() + reaction.body)
                await writer.drain()
                return True
            case _:
                return False

    def _peek(self) -> Reaction:
        return self.answers[0] if self.answers else self.default

    def _next(self) -> Reaction:
        return self.answers.popleft() if self.answers else self.default


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body
