"""Marks the event fields that hold personal data, in the type, so they can be found and encrypted."""

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo


class PersonalData:
    """Marker in a field's `Annotated` metadata: this value tells something about a person."""


# repr=False: an event that ends up in a log line or a traceback must not carry the person with it.
PersonalStr = Annotated[str, PersonalData(), Field(repr=False)]
PersonalText = Annotated[str | None, PersonalData(), Field(repr=False)]
PersonalMap = Annotated[dict[str, str], PersonalData(), Field(repr=False)]


def is_personal(field: FieldInfo) -> bool:
    """Whether a pydantic field was declared with one of the personal types above."""
    return any(isinstance(mark, PersonalData) for mark in field.metadata)


def personal_fields(model: type[Any]) -> frozenset[str]:
    """The names of a model's personal fields."""
    return frozenset(name for name, field in model.model_fields.items() if is_personal(field))
