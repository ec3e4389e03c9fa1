"""GET /attachments/{email_id}/{sha256}: where the links of messages lead. Whoever has one may read that one file.

The link is all that is asked for, so nothing is told without a genuine one: not even whether the email is there. The
file comes from a stranger, and goes to a browser: it is handed over as a download that may do nothing.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from urllib.parse import quote
from uuid import UUID

from pydantic import Field
from starlette.types import Receive, Scope, Send

from application.attachment_links import Link, over
from application.errors import AttachmentNotFound, BlobMissing
from domain.events import AttachmentRef, EmailQueued
from infrastructure.web import query
from infrastructure.web.errors import AttachmentGone, InvalidLink, LinkExpired
from infrastructure.web.operation import Call
from infrastructure.web.reply import Header

_TYPE = re.compile(r"[A-Za-z0-9.+_-]{1,60}/[A-Za-z0-9.+_-]{1,60}")
_NOT_IN_A_NAME = re.compile('[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u200e\u200f\u2028-\u202e\u2066-\u2069]+')
_HARMLESS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex"),
    (b"cache-control", b"no-store"),
)


class LinkQuery(query.Query):
    """What proves a link."""

    expires: str = Field(default="", description="Until when it is good, in Unix seconds.")
    signature: str = Field(default="", description="Over email, file and time.")


class Download:
    """A file on its way, a chunk at a time."""

    def __init__(self, attachment: AttachmentRef, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first = first
        self._rest = rest
        known = _TYPE.fullmatch(attachment.content_type)
        self.raw_headers: list[Header] = [
            (b"content-type", attachment.content_type.encode() if known else b"application/octet-stream"),
            (b"content-length", b"%d" % attachment.size),
            (b"content-disposition", disposition(attachment.filename).encode()),
            *_HARMLESS,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for chunk in self._rest:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            if isinstance(self._rest, AsyncGenerator):
                await self._rest.aclose()  # which has the file open


async def download(call: Call) -> Download:
    """Download an attachment that a message has a link to. The link is the permission."""
    given = query.parse(call, LinkQuery)
    link = Link(call.path("email_id"), call.path("sha256"), given.expires, given.signature)
    if call.service.links is None or not call.service.links.genuine(link):
        raise InvalidLink
    if over(link, call.service.clock()):
        raise LinkExpired
    attachment = await _attachment(call, UUID(link.email_id), link.sha256)
    chunks = call.service.blobs.stream(attachment.sha256)
    try:
        return Download(attachment, await anext(chunks, b""), chunks)
    except BlobMissing:
        raise AttachmentGone from None


async def _attachment(call: Call, email_id: UUID, sha256: str) -> AttachmentRef:
    history = await call.service.ledger.load(email_id)
    queued = history[0].event if history else None
    if not isinstance(queued, EmailQueued):
        raise AttachmentNotFound
    found = next((each for each in queued.attachments if each.sha256 == sha256), None)
    if found is None:
        raise AttachmentNotFound
    if await call.service.contents.load_content(email_id) is None:
        raise AttachmentGone
    return found


def disposition(filename: str) -> str:
    """As a download of this name, in ASCII and as it is (RFC 6266), without what a file system takes for a path."""
    name = _NOT_IN_A_NAME.sub("_", filename).strip(" .")[-150:] or "attachment"
    plain = re.sub(r"[^ -~]|%", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
