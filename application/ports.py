"""The roles that the outside has to play, as Protocols. Adapters live in `infrastructure`."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

from domain.answer import Answer
from domain.content import Content
from domain.events import AttachmentRef, EmailDeliveryStarted, EmailQueued, Event, Priority, Recipient
from domain.feedback import Feedback
from domain.provider_state import ProviderState

Clock = Callable[[], datetime]  # an aware UTC datetime
Chance = Callable[[], float]  # a number in [0, 1)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the one global order."""

    position: int
    topic: str  # as stored, which may be an older version than the event's class
    event: Event


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for an event that this version of the code cannot read."""

    position: int
    topic: str
    stream_id: UUID
    version: int  # in its stream
    reason: str  # never the data


@dataclass(frozen=True, slots=True)
class Part:
    """One of `of` equal parts of all streams (16 at most), told by the last hex digit of their ids."""

    number: int
    of: int

    def has(self, stream_id: UUID) -> bool:
        return (stream_id.int & 15) % self.of == self.number


WHOLE = Part(0, 1)


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A content row: written in the transaction of the EmailQueued that refers to it."""

    email_id: UUID
    body: bytes
    blobs: tuple[str, ...] = ()  # sha256 of each attachment; what the orphan sweep must leave alone


class Ledger(Protocol):
    """The event store."""

    async def append(self, events: Sequence[Event], contents: Sequence[StoredContent] = ()) -> int:
        """Commit the events (of one or several streams) and their contents together, or nothing.

        Returns the position of the last one. Raises StreamConflict when a stream already has such a version, and
        StoreUnavailable when the store cannot be reached or is full. Does not return before the commit is durable.
        """
        ...

    async def load(self, stream_id: UUID) -> list[Recorded]:
        """A stream's whole history in order; empty when there is none. Many callers share one query."""
        ...

    async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
        """The next events of all streams in the global order. `topics` keeps only these, with or without `.vN`."""
        ...

    async def position(self) -> int:
        """The position of the newest event, 0 when there is none."""
        ...

    async def wait(self, after: int, timeout: float) -> None:
        """Return when something newer than `after` may be there, or after `timeout` seconds."""
        ...


class Log(Ledger, Protocol):
    """The event store for those who follow all of it."""

    async def scan(self, after: int, limit: int, part: Part = WHOLE) -> list[Recorded | Unreadable]:
        """As `read`, of one part of the streams, and what cannot be read is named instead of raised."""
        ...


class ContentStore(Protocol):
    """The deletable side of the ledger."""

    async def load_content(self, email_id: UUID) -> Content | None:
        """None when it was purged (or never was). Many callers share one query."""
        ...


class BlobStore(Protocol):
    """Attachments under the sha256 (hex) of their bytes. Raises BlobStoreUnavailable."""

    async def put(self, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store durably and return (sha256, size). Storing the same bytes again is harmless and renews their age."""
        ...

    async def get(self, sha256: str) -> bytes:
        """The bytes. Raises BlobMissing."""
        ...

    def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes in chunks of some 64 KiB. Raises BlobMissing before the first."""
        ...

    def list(self) -> AsyncIterator[tuple[str, datetime]]:
        """Every blob with the time of its last put."""
        ...

    async def delete(self, sha256: str, unless_put_after: datetime) -> bool:
        """Delete it, unless it was put again after that time. Returns whether it was deleted."""
        ...


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """All a provider needs for one attempt. Every attempt of one email renders to the same bytes."""

    email: EmailQueued
    attempt: EmailDeliveryStarted
    content: Content
    date: datetime  # the Date header: fixed when the email became due
    blobs: BlobStore
    only: frozenset[UUID] | None = None  # of the attempt's recipients, those whose fate is still to be found out
    doubt: str | None = None  # in a look-up: why it is not known what became of the attempt
    tracking: bool = True  # False: the provider's own tracking of opens and clicks is to be off
    still_ours: Callable[[], bool] = field(default=lambda: True, repr=False)  # False: whatever is not sent must not be
    recipients: tuple[Recipient, ...] = field(init=False)  # to reach in this attempt: the envelope, not the headers

    def __post_init__(self) -> None:
        wanted = self.only if self.only is not None else set(self.attempt.recipients)
        object.__setattr__(self, "recipients", tuple(r for r in self.email.recipients if r.id in wanted))

    @property
    def message_id(self) -> str:
        """The Message-ID header, stable for the email, angle brackets included."""
        return message_id(self.email)

    async def read(self, attachment: AttachmentRef) -> bytes:
        return await self.blobs.get(attachment.sha256)

    def stream(self, attachment: AttachmentRef) -> AsyncIterator[bytes]:
        """The bytes, a chunk at a time. Raises BlobMissing before the first."""
        return self.blobs.stream(attachment.sha256)


def message_id(email: EmailQueued) -> str:
    """`<email id@sender's domain>`, the domain in A-labels."""
    domain = email.sender.domain
    return f"<{email.originator_id}@{domain if domain.isascii() else domain.encode('idna').decode()}>"


class Misconfigured(str):
    """What is wrong with a provider until an operator mends it: credentials, the account, a domain."""

    __slots__ = ()


class EmailProvider(Protocol):
    """One way to send email. `send` never raises for what a provider or network may do: that is an Answer."""

    name: str  # as configured
    separate: bool  # whether each recipient gets a call, and a message id, of its own

    async def send(self, message: OutgoingMessage) -> Answer: ...

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        """Evidence about an earlier attempt: what was taken, an empty Answer for "not there", None for "no telling"."""
        ...

    async def check(self) -> str | None:
        """A cheap authenticated call; None when all is well, else what is wrong, without secrets.

        It is Misconfigured where that is not over by waiting.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Hook:
    """A delivery that claims to come from a provider: a webhook call, a queue's message, a bounce."""

    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)
    received_at: datetime


