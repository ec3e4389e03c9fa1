"""Reads what strangers wrote: every function takes anything, and gives the wanted type or None."""

import hashlib
import json as lenient
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json

_LONGEST = 1000  # characters of any text that is kept
_MILLISECONDS = 1e11  # a Unix time beyond this is in milliseconds


def json(body: bytes) -> Any:
    """The document; None when it is none, or nested too deep to be honest.

    A batch may quote what a stranger's mail program calls itself: half a surrogate pair, or bytes that are no UTF-8,
    spoil that text and not the whole batch.
    """
    with suppress(ValueError):
        return from_json(body)
    with suppress(ValueError, RecursionError):
        return lenient.loads(body.decode("utf-8", "replace"))
    return None


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def get(value: object, *path: str) -> Any:
    """What stands under nested keys; None when anything on the way is missing or no object."""
    for key in path:
        value = mapping(value).get(key)
    return value


def text(value: object) -> str | None:
    """A text that is not empty, cut to a sensible length, without NUL; numbers as their text."""
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**30:
            return None
        value = str(value)
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\0", "")[:_LONGEST].strip() or None


def word(value: object) -> str:
    """A provider's word, to be looked up in a table: lower case, `` for none."""
    return (text(value) or "").lower()


def uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def integer(value: object) -> int | None:
    """A number, or the text of one, that fits a database's bigint."""
    try:
        number = int(value) if isinstance(value, (int, str)) and len(str(value)[:20]) < 20 else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 2**63 else None


def smtp_status(value: object) -> int | None:
    number = integer(value)
    return number if number is not None and 100 <= number <= 999 else None


def unix_time(value: object) -> datetime | None:
    """Seconds since 1970 as a number or its text; milliseconds where it can only be those."""
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) else math.nan
        if abs(seconds) > _MILLISECONDS:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def iso_time(value: object) -> datetime | None:
    """ISO 8601 with any number of fractional digits; UTC where it names no offset."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def key(*parts: object) -> str:
    """A content key: short, stable, and free of the personal data it was made from."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode("utf-8", "replace")).hexdigest()[:32]


def keys(*candidates: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in candidates if each))


def first(values: Iterable[object]) -> Any:
    return next(iter(values), None)
