"""A request's body on its way out, and whether the other side can have the whole of it."""

from collections.abc import AsyncIterable, AsyncIterator, Callable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

_BLOCK = 64 * 1024  # bytes; what goes out last is no longer, and is in the kernel's hands at once


class NotSent(Exception):
    """No connection, or none that was given the whole request: the provider cannot have acted on it."""


class NotOurs(NotSent):
    """Whoever calls was held up for so long that somebody else may be about to do the same."""


class WrongLength(Exception):
    """The body was longer or shorter than it said."""


class Body(Payload):
    """Of a stream, a chunk goes out when the next one is there, the last one when the stream has ended well.

    So whatever breaks off earlier leaves a request that no server can take for a whole one. What may not go out any
    more when it comes to its last chunk breaks off, too.
    """

    def __init__(
        self,
        source: bytes | AsyncIterable[bytes],
        length: int | None = None,
        still_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(source)
        self._source = source
        self._still_ours = still_ours
        self._size = len(source) if isinstance(source, bytes) else length  # becomes the Content-Length
        self.handed_over = False  # the connection has all of it, and may deliver it even after it is told to close
        self.trouble: Exception | None = None  # what the stream raised

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Called by aiohttp when there is a connection."""
        source = self._source
        if isinstance(source, bytes) and len(source) <= _BLOCK:
            last = source
        else:
            chunks = _blocks(source) if isinstance(source, bytes) else self._checked(source)
            last = await _all_but_the_last(chunks, writer)
        if not self._still_ours():
            self.trouble = NotOurs("lease_lost")
            raise self.trouble
        self.handed_over = True
        try:
            await writer.write(last)
        except OSError:  # the connection was gone before it could take this chunk, or take it whole
            self.handed_over = False
            raise

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a stream has no text")  # aiohttp asks for it in digest authentication only

    async def _checked(self, source: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in source:
                size += len(chunk)
                yield chunk
            if self._size not in (None, size):
                raise WrongLength
        except Exception as error:
            self.trouble = error
            raise


async def _blocks(source: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(source), _BLOCK):
        yield source[start : start + _BLOCK]


async def _all_but_the_last(chunks: AsyncIterable[bytes], writer: AbstractStreamWriter) -> bytes:
    """Send what is known not to be the end of it; returns the end."""
    held = b""
    async for chunk in chunks:
        if held:
            await writer.write(held)
        held = chunk
    return held
