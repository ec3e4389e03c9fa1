"""A provider as its customers meet it: takes calls, and tells what became of them in deliveries that it signs."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from infrastructure.provider_table import Factory

PAYLOADS = Path(__file__).parents[1] / "payloads"
# What the payloads are about.
EMAIL, RECIPIENT = "0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01", "8b7d2a6e-92c4-4a0e-8a53-0d9f5a1c7e11"
ADDRESS = "ada@example.com"

Word = Literal["delivered", "bounced", "opened"]


@dataclass(frozen=True, slots=True)
class Letter:
    """One call that a provider got, by what it carried."""

    email_id: str
    recipient_id: str | None  # None: the call was for several
    addresses: tuple[str, ...]
    message_id: str  # as the provider answered, or would have
    token: str = ""  # of the bounce address


@dataclass(frozen=True, slots=True)
class Post:
    """One delivery at /hooks."""

    headers: Mapping[str, str]
    body: bytes


class Office(Protocol):
    """Where a provider takes calls."""

    @property
    def url(self) -> str:
        """The provider's URL, for POSTLEDGER_PROVIDERS."""
        ...

    @property
    def letters(self) -> list[Letter]:
        """What was taken, or at least read to the end, so far."""
        ...

    def fall_silent(self) -> None:
        """The next call is read and never answered."""
        ...


@dataclass(frozen=True, slots=True)
class Teller:
    """What one provider does in its own way."""

    kind: str
    url: Callable[[str, float], str]  # host and port, timeout in seconds
    office: Callable[[float], AbstractAsyncContextManager[Office]]  # timeout of the calls, in seconds
    make: Factory
    event: Callable[[Word, Letter, str, datetime], bytes]  # about that address, at that time
    sign: Callable[[bytes, datetime, str], Post]  # what it says, now, under which id
    words: tuple[Word, ...] = ("delivered", "bounced", "opened")
    separate: bool = False  # whether each recipient gets a call of its own
    names: bool = True  # whether it says whom of several an event is about


def payload(path: str, changes: Mapping[str, str]) -> Any:
    """A payload file about something else."""
    text = (PAYLOADS / path).read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    return json.loads(text)


def about(letter: Letter, address: str) -> dict[str, str]:
    """Our ids and the address in place of those in the payloads."""
    return {EMAIL: letter.email_id, RECIPIENT: letter.recipient_id or RECIPIENT, ADDRESS: address}


def carried(variables: Mapping[str, str], letter: Letter) -> dict[str, str]:
    """What comes back of what was sent along: for several recipients no recipient's id."""
    return {name: value for name, value in variables.items() if letter.recipient_id or name != "pl_recipient_id"}


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
