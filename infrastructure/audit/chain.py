"""The hash chain: what is hashed of an event, and how each hash holds all before it. docs/audit.md is for outsiders.

    leaf(event)  = SHA-256("postledger event 1\\n" + for each field: its length in 4 bytes, big endian, and its bytes)
    chain(event) = SHA-256(chain(the event before) + leaf(event))

The chain begins with the log's id: 32 random bytes. So it does not depend on how the log is cut into blocks.
"""

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

_LEAF = b"postledger event 1\n"
_length = Struct(">I").pack
HASH = 32  # bytes
ENTRY = 8 + HASH  # bytes: position, leaf


class Stored(NamedTuple):
    """An event as it lies in the store, unread."""

    position: int
    stream: bytes  # 32 lower-case hex digits
    version: bytes  # decimal digits
    topic: bytes
    state: bytes
    odd: bytes = b""  # the types of these four, where they are others than the ledger writes

    @property
    def fields(self) -> tuple[bytes, ...]:
        fields = (b"%d" % self.position, *self[1:5])
        return (*fields, self.odd) if self.odd else fields

    def at(self, position: int) -> "Stored":
        """The same event at another position."""
        return self._replace(position=position)


class Entry(NamedTuple):
    """What a block keeps of an event."""

    position: int
    leaf: bytes


def leaf(stored: Stored) -> bytes:
    parts = [_LEAF]
    for part in stored.fields:
        parts += (_length(len(part)), part)
    return sha256(b"".join(parts)).digest()


def link(chain: bytes, leaf: bytes) -> bytes:
    """The chain's hash after this leaf."""
    return sha256(chain + leaf).digest()


def linked(chain: bytes, entries: Iterable[Entry]) -> bytes:
    """The chain's hash after all of these."""
    for entry in entries:
        chain = sha256(chain + entry.leaf).digest()
    return chain


def entry(stored: Stored) -> Entry:
    return Entry(stored.position, leaf(stored))


def pack(entries: Iterable[Entry]) -> bytes:
    return b"".join(entry.position.to_bytes(8, "big", signed=True) + entry.leaf for entry in entries)


def unpack(packed: bytes) -> list[Entry]:
    """Whole entries; an incomplete one at the end is left out."""
    starts = range(0, len(packed) - ENTRY + 1, ENTRY)
    return [Entry(int.from_bytes(packed[i : i + 8], "big", signed=True), packed[i + 8 : i + ENTRY]) for i in starts]
