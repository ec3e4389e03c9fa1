"""The kinds of fields that commands are made of: each says what is wrong in words that follow the field's name."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.address import Mailbox, parse_mailbox
from domain.errors import InvalidAddress

_RELATIVE = re.compile(r"in (\d{1,6}) ?(s|sec|second|m|min|minute|h|hour|d|day)s?", re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,12}) ?(B|KB|MB|GB)?", re.I)
_BYTES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _mailbox(value: object) -> Mailbox:
    if isinstance(value, Mailbox):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("email_address", "must be a string: `address` or `Name <address>`")
    try:
        return parse_mailbox(value)
    except InvalidAddress as error:
        raise PydanticCustomError(
            "email_address", "is not a valid email address: {reason}", {"reason": str(error)}
        ) from None


def one_or_many(value: object) -> object:
    """A single value where a list may stand."""
    return [value] if isinstance(value, str) else value


def _one_line(value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise PydanticCustomError("line_break", "must not contain CR, LF or NUL")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("nul", "must not contain NUL")  # PostgreSQL stores no such text
    return value


def _moment(value: object) -> datetime | timedelta:
    """ISO 8601 with an offset, or Resend's `in 5 minutes`, kept as a timedelta until the clock is known."""
    if isinstance(value, datetime | timedelta):
        return value
    if isinstance(value, str) and (match := _RELATIVE.fullmatch(value.strip())):
        return timedelta(**{_UNIT[match[2][0].lower()]: int(match[1])})
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is not None and found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):  # not a time, or one that has no UTC form: year 1 east of Greenwich
        pass
    raise PydanticCustomError(
        "moment", "must be a time with an offset such as 2026-08-05T11:52:01Z, or relative such as `in 5 minutes`"
    )


def _bytes(value: object) -> object:
    """`5MB` as a number; a MB has 1,048,576 bytes."""
    if not isinstance(value, str):
        return value
    if not (found := _SIZE.fullmatch(value.strip())):
        raise PydanticCustomError("size", "must be a size: a number of bytes, or such as 500KB or 5MB")
    return int(found[1]) * _BYTES[(found[2] or "").upper()]


Address = Annotated[Mailbox, BeforeValidator(_mailbox, json_schema_input_type=str)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]
Moment = Annotated[
    datetime | timedelta,
    BeforeValidator(_moment, json_schema_input_type=str),  # not PlainValidator: pydantic 2.14 then serialises it twice
    Field(description="ISO 8601 with an offset (`2026-08-05T11:52:01Z`), or `in 5 minutes`."),
]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", min_length=1, max_length=256)]
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
ONE_LINE, NO_NUL = AfterValidator(_one_line), AfterValidator(_no_nul)
MetadataKey = Annotated[str, Field(min_length=1, max_length=256), NO_NUL]
