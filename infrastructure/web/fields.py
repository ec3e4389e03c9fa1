"""What pydantic says about fields, in words that tell a client what to change, never what it sent."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from infrastructure.web.errors import FieldError

_MOST = 20  # errors told at once; nobody reads more
_LONGEST = 80  # characters of a client's own key that are said back

# pydantic's error type -> our words. A type that is missing here keeps pydantic's.
_WORDS: Mapping[str, str] = {
    "missing": "is needed",
    "extra_forbidden": "is not a known field; remove it or check its spelling",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "uuid_parsing": "must be a UUID",
    "datetime_parsing": "must be a time with an offset such as 2026-08-05T11:52:01Z",
    "datetime_from_date_parsing": "must be a time with an offset such as 2026-08-05T11:52:01Z",
    "timezone_aware": "must be a time with an offset such as 2026-08-05T11:52:01Z",
    "time_delta_parsing": "must be a duration: seconds, or ISO 8601 such as PT15M",
}
# Rules about the whole command name the field that a client would change.
_WHOLE: Mapping[str, str] = {
    "missing_body": "html",
    "too_many_recipients": "to",
    "attachments_too_large": "attachments",
}
MISSING = frozenset({"missing", "missing_body"})


def field_errors(found: Iterable[ErrorDetails], prefix: str = "") -> list[FieldError]:
    """One FieldError for each of pydantic's; `prefix` is where the checked value itself stands, such as `[3]`."""
    return [_field_error(details, prefix) for details in list(found)[:_MOST]]


def _field_error(details: ErrorDetails, prefix: str) -> FieldError:
    kind = details["type"]
    words = _WORDS.get(kind)
    message = details["msg"] if words is None else words.format(**details.get("ctx", {}))
    return FieldError(path(details["loc"] or _whole(kind), prefix), message, kind)


def _whole(kind: str) -> tuple[str, ...]:
    return (_WHOLE[kind],) if kind in _WHOLE else ()


def path(location: Iterable[Any], prefix: str = "") -> str:
    """`('attachments', 0, 'content')` as `attachments[0].content`."""
    text = prefix
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":  # pydantic's mark for the key of an object, rather than its value
            text += f".{part[:_LONGEST]}" if text else part[:_LONGEST]
    return text
