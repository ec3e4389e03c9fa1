"""The form that a ready-made message goes to Mailgun in: multipart/form-data (RFC 7578), of a length known before."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Self

_CHUNK = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Form:
    """Short fields and one file. The same input, the same bytes."""

    boundary: str
    head: bytes = field(repr=False)
    file: bytes = field(repr=False)
    tail: bytes = field(repr=False)

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]], name: str, file: bytes, key: str) -> Self:
        """`key` is what the boundary is made of; values must be without line ends."""
        boundary = _boundary(key, file)
        head = "".join(_part(boundary, f'name="{field}"') + f"{value}\r\n" for field, value in fields)
        # A file name is a must: without one, Mailgun drops the part and says nothing (CONTRACTS 2.1).
        head += _part(boundary, f'name="{name}"; filename="{name}.eml"', "Content-Type: application/octet-stream\r\n")
        return cls(boundary, head.encode(), file, f"\r\n--{boundary}--\r\n".encode())

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int:
        """In bytes."""
        return len(self.head) + len(self.file) + len(self.tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.head
        for start in range(0, len(self.file), _CHUNK):
            yield self.file[start : start + _CHUNK]
        yield self.tail


def _boundary(key: str, file: bytes) -> str:
    """One that the file does not hold, even when its author knows how boundaries are made."""
    candidates = (hashlib.sha256(f"{key} {number}".encode()).hexdigest()[:32] for number in count())
    return next(f"postledger-{each}" for each in candidates if each.encode() not in file)


def _part(boundary: str, disposition: str, more: str = "") -> str:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n"
