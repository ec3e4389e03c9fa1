"""The commands, as their senders write them. `SendEmail` follows the public shape of Resend's API."""

import base64
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from application.errors import InvalidField
from application.fields import NO_NUL, ONE_LINE, Address, Addresses, Label, MetadataKey, Moment
from application.policies import PolicyWishes
from domain.events import Priority, Resolution, Stamp, Tag

MAX_RECIPIENTS = 50
MAX_ATTACHMENT_BYTES = 40 * 1024 * 1024  # of one email, decoded, all together
MAX_SCHEDULE = timedelta(days=30)
MAX_BATCH = 100
_CHUNK = 1 << 20  # base64 characters decoded at a time; a multiple of 4
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

_COMMAND = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)
_HEADER_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 ftext: printable ASCII without the colon
# What the message itself is made of; an author who could set these could forge another message.
_RESERVED = frozenset(
    {"from", "to", "cc", "bcc", "subject", "date", "sender", "reply-to", "message-id", "mime-version"}
    | {"return-path", "received", "dkim-signature", "x-postledger-email-id"}
)


class TagInput(Tag):
    """A label to find and count emails by. Not for personal data: tags travel to providers."""

    name: Label
    value: Label


class AttachmentInput(BaseModel):
    """A file, its bytes in base64."""

    model_config = _COMMAND

    filename: Annotated[str, Field(min_length=1, max_length=255), ONE_LINE]
    content: Annotated[str, Field(repr=False, description="The bytes, base64-encoded.")]
    content_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$", max_length=127)] | None = None
    content_id: Annotated[str, Field(pattern=r"^[!-;=?-~]+$", max_length=127)] | None = Field(
        default=None,
        validation_alias=AliasChoices("content_id", "inline_content_id"),  # Resend's older word for it
        description='Makes it an inline image: `<img src="cid:…">`.',
    )

    @field_validator("content", mode="before")
    @classmethod
    def _bytes_as_list(cls, value: object) -> object:
        # Resend's Python SDK documents `list(open(...).read())`: a JSON array of byte values.
        if isinstance(value, list) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
            return base64.b64encode(bytes(value)).decode()
        return value

    @field_validator("content")
    @classmethod
    def _base64(cls, value: str) -> str:
        """Checked here, where the field's place in the request is still known; decoded only when it is stored."""
        padding = value.encode("ascii", "replace").translate(None, _BASE64)  # ten times faster than decoding
        if len(value) % 4 or padding not in (b"", b"=", b"==") or not value.endswith(padding.decode()):
            raise PydanticCustomError("base64", "is not valid base64")
        return value

    @property
    def decoded_size(self) -> int:
        """The size in bytes once decoded, without decoding."""
        return len(self.content) * 3 // 4 - self.content[-2:].count("=")

    def chunks(self) -> Iterator[bytes]:
        """The decoded bytes, a chunk at a time."""
        for start in range(0, len(self.content), _CHUNK):
            yield base64.b64decode(self.content[start : start + _CHUNK])


class PolicyInput(PolicyWishes):
    """How hard to try for this email; what is left out comes from the service's settings."""


