"""One operation of the API: what it is called, takes and answers; and how a request reaches it."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from application.commands import Caller
from application.surprises import log_surprise
from domain.ids import uuid7
from infrastructure.web import problems
from infrastructure.web.callers import ApiKeys
from infrastructure.web.errors import ClientGone, MethodNotAllowed, NoSuchRoute
from infrastructure.web.service import Service

log = logging.getLogger("postledger.web")


class Response(Protocol):
    """What a handler returns: our Reply, or any response of Starlette's."""

    raw_headers: list[tuple[bytes, bytes]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Call:
    """One request as a handler sees it."""

    __slots__ = ("caller", "headers", "receive", "scope", "service")

    def __init__(
        self, service: Service, caller: Caller, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> None:
        self.service = service
        self.caller = caller
        self.scope = scope
        self.receive = receive
        self.headers = headers  # lower-case names; of a repeated header the last value

    def path(self, name: str) -> str:
        value: str = self.scope["path_params"][name]
        return value


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An entry of the route table; the OpenAPI document is made from it."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | str  # a model, or the media type of something else
    status: int = 200
    body: Any = None  # a pydantic model, an annotation such as list[SendEmail], or the media type of something else
    query: type[BaseModel] | None = None
    takes: tuple[str, ...] = ()  # request headers, as openapi.HEADERS knows them
    gives: tuple[str, ...] = ()  # response headers
    errors: tuple[int, ...] = ()  # statuses beyond those that every operation of its kind can give
    open: bool = False  # whether it answers without an API key


class Resource:
    """The operations at one path: the thin layer between ASGI and a handler."""

    def __init__(self, service: Service, keys: ApiKeys, operations: Iterable[Operation] = ()) -> None:
        self._service = service
        self._keys = keys
        self._operations: Mapping[str, Operation] = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        id = self._request_id(headers.get(b"x-request-id"))
        try:
            response = await self._answer(scope, receive, headers, id)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 (the edge of the service: every error becomes an answer)
            _record(error, scope, id)
            response = problems.reply(error, str(id), headers.get(b"accept", b""))
        response.raw_headers.append((b"x-request-id", str(id).encode()))
        try:
            await response(scope, receive, send)
        except Exception as error:  # noqa: BLE001 (a stream that broke; it is too late for another answer)
            _record(error, scope, id)

    async def _answer(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], id: UUID) -> Response:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self._operations.get(method)
        if operation is None:
            raise MethodNotAllowed(self._operations) if self._operations else NoSuchRoute
        caller = _anyone(id) if operation.open else self._keys.identify(headers, id)
        return await operation.handler(Call(self._service, caller, scope, receive, headers))

    def _request_id(self, given: bytes | None) -> UUID:
        """The client's own, when it is a UUID; what it leads to carries it as the correlation id."""
        try:
            return UUID(given.decode()) if given else uuid7(self._service.clock())
        except ValueError:
            return uuid7(self._service.clock())


def _anyone(id: UUID) -> Caller:
    return Caller(tenant="", actor="anyone", correlation_id=id)


def _record(error: Exception, scope: Scope, id: UUID) -> None:
    """What no entry of the table expects is recorded, once."""
    if problems.describe(error) is problems.SURPRISE:
        log_surprise(log, f"answering a {scope['method']}, request {id}", error)
