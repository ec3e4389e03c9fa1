"""Query parameters, checked against a model like a body: unknown ones are errors, not ignored."""

import re
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticKnownError

from application.fields import NO_NUL
from infrastructure.web.body import invalid
from infrastructure.web.errors import FieldError, InvalidRequest
from infrastructure.web.operation import Call

Q = TypeVar("Q", bound="Query")

_MOST = 50  # parameters
_NUMBER = re.compile(r"\s*[-+]?[\d._]+(e[-+]?\d+)?\s*", re.IGNORECASE)
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$")


def lost_plus(value: str) -> str:
    """An unescaped `+02:00` arrives as ` 02:00`; what was meant is plain."""
    return _LOST_PLUS.sub(r"+\1", value)


def _written_out(value: object) -> str:
    """Not a bare number: pydantic would take 2026 for seconds since 1970."""
    text = lost_plus(str(value))
    if _NUMBER.fullmatch(text):
        raise PydanticKnownError("datetime_parsing", {"error": "a number"})
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
LARGEST = 2**63 - 1  # position that a database can keep
Position = Annotated[int, Field(ge=0, le=LARGEST)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=600), NO_NUL]


class Query(BaseModel):
    """The parameters of one operation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse(call: Call, model: type[Q]) -> Q:
    """The query string as `model`. Raises InvalidRequest naming the parameter."""
    text = call.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST) if text else []
        values = dict(pairs)
        if len(values) < len(pairs):
            raise InvalidRequest([_twice(pairs)])
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None
    except ValueError:
        raise InvalidRequest([FieldError("", f"has more than {_MOST} query parameters", "too_long")]) from None


def _twice(pairs: list[tuple[str, str]]) -> FieldError:
    names = [name for name, _ in pairs]
    name = next(name for name in names if names.count(name) > 1)
    return FieldError(name[:80], "is given twice", "duplicate")
