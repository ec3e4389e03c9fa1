"""A provider's HTTP API that takes everything, at the least cost; its own process, so that it has its own core.

Reads requests that say their length, and answers each as Postmark does when it takes an email.
"""

import asyncio
import sys
from typing import cast

import uvloop

_ANSWER = (
    b'{"To":"customer@example.com","SubmittedAt":"2026-11-23T12:00:00.0000000-05:00",'
    b'"MessageID":"0a129aee-e1cd-480d-b08d-4f48548ff48d","ErrorCode":0,"Message":"OK"}'
)
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_ANSWER), _ANSWER)


class _Taker(asyncio.Protocol):
    def __init__(self) -> None:
        self._head = b""
        self._missing = 0  # bytes of the body that are still to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._missing == 0:
            self._head += data
            head, separator, data = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            self._head = b""
            _, _, length = head.lower().partition(b"\r\ncontent-length:")
            self._missing = int(length.partition(b"\r\n")[0] or 0)
        self._missing -= len(data)
        if self._missing == 0:
            self._transport.write(_REPLY)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Taker, "127.0.0.1", port, backlog=256)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
