"""Variable envelope return paths: a bounce address that names one recipient of one email, and proves that we made it.

A bounce is mail, and anybody can write one. `bounces+TOKEN@bounces.example.com` is known to us and to the servers that
had the message, so whoever can name a token that verifies has had it in hand.

A token is 45 characters of base32 (RFC 4648) without padding, in lower case, for some servers fold the case of local
parts: the email's id (16 bytes), the recipient's number (2 bytes), and 10 bytes of an HMAC-SHA256 over both.
"""

import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from domain.ids import recipient_id

LENGTH = 45
PATTERN = f"[A-Za-z2-7]{{{LENGTH}}}"  # what may be a token

_SIGNED = 18  # bytes
_SIGNATURE = 10  # bytes
_PADDING = "==="
_MOST_RECIPIENTS = 1 << 16
_CANDIDATE = re.compile(rb"(?<![A-Za-z0-9])%b(?![A-Za-z0-9])" % PATTERN.encode())
_MOST_CANDIDATES = 1000  # an attachment's base64 may have a few by chance; nobody gets us to hash for seconds


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a token names."""

    email_id: UUID
    recipient_id: UUID


def index_of(email_id: UUID, recipient: UUID) -> int | None:
    """The recipient's number, from its id; None for an id that was not made by `domain.ids.recipient_id`."""
    index = (email_id.int ^ recipient.int) - 1
    return index if 0 <= index < _MOST_RECIPIENTS else None


def make(key: bytes, email_id: UUID, index: int) -> str:
    """The token for an email's recipient number `index`, which is below 65536."""
    signed = email_id.bytes + index.to_bytes(2, "big")
    return _text(signed + _signature(key, signed))


def read(token: str) -> Named | None:
    """Whom the token names, if it tells the truth."""
    return _named(data) if (data := _data(token)) else None


def verify(keys: Iterable[bytes], token: str) -> Named | None:
    """Whom the token names; None unless one of the keys signed it."""
    if (data := _data(token)) is None:
        return None
    signed, signature = data[:_SIGNED], data[_SIGNED:]
    genuine = [hmac.compare_digest(_signature(key, signed), signature) for key in keys]
    return _named(data) if any(genuine) else None


def candidates(text: bytes) -> Iterator[str]:
    """Whatever looks like a token, in the order of the text, each once. Takes time linear in the text."""
    found = islice(_CANDIDATE.finditer(text), _MOST_CANDIDATES)
    return iter(dict.fromkeys(match[0].decode().lower() for match in found))


def _signature(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, "sha256")[:_SIGNATURE]


def _text(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()


def _data(token: str) -> bytes | None:
    """The token's bytes. The last character has a bit to spare: only one of its two spellings is ours."""
    if len(token) != LENGTH:
        return None
    try:
        data = b32decode(token.upper() + _PADDING)
    except ValueError:  # of which binascii.Error is one; another is for what is not ASCII
        return None
    return data if _text(data) == token.lower() else None


def _named(data: bytes) -> Named:
    email_id = UUID(bytes=data[:16])
    return Named(email_id, recipient_id(email_id, int.from_bytes(data[16:_SIGNED], "big")))
