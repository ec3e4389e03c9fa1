"""A JSON body whose attachments are read, and encoded as base64, only while it is sent."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from application.ports import OutgoingMessage
from domain.events import AttachmentRef


@dataclass(frozen=True, slots=True)
class Bytes:
    """Stands for the base64 text of an attachment."""

    of: AttachmentRef


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A document in pieces: JSON text, and attachments to be put in between. The same document, the same bytes."""

    message: OutgoingMessage = field(repr=False)
    pieces: tuple[bytes | AttachmentRef, ...] = field(repr=False)

    @classmethod
    def of(cls, message: OutgoingMessage, document: Mapping[str, Any]) -> "JsonBody":
        """`document` may hold `Bytes` anywhere."""
        found: list[AttachmentRef] = []
        secret = token_hex(16) if message.email.attachments else ""  # which no author can write; it is gone in the end

        def place(value: object) -> str:
            if not isinstance(value, Bytes):
                raise TypeError(f"{type(value).__name__} is not JSON")
            found.append(value.of)
            return f"{secret}{len(found) - 1}."

        text = json.dumps(document, default=place)
        pieces: list[bytes | AttachmentRef] = []
        for number, attachment in enumerate(found):
            before, _, text = text.partition(f"{secret}{number}.")
            pieces += [before.encode(), attachment]
        return cls(message, (*pieces, text.encode()))

    @property
    def length(self) -> int:
        """In bytes."""
        return sum(len(p) if isinstance(p, bytes) else (p.size + 2) // 3 * 4 for p in self.pieces)

    @property
    def streamed(self) -> bool:
        return len(self.pieces) > 1

    def whole(self) -> bytes:
        """The document, when it has no attachments."""
        (text,) = self.pieces
        assert isinstance(text, bytes)  # noqa: S101 - an attachment always stands between two texts
        return text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            rest = b""
            async for chunk in self.message.stream(piece):
                chunk = rest + chunk
                end = len(chunk) - len(chunk) % 3
                rest = chunk[end:]
                yield b64encode(chunk[:end])
            yield b64encode(rest)


def texts(document: Any) -> Iterator[str]:
    """Every text in a document, for tests and look-ups."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for value in document.values():
            yield from texts(value)
    elif isinstance(document, (list, tuple)):
        for value in document:
            yield from texts(value)
