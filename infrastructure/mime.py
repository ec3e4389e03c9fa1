"""An outgoing message as the bytes that go over the wire (RFC 5322, MIME, CRLF, 7-bit).

The same email always gives the same bytes: boundaries come from its id, the date from its due time. It is written by
hand because `EmailMessage` takes milliseconds to fold and refold headers; the standard library's parser checks it in
the tests.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime

from application.ports import OutgoingMessage
from domain.events import AttachmentRef
from infrastructure.mime_headers import address_field, author_fields, clean, field, parameter

_LONGEST_LINE = 998  # RFC 5322 section 2.1.1, without CRLF
_TOO_LONG = re.compile(rb"[^\n]{%d}" % _LONGEST_LINE)
_BASE64_LINE = 57  # bytes that make 76 characters
_WORD = r"[A-Za-z0-9!#$&^_.+-]+"
_CONTENT_TYPE = re.compile(rf'{_WORD}/{_WORD}(?:; ?{_WORD}=(?:{_WORD}|"[ !#-\[\]-~]*"))*')
_BYTES = "application/octet-stream"
_NOT_IN_A_CONTENT_ID = re.compile(r"[^!-;=?-~]")


@dataclass(frozen=True, slots=True)
class _Part:
    """A MIME entity: its own header fields and its encoded body. Both end in CRLF, if not empty."""

    head: str
    body: bytes

    def __bytes__(self) -> bytes:
        return self.head.encode() + b"\r\n" + self.body


def build_mime(
    message: OutgoingMessage, attachments: Sequence[tuple[AttachmentRef, bytes]], *, smtputf8: bool = True
) -> bytes:
    """The whole message; `attachments` are the email's, in their order, with their bytes.

    The result is 7-bit, except that addresses with a non-ASCII local part stand in UTF-8. `smtputf8=False` is for a
    server that does not take those: the result is then 7-bit in any case.
    """
    root = _root(message, attachments)
    return (_header(message, smtputf8=smtputf8) + root.head).encode() + b"\r\n" + root.body


def _header(message: OutgoingMessage, *, smtputf8: bool) -> str:
    email = message.email
    reply_to = [(mailbox.name, mailbox.address) for mailbox in email.reply_to]
    visible = [
        address_field(name, [(r.name, r.address) for r in email.recipients if r.kind == kind], smtputf8=smtputf8)
        for name, kind in (("To", "to"), ("Cc", "cc"))
    ]
    return "".join(
        (
            f"Date: {format_datetime(message.date.astimezone(UTC))}\r\n",
            address_field("From", [(email.sender.name, email.sender.address)], smtputf8=smtputf8),
            *(visible if any(visible) else ["To: undisclosed-recipients:;\r\n"]),
            address_field("Reply-To", reply_to, smtputf8=smtputf8),
            field("Subject", email.subject),
            f"Message-ID: {clean(message.message_id)}\r\n",
            f"X-Postledger-Email-Id: {email.originator_id}\r\n",
            author_fields(message.content.headers.items(), ["reply-to"] if reply_to else []),
            "MIME-Version: 1.0\r\n",
        )
    )


def _root(message: OutgoingMessage, attachments: Sequence[tuple[AttachmentRef, bytes]]) -> _Part:
    """The tree of parts: mixed( alternative( text, related( html, inline… ) ), attachment… ), no level without need."""
    key, content = message.email.originator_id.hex, message.content
    inline = [pair for pair in attachments if pair[0].content_id and content.html is not None]
    loose = [pair for pair in attachments if not pair[0].content_id or content.html is None]
    bodies: list[_Part] = []
    if content.text is not None or content.html is None:
        bodies.append(_text("plain", content.text or ""))
    if content.html is not None:
        html = _text("html", content.html)
        bodies.append(_multipart("related", key, [html, *(_file(*pair, "inline") for pair in inline)]))
    body = _multipart("alternative", key, bodies)
    return _multipart("mixed", key, [body, *(_file(*pair, "attachment") for pair in loose)])


def _multipart(subtype: str, key: str, parts: Sequence[_Part]) -> _Part:
    """The parts under one boundary; a single part stays as it is.

    `=_` cannot occur in quoted-printable or base64, and `_text` encodes whatever has it: no body holds a boundary.
    """
    if len(parts) == 1:
        return parts[0]
    boundary = f"=_{subtype}_{key}"
    line = f"--{boundary}\r\n".encode()
    body = b"".join(line + bytes(part) for part in parts) + f"--{boundary}--\r\n".encode()
    kind = '\r\n type="text/html";' if subtype == "related" else ""  # RFC 2387 wants the root's type
    return _Part(f'Content-Type: multipart/{subtype};{kind}\r\n boundary="{boundary}"\r\n', body)


def _text(subtype: str, text: str) -> _Part:
    data = _crlf(text).encode()
    encoding, body = _encoded(data)
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return _Part(head, body)


def _crlf(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return (text if text.endswith("\n") else text + "\n").replace("\n", "\r\n")


def _encoded(data: bytes) -> tuple[str, bytes]:
    """The lightest encoding that is 7-bit, keeps lines short and cannot hold one of our boundaries."""
    if data.isascii() and b"=_" not in data and b"\0" not in data and not _TOO_LONG.search(data):
        return "7bit", data
    quoted = b2a_qp(data)
    if len(quoted) <= len(data) * 1.4:
        return "quoted-printable", quoted
    return "base64", _base64(data)


def _base64(data: bytes) -> bytes:
    view = memoryview(data)
    lines = (b2a_base64(view[at : at + _BASE64_LINE], newline=False) for at in range(0, len(data), _BASE64_LINE))
    return b"".join(line + b"\r\n" for line in lines)


def _file(attachment: AttachmentRef, data: bytes, disposition: str) -> _Part:
    identity = _NOT_IN_A_CONTENT_ID.sub("", attachment.content_id or "")[:900]
    head = (
        f"Content-Type: {_content_type(attachment.content_type)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: {disposition}{parameter('filename', attachment.filename)}\r\n"
    )
    return _Part(head + (f"Content-ID: <{identity}>\r\n" if identity else ""), _base64(data))


def _content_type(wanted: str) -> str:
    """As wanted when it is one; a message or multipart may not be base64 (RFC 2046), so it travels as plain bytes."""
    composite = wanted.lower().startswith(("message/", "multipart/"))
    return wanted if len(wanted) < _LONGEST_LINE // 2 and _CONTENT_TYPE.fullmatch(wanted) and not composite else _BYTES