class SendEmail(BaseModel):
    """Send one email to up to 50 recipients."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    sender: Address = Field(alias="from", description="`address`, or `Name <address>`.")
    to: Annotated[Addresses, Field(min_length=1, description="One or many; to, cc and bcc at most 50 together.")]
    cc: Addresses = ()
    bcc: Addresses = ()
    reply_to: Addresses = ()
    subject: Annotated[
        str, Field(max_length=998, description="At most 998 characters (RFC 5322).", repr=False), ONE_LINE
    ]
    html: str | None = Field(
        default=None, repr=False, description="The message as HTML. Either this or text is needed."
    )
    text: str | None = Field(default=None, repr=False, description="The message as plain text.")
    headers: Annotated[
        dict[str, str], Field(max_length=100, repr=False, description="Further headers; none that other fields make.")
    ] = {}
    tags: Annotated[tuple[TagInput, ...], Field(max_length=50, description="To find and count emails by.")] = ()
    attachments: Annotated[tuple[AttachmentInput, ...], Field(description="At most 40 MB in all, decoded.")] = ()
    scheduled_at: Moment | None = Field(
        default=None,
        description="When to send, at most 30 days ahead: ISO 8601 with an offset, or `in 5 minutes`. Else now.",
    )
    expires_at: Moment | None = Field(
        default=None, description="After this it is not sent any more: written like scheduled_at."
    )
    metadata: Annotated[
        dict[MetadataKey, Annotated[str, Field(max_length=1000), NO_NUL]],
        Field(max_length=50, repr=False, description="Your own key-value pairs, kept with the email, never sent."),
    ] = {}
    priority: Annotated[Priority, Field(description="Who goes first when there is a queue.")] = Priority.NORMAL
    stream: Annotated[Label, Field(description="What kind of mail this is, such as `transactional`.")] = "transactional"
    delivery_policy: PolicyInput | None = Field(
        default=None, description="How hard to try; what is left out comes from the service's settings."
    )

    @field_validator("headers")
    @classmethod
    def _safe_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or len(name) > 76:
                raise PydanticCustomError(
                    "header_name", "has a name that is not a header name: {name}", {"name": repr(name[:80])}
                )
            if name.lower() in _RESERVED or name.lower().startswith("content-"):
                raise PydanticCustomError(
                    "header_reserved", "must not set {name}: it is made from the other fields", {"name": name}
                )
            if any(character in value for character in "\r\n\0"):
                raise PydanticCustomError("line_break", "must not contain CR, LF or NUL: {name}", {"name": name})
            if len(value) > 10_000:
                raise PydanticCustomError(
                    "header_length", "has a value of over 10,000 characters: {name}", {"name": name}
                )
        return headers

    @model_validator(mode="after")
    def _whole(self) -> "SendEmail":
        if len(self.to) + len(self.cc) + len(self.bcc) > MAX_RECIPIENTS:
            raise PydanticCustomError("too_many_recipients", "must not name over 50 recipients, cc and bcc included")
        if not self.html and not self.text:
            raise PydanticCustomError("missing_body", "or text is needed")
        if sum(attachment.decoded_size for attachment in self.attachments) > MAX_ATTACHMENT_BYTES:
            raise PydanticCustomError("attachments_too_large", "must not be larger than 40 MB in all")
        return self


class Reschedule(BaseModel):
    """Move an email that has not gone out to another time."""

    model_config = _COMMAND

    scheduled_at: Moment


class Retry(BaseModel):
    """Send an email again to those who have not got it."""

    model_config = _COMMAND

    reason: Annotated[str, Field(min_length=1, max_length=1000, repr=False), ONE_LINE]
    priority: Priority | None = None
    provider: str | None = Field(default=None, description="Through this one, by its name; by default, by its route.")


class Resolve(BaseModel):
    """Settle an attempt in doubt: the provider took it, or it did not (and it is sent again)."""

    model_config = _COMMAND

    resolution: Literal["accepted", "not_accepted"]
    reason: Annotated[str, Field(min_length=1, max_length=1000, repr=False), ONE_LINE]

    @property
    def as_resolution(self) -> Resolution:
        return Resolution(self.resolution)


class Caller(NamedTuple):
    """Who sends a command, and what led to it."""

    tenant: str
    actor: str
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None

    def stamp(self, now: datetime) -> Stamp:
        return Stamp(now, self.actor, self.correlation_id, self.causation_id, self.traceparent)


class Receipt(NamedTuple):
    """The answer to a command: which email, and up to where a reader has to read to see it."""

    id: UUID
    position: int
    replayed: bool = False


def check_times(command: SendEmail, now: datetime) -> dict[str, datetime]:
    """`send_at` and `expires_at`, as far as given, as points in time. Raises InvalidField."""
    times: dict[str, datetime] = {}
    if command.scheduled_at is not None:
        times["send_at"] = check_send_at(command.scheduled_at, now)
    if command.expires_at is not None:
        times["expires_at"] = moment(command.expires_at, now)
        if times["expires_at"] <= times.get("send_at", now):
            raise InvalidField("expires_at", "must lie in the future, and after scheduled_at")
    return times


def check_send_at(scheduled_at: datetime | timedelta, now: datetime) -> datetime:
    """The time to send at, at most 30 days ahead. Raises InvalidField."""
    at = moment(scheduled_at, now)
    if at > now + MAX_SCHEDULE:
        raise InvalidField("scheduled_at", "must not be more than 30 days ahead")
    return at


def moment(value: datetime | timedelta, now: datetime) -> datetime:
    """The point in time that a `Moment` means."""
    return now + value if isinstance(value, timedelta) else value
