"""A mail that a stranger sent us, taken apart as far as a report about a delivery needs it.

The standard library's parser is not used. Five megabytes of empty lines inside nested parts take it a minute, and
parts nested deeply enough end in a RecursionError. This one takes time linear in the mail, looks at a bounded number
of parts, levels and fields, and reads anything as something.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import islice

_MOST_LEVELS = 6
_MOST_PARTS = 60
_MOST_LINES = 1000  # of a header
_LONGEST_FIELD = 4000  # characters
_LONGEST_TEXT = 64 * 1024  # bytes
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9-]+)="?([^";]*)')
_ORIGINAL = frozenset(
    (
        *("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"),
        "message/rfc822-headers",  # not registered, and yet seen
    )
)
# Where a notice that is no report goes on with a copy of what it is about: a line of dashes and words, as qmail, Exim
# and sendmail write it, or the first line of a header.
_COPY = re.compile(
    r"^(?:-{2,}+.*\b(?:copy|original|follows|returned|unsent)\b.*$|(?=(?:Return-Path|Received|Message-ID):))",
    re.I | re.M,
)

Fields = Mapping[str, str]  # names in lower case; of a field that stands there several times, the first


@dataclass(frozen=True)
class Part:
    """The mail itself, or a MIME part of it. Line ends are LF."""

    fields: Fields
    body: bytes

    @classmethod
    def of(cls, entity: bytes) -> "Part":
        if entity.startswith(b"\n"):
            return cls({}, entity[1:])
        head, _, body = entity.partition(b"\n\n")
        return cls(fields(head), body)

    @cached_property
    def media_type(self) -> str:
        found = _MEDIA_TYPE.match(self.fields.get("content-type", "").lower())
        return found[0] if found else "text/plain"

    def parameter(self, name: str) -> str:
        """A parameter of the content type, `` when it is not there."""
        found = _PARAMETER.findall(self.fields.get("content-type", ""))
        return next((value.strip() for known, value in found if known.lower() == name), "")

    @cached_property
    def content(self) -> bytes:
        """The body, its transfer encoding undone where that is possible."""
        encoding = self.fields.get("content-transfer-encoding", "").lower()
        try:
            if encoding.startswith("base64"):
                return a2b_base64(self.body).replace(b"\r\n", b"\n")
            return a2b_qp(self.body) if encoding.startswith("quoted-printable") else self.body
        except Error:
            return self.body

    def walk(self, levels: int = _MOST_LEVELS) -> Iterator["Part"]:
        """This part, and those in it. What is inside an attached message belongs to that message."""
        yield self
        boundary = self.parameter("boundary")
        if levels and boundary and self.media_type.startswith("multipart/"):
            for entity in _divided(self.body, boundary.encode()):
                yield from Part.of(entity).walk(levels - 1)


@dataclass(frozen=True)
class ReceivedMail:
    """A whole mail. The first of its parts is the mail itself."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, mail: bytes) -> "ReceivedMail":
        return cls(tuple(islice(Part.of(mail.replace(b"\r\n", b"\n")).walk(), _MOST_PARTS)))

    @property
    def fields(self) -> Fields:
        return self.parts[0].fields

    def part(self, *media_types: str) -> Part | None:
        return next((part for part in self.parts if part.media_type in media_types), None)

    @cached_property
    def original(self) -> Fields:
        """The header of the message that this mail is about, as far as it was sent back."""
        part = self.part(*_ORIGINAL)
        if part is not None:
            return fields(part.content.lstrip(b"\n").partition(b"\n\n")[0])
        return fields(self._told[1].encode().lstrip(b"\n").partition(b"\n\n")[0])

    @property
    def words(self) -> str:
        """What it says to human readers."""
        return self._told[0]

    @cached_property
    def _told(self) -> tuple[str, str]:
        """The first text in it: the notice, and the copy of a message that may stand below."""
        part = next((each for each in self.parts if each.media_type in ("text/plain", "text/html")), None)
        notice = text(part.content[:_LONGEST_TEXT]) if part else ""
        found = _COPY.search(notice)
        return (notice[: found.start()], notice[found.end() :]) if found else (notice, "")


def fields(head: bytes) -> Fields:
    """A header, or a block of fields in a report. Lines that belong to no field are passed over."""
    found: dict[str, str] = {}
    name = ""
    for line in text(head[:_LONGEST_TEXT]).split("\n", _MOST_LINES)[:_MOST_LINES]:
        if line[:1] in (" ", "\t"):
            if name and len(found[name]) < _LONGEST_FIELD:
                found[name] = f"{found[name]} {line.strip()}"
            continue
        written, colon, value = line.partition(":")
        name = written.strip().lower() if colon else ""
        if name in found:
            name = ""  # a repetition, and what continues it
        elif name:
            found[name] = value.strip()[:_LONGEST_FIELD]
    return found


def text(data: bytes) -> str:
    """Bytes as text, whatever charset they claim to be in: the words to look for are ASCII in almost any."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def moment(written: str | None) -> datetime | None:
    """A date as mail has it; one without an offset is taken for UTC."""
    try:
        found = parsedate_to_datetime((written or "")[:100])
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _divided(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """The entities between the lines that are a boundary; the last one may lack its end."""
    delimiter = b"\n--" + boundary
    entity: list[bytes] | None = None
    for piece in (b"\n" + body).split(delimiter, _MOST_LINES)[1:]:
        rest, _, inside = piece.partition(b"\n")
        if rest.strip(b" \t\r") in (b"", b"--"):
            if entity is not None:
                yield b"".join(entity)
            if rest.startswith(b"--"):
                return
            entity = [inside]
        elif entity is not None:  # some other boundary, which begins like this one
            entity += [delimiter, piece]
    if entity is not None:
        yield b"".join(entity)
