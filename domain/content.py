"""What an email says: the part that is kept out of the event log and can be deleted."""

import hashlib

from pydantic import BaseModel, ConfigDict

from domain.events import ContentRef
from domain.personal import PersonalMap, PersonalText


class Content(BaseModel):
    """Bodies and the author's own headers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    html: PersonalText = None
    text: PersonalText = None
    headers: PersonalMap = {}

    def encode(self) -> bytes:
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def decode(cls, stored: bytes) -> "Content":
        return cls.model_validate_json(stored)


def content_ref(encoded: bytes) -> ContentRef:
    """Size in bytes and sha256 (hex) of an encoded content."""
    return ContentRef(size=len(encoded), sha256=hashlib.sha256(encoded).hexdigest())
