"""Calls to a provider's HTTP API: what was certainly not sent is told apart from an answer that was lost.

Nothing is retried here: a second POST could be a second email (docs/adr/0010).
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from domain.answer import Answer
from domain.delivery import ErrorClass
from infrastructure.providers.http_body import Body, NotOurs, NotSent, WrongLength

_CONNECT_TIMEOUT, _TIMEOUT = 10.0, 60.0  # seconds
_LONGEST_ANSWER = 1 << 22  # bytes; what a provider says beyond is not read
_IDLE = 15.0  # seconds that a connection is kept; providers close theirs after a minute or more
_BEFORE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ValueError)  # there was no connection yet

__all__ = ["AnswerLost", "HttpClient", "NotOurs", "NotSent", "Reply", "Request", "no_answer"]


class AnswerLost(Exception):
    """The request may have been read; its answer never came, or not as HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call. A streamed body says its length, so that a broken stream can never look complete."""

    method: str
    path: str = field(repr=False)  # from the base URL on, or a whole URL below it; a query may hold an address
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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`headers` go with every call. Timeouts are in seconds, `timeout` for a whole call, and do not include the
        wait for a free connection."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": "postledger", "Accept": "application/json", **headers}
        self._slots = asyncio.Semaphore(connections)
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def call(self, request: Request, still_ours: Callable[[], bool] = lambda: True) -> Reply:
        """The provider's answer, whatever it is. Raises NotSent, AnswerLost, and what a streamed body raises: then
        nothing was sent either. `still_ours` is asked right before the end of a body is written."""
        url = self._url(request.path)
        body = Body(request.body, request.length, still_ours) if request.body else None
        options: dict[str, Any] = {"headers": {**self._headers, **request.headers}, "allow_redirects": False}
        try:
            async with self._slots, self._opened().request(request.method, url, data=body, **options) as response:
                return await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _meaning(error, body) from None  # its text names the URL, and may quote a header

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _url(self, path: str) -> str:
        if path.startswith(f"{self._base_url}/"):
            return path
        if not path.startswith("/"):
            raise NotSent("a URL of another host")  # such as a `next` page that leads elsewhere
        return self._base_url + path

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=_IDLE, ssl=True if self._tls is None else self._tls
            )
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> Reply:
    body = b""
    while len(body) < _LONGEST_ANSWER and (more := await response.content.read(_LONGEST_ANSWER - len(body))):
        body += more
    return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)


def _meaning(error: Exception, body: Body | None) -> Exception:
    """What is to be raised for an error of aiohttp's."""
    if body is not None and body.trouble is not None and not isinstance(body.trouble, WrongLength):
        return body.trouble
    sent = body.handed_over if body is not None else not isinstance(error, _BEFORE)
    return AnswerLost(type(error).__name__) if sent else NotSent(type(error).__name__)


def no_answer(trouble: NotSent | AnswerLost) -> Answer:
    """What it means for an email that a call ended without an answer."""
    if isinstance(trouble, NotOurs):
        return Answer(error_class=ErrorClass.TRANSIENT, reason="lease_lost")
    if isinstance(trouble, NotSent):
        return Answer(error_class=ErrorClass.TRANSIENT, reason="unreachable", words=str(trouble))
    return Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost", words=str(trouble))