@runtime_checkable
class FeedbackSource(Protocol):
    """A provider that tells what became of a message. Most EmailProviders are one as well."""

    name: str

    async def verify(self, hook: Hook) -> str:
        """Make sure that the provider sent this, before anything in it is believed.

        Returns the key of the delivery, the same for every repetition of it by the provider. Raises Untrusted, and
        VerificationUnavailable when it cannot be told now.
        """
        ...

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        """What a verified delivery says. Pure; never raises: what it cannot read is one Feedback, IGNORED."""
        ...

    async def follow_up(self, hook: Hook) -> None:
        """Do what a stored delivery asks for besides being recorded, such as confirming a subscription."""
        ...


class SuppressionList(Protocol):
    """Who must not be sent to."""

    async def rules(self, tenant: str, stream: str, addresses: Sequence[str]) -> Mapping[str, str]:
        """Of these addresses, those that no mail of this stream may go to, each with the rule that says so."""
        ...


@dataclass(frozen=True, slots=True)
class ListedSuppression:
    """An entry of a provider's own suppression list."""

    address: str = field(repr=False)
    cause: Literal["bounce", "complaint", "unsubscribe", "manual", "invalid"]
    listed_at: datetime | None = None
    words: str = field(default="", repr=False)


@runtime_checkable
class SuppressionSource(Protocol):
    """A provider whose suppression list can be read."""

    def suppressions(self) -> AsyncIterator[ListedSuppression]:
        """The whole list, page by page. Raises ProviderTrouble."""
        ...


Room = Callable[[str, str], int]  # lane and tenant -> how many more emails of these may be claimed; 0 closes them


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker asks the dispatch queue for."""

    worker: str
    limit: int
    lease: timedelta
    priorities: Sequence[Priority]
    room: Room


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of the dispatch queue that this worker alone may act on until `until`."""

    email_id: UUID
    until: datetime
    tenant: str
    lane: str = ""  # what it had to wait for when somebody last looked at it


class DispatchQueue(Protocol):
    """The emails that are due, shared by all workers through leases."""

    async def claim(self, wanted: Wanted, now: datetime) -> list[Claim]:
        """Take due emails nobody holds: by priority, then from every tenant its share, then by due time."""
        ...

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        """Keep holding these while a slow provider answers; returns those that still were this worker's."""
        ...

    async def put_back(self, worker: str, email_ids: Sequence[UUID], lane: str, until: datetime | None = None) -> None:
        """Give these back into the lane of what they have to wait for: as due as before, or not before `until`."""
        ...

    async def next_due(self, now: datetime, priorities: Sequence[Priority]) -> datetime | None:
        """When after `now` the next row comes due, or the claim on one ends; None when there is none."""
        ...

    async def wait(self, timeout: float) -> None:
        """Return when the queue may have changed, or after `timeout` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `period`."""

    count: int
    period: timedelta


@dataclass(frozen=True, slots=True)
class Want:
    """A share of something limited, by a rate, or by how many may be under way at once."""

    key: str  # `provider:main`, `tenant:shop`, `domain:gmail.com`
    amount: int = 1
    rate: Rate | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which limit stands in the way, and when asking again is worth while."""

    key: str
    until: datetime


class Limits(Protocol):
    """What all processes use up together. Raises StoreUnavailable."""

    async def take(self, holder: UUID, wants: Sequence[Want], now: datetime, until: datetime) -> Refusal | None:
        """Use up all of it, or nothing, naming what stands in the way.

        Slots are the holder's until it gives them back, or until `until`. A holder that asks again for a slot it has,
        has it.
        """
        ...

    async def give_back(self, holder: UUID) -> None:
        """The holder's slots are free. What a rate counted stays counted."""
        ...

    async def keep(self, holders: Sequence[UUID], until: datetime) -> None:
        """These go on holding their slots."""
        ...

    async def pause(self, key: str, until: datetime) -> None:
        """Refuse everybody this key before then: the provider asked for it. Never shortens a longer pause."""
        ...


@runtime_checkable
class LimitSource(Protocol):
    """A provider that says how much it takes."""

    async def limits(self) -> Sequence[Rate]:
        """The rates for the next minute; a count of 0 means nothing goes. Raises ProviderTrouble."""
        ...


class ProviderStates(Protocol):
    """How the providers stand, as far as this process knows: at most about a second behind."""

    def of(self, provider: str) -> ProviderState:
        """A provider nobody ever said anything about is well."""
        ...

    async def observe(self, provider: str, answer: Answer) -> None:
        """A send call was answered. Records it when the provider thereby breaks down or recovers. Never raises."""
        ...
