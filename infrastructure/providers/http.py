"""Calls to a provider's HTTP API: what was certainly not sent is told apart from an answer that was lost.

Nothing is retried here: a second POST could be a second email.
"""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from domain.answer import Answer
from domain.delivery import ErrorClass

_CONNECT_TIMEOUT, _TIMEOUT = 10.0, 60.0  # seconds
_LONGEST_ANSWER = 1 << 22  # bytes; what a provider says beyond is not read
_IDLE = 15.0  # seconds that a connection is kept; providers close theirs after a minute or more


class NotSent(Exception):
    """No connection, or none that took the whole request: the provider cannot have acted on it."""


class AnswerLost(Exception):
    """The request may have been read; its answer never came, or not as HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call. A streamed body says its length, so that a broken stream can never look complete."""

    method: str
    path: str  # from the base URL on, or a whole URL below it
    body: bytes | AsyncIterable[bytes] = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return from_json(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class HttpClient:
    """A pool of connections to one API. Opened with the first call."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        connections: int = 64,
        connect_timeout: float = _CONNECT_TIMEOUT,
        timeout: float = _TIMEOUT,
    ) -> None:
        """`headers` go with every call; timeouts are in seconds, `timeout` for one call from its start to its end."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": "postledger", "Accept": "application/json", **headers}
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        self._session: aiohttp.ClientSession | None = None

    async def call(self, request: Request) -> Reply:
        """The provider's answer, whatever it is. Raises NotSent and AnswerLost."""
        headers = {**self._headers, **request.headers}
        if request.length is not None:
            headers["Content-Length"] = str(request.length)
        try:
            async with self._opened().request(
                request.method,
                self._url(request.path),
                data=request.body or None,
                headers=headers,
                allow_redirects=False,
            ) as response:
                body = await response.content.read(_LONGEST_ANSWER)
                while len(body) < _LONGEST_ANSWER and (more := await response.content.read(_LONGEST_ANSWER)):
                    body += more
                return Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NotSent(type(error).__name__) from None  # its text names the host, maybe a proxy's password
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnswerLost(type(error).__name__) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _url(self, path: str) -> str:
        if path.startswith(self._base_url):
            return path
        if not path.startswith("/"):
            raise NotSent("a URL of another host")  # such as a `next` page that leads elsewhere
        return self._base_url + path

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_IDLE)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        return self._session


def no_answer(trouble: NotSent | AnswerLost) -> Answer:
    """What it means for an email that a call ended without an answer."""
    if isinstance(trouble, NotSent):
        return Answer(error_class=ErrorClass.TRANSIENT, reason="unreachable", words=str(trouble))
    return Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost", words=str(trouble))
