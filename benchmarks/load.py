"""A load generator that costs little: keep-alive connections, one request at a time on each, bounded in count."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: requests per second, and the time of each request in seconds."""

    rate: float
    times: list[float]

    def percentile(self, share: float) -> float:
        return sorted(self.times)[min(int(len(self.times) * share), len(self.times) - 1)]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered. Knows just enough HTTP for our own answers."""

    def __init__(
        self, requests: Iterator[bytes], times: list[float], done: asyncio.Future[None], expect: bytes
    ) -> None:
        self._requests = requests
        self._times = times
        self._done = done
        self._expect = expect
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        if not head.startswith(self._expect):
            self._done.set_exception(RuntimeError(self._buffer[:500].decode(errors="replace")))
            self._transport.close()
            return
        self._times.append(time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


def run(port: int, count: int, connections: int, request: Callable[[int], bytes], expect: bytes) -> Load:
    """Send `request(0)` … `request(count - 1)` over so many connections; every answer must start with `expect`."""

    async def work() -> Load:
        loop = asyncio.get_running_loop()
        requests = iter([request(number) for number in range(count)])
        times: list[float] = []
        done = [loop.create_future() for _ in range(connections)]
        started = time.perf_counter()
        for future in done:
            await loop.create_connection(lambda f=future: _Connection(requests, times, f, expect), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*done)
        return Load(count / (time.perf_counter() - started), times)

    return uvloop.run(work())
