"""Request bodies: read up to a limit, then turned into commands or into errors that name the field."""

import asyncio
from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from infrastructure.web.errors import (
    BodyTooLarge,
    ClientGone,
    FieldError,
    IncompleteRequest,
    InvalidJson,
    InvalidRequest,
    UnsupportedMediaType,
)
from infrastructure.web.fields import MISSING, field_errors
from infrastructure.web.operation import Call

M = TypeVar("M", bound=BaseModel)

_LARGE = 256 * 1024  # bytes; from here on parsing would keep the event loop from others for milliseconds
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})


async def read(call: Call) -> bytes:
    """The whole body of a JSON request. Raises UnsupportedMediaType, and what `whole` raises."""
    _check_type(call.headers.get(b"content-type", b""))
    return await whole(call, call.service.max_body_bytes)


async def whole(call: Call, limit: int) -> bytes:
    """The body, whatever it is. Raises BodyTooLarge (as soon as the limit is passed), ClientGone."""
    announced = call.headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise BodyTooLarge(limit)
    message = await call.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return _within(limit, message.get("body", b""))
    chunks, size = [], 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await call.receive()
    raise ClientGone


async def parse(call: Call, model: type[M]) -> M:
    """The body as a command. Raises what `read` raises, InvalidJson, InvalidRequest."""
    body = await read(call)
    try:
        if len(body) > _LARGE:
            return await asyncio.to_thread(model.model_validate_json, body)
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


async def parse_if_any(call: Call, model: type[M]) -> M:
    """As `parse`; but no body at all is taken for an empty object, so that what is missing is named."""
    if call.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in call.headers:
        return await parse(call, model)
    try:
        return model.model_validate({})
    except ValidationError as error:
        raise invalid(error) from None


async def parse_array(call: Call) -> list[Any]:
    """The body as an array of whatever. Raises what `read` raises, InvalidJson, InvalidRequest."""
    body = await read(call)
    try:
        value = await asyncio.to_thread(pydantic_core.from_json, body)
    except ValueError as error:
        raise InvalidJson(_not_json(str(error))) from None
    if not isinstance(value, list):
        raise InvalidRequest([FieldError("", "must be an array", "list_type")])
    return value


def invalid(error: ValidationError, prefix: str = "") -> InvalidRequest | InvalidJson:
    """What pydantic found, in our words."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return InvalidJson(_not_json(found[0]["ctx"]["error"]))
    fields = field_errors(found, prefix)
    incomplete = all(field.code in MISSING for field in fields)
    return IncompleteRequest(fields) if incomplete else InvalidRequest(fields)


def _not_json(reason: str) -> str:
    return f"The body is not valid JSON: {reason}."


def _within(limit: int, body: bytes) -> bytes:
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


def _check_type(content_type: bytes) -> None:
    if content_type in _JSON:
        return
    media_type, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    charsets = {p.partition(b"=")[2].strip(b'"') for p in parameters if p.startswith(b"charset=")}
    if media_type != b"application/json" or charsets - {b"utf-8", b"utf8"}:
        raise UnsupportedMediaType
