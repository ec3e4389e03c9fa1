"""`as_of`: how things were at an earlier moment, told by a version, a place in the order of all events, or a time."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from application.ports import Recorded
from infrastructure.web import query

_POSITION = "position:"
_LARGEST = 2**63 - 1
_EXAMPLES = "a position such as position:1234, or a time such as 2026-08-05T11:52:01Z"


def position(text: str) -> int | None:
    """The place in the order of all events that `text` names, if it names one. Raises ValueError."""
    if not text.startswith(_POSITION):
        return None
    digits = text.removeprefix(_POSITION)
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > _LARGEST:
        raise ValueError(text)
    return int(digits)


def version(text: str) -> int | None:
    """The version, from 1, of an email's history that `text` names, if it names one. Raises ValueError."""
    if not (text.isascii() and text.isdecimal()):
        return None
    if not 0 < int(text) <= _LARGEST:
        raise ValueError(text)
    return int(text)


def moment(text: str) -> datetime:
    """Raises ValueError for what is no time, or a time without an offset."""
    found = datetime.fromisoformat(query.lost_plus(text))
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def _of_a_history(text: str) -> str:
    return _checked(
        lambda: version(text) or position(text) is not None or moment(text), text, f"a version from 1, {_EXAMPLES}"
    )


def _of_the_log(text: str) -> str:
    return _checked(lambda: position(text) is not None or moment(text), text, _EXAMPLES)


def _checked(read: Callable[[], object], text: str, wanted: str) -> str:
    try:
        read()
    except ValueError:
        raise PydanticCustomError("as_of", "must be {wanted}", {"wanted": wanted}) from None
    return text


class AsOf(query.Query):
    """Up to where to look into one email's history."""

    as_of: Annotated[
        Annotated[str, AfterValidator(_of_a_history)] | None,
        Field(description=f"As it was: a version of its history (from 1), {_EXAMPLES}."),
    ] = None

    def includes(self, recorded: Recorded) -> bool:
        """Whether this had happened by then."""
        if self.as_of is None:
            return True
        if (last := version(self.as_of)) is not None:
            return recorded.event.originator_version <= last
        if (place := position(self.as_of)) is not None:
            return recorded.position <= place
        return recorded.event.occurred_at <= moment(self.as_of)


LogAsOf = Annotated[
    Annotated[str, AfterValidator(_of_the_log)] | None, Field(description=f"As it was: at {_EXAMPLES}.")
]
