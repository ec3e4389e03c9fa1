"""What goes over the wire, read back by the standard library's parser."""

import re
from collections.abc import Sequence
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import getaddresses
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.ports import OutgoingMessage
from domain.address import Mailbox
from domain.content import Content
from domain.events import AttachmentRef
from infrastructure.mime import build_mime
from tests.mail import EMAIL_ID, attach, outgoing

# What `clean` turns into a space is the subject of its own test; runs of spaces may be folded by a parser.
_PRINTED = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs"))
_WORDS = st.lists(st.text(_PRINTED, min_size=1, max_size=30), max_size=12).map(" ".join)
_LONG_WORDS = st.lists(st.text(_PRINTED, min_size=1, max_size=1200), max_size=4).map(" ".join)
_BODIES = st.text(st.characters(codec="utf-8"), max_size=3000)


def read(raw: bytes) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(raw)


def built(message: OutgoingMessage, attachments: Sequence[tuple[AttachmentRef, bytes]] = ()) -> EmailMessage:
    return read(build_mime(message, attachments))


def lines_of(text: str) -> list[str]:
    """A text's lines however they end; the line ends at the end of a body are partly the transport's."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def content_of(part: MIMEPart) -> str:
    data = cast(bytes, part.get_payload(decode=True))
    return data.decode()


def assert_fit_for_smtp(raw: bytes) -> None:
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", raw)
    assert raw.endswith(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_a_small_email_has_two_alternatives_and_our_headers() -> None:
    parsed = built(outgoing(["ada@example.com"], cc=["bob@example.com"], bcc=["eve@example.com"]))
    assert parsed["Message-ID"] == f"<{EMAIL_ID}@sender.example>"
    assert parsed["X-Postledger-Email-Id"] == str(EMAIL_ID)
    assert parsed["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert (parsed["To"], parsed["Cc"], parsed["Bcc"]) == ("ada@example.com", "bob@example.com", None)
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]


def test_blind_copies_are_named_nowhere() -> None:
    raw = build_mime(outgoing([], bcc=["eve@example.com"]), [])
    assert b"eve@" not in raw
    assert b"To: undisclosed-recipients:;\r\n" in raw


def test_the_header_names_all_recipients_whoever_this_attempt_is_for() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    later = message.attempt.model_copy(update={"recipients": message.attempt.recipients[1:], "attempt": 2})
    retry = OutgoingMessage(message.email, later, message.content, message.date, message.blobs)
    assert build_mime(retry, []) == build_mime(message, [])


@settings(deadline=None)
@given(_BODIES, _BODIES, _WORDS, _WORDS, st.uuids())
def test_every_attempt_builds_the_same_bytes(text: str, html: str, subject: str, name: str, email_id: UUID) -> None:
    content = Content(text=text, html=html, headers={"X-Campaign": name})
    files = [attach(text.encode(), subject), attach(b"png", "logo.png", "image/png", "logo")]
    first, second = (
        build_mime(
            outgoing(content=content, subject=subject, attachments=files, attempt=attempt, email_id=email_id), files
        )
        for attempt in (1, 7)
    )
    assert first == second


@settings(deadline=None)
@given(_BODIES, _BODIES)
def test_bodies_come_through_whatever_they_hold(text: str, html: str) -> None:
    raw = build_mime(outgoing(content=Content(text=text, html=html)), [])
    assert_fit_for_smtp(raw)
    assert raw.isascii()
    plain, rich = read(raw).iter_parts()
    assert lines_of(content_of(plain)) == lines_of(text)
    assert lines_of(content_of(rich)) == lines_of(html)


@pytest.mark.parametrize(
    "body",
    [
        "x" * 5000,
        ".\r\n..\r\n",
        "From here\nfrom there\n",
        "trailing blanks  \t\nmore \n",
        "nul \0 byte",
        "\rbare\rcarriage returns\r\r\n",
        "日本語" * 400,
        f"--=_alternative_{EMAIL_ID.hex}--\n",
        f"é --=_alternative_{EMAIL_ID.hex}--\n",
        "",
    ],
)
def test_awkward_bodies_come_through(body: str) -> None:
    raw = build_mime(outgoing(content=Content(text=body, html=f"<p>{body}</p>")), [])
    assert_fit_for_smtp(raw)
    plain, rich = read(raw).iter_parts()
    assert lines_of(content_of(plain)) == lines_of(body)
    assert lines_of(content_of(rich)) == lines_of(f"<p>{body}</p>")


@settings(deadline=None)
@given(_WORDS | _LONG_WORDS, _WORDS)
def test_subjects_and_custom_headers_come_through(subject: str, header: str) -> None:
    raw = build_mime(outgoing(subject=subject, content=Content(text="x", headers={"X-Note": header})), [])
    assert_fit_for_smtp(raw)
    assert raw.isascii()
    parsed = read(raw)
    assert parsed["Subject"] == subject
    assert parsed["X-Note"] == header


@settings(deadline=None)
@given(st.text(_PRINTED, min_size=1, max_size=30), _LONG_WORDS)
def test_names_come_through(short: str, long: str) -> None:
    sender = Mailbox(address="news@sender.example", name=short)
    raw = build_mime(outgoing(["ada@example.com", "bob@example.com"], names=[long, short], sender=sender), [])
    assert_fit_for_smtp(raw)
    assert mailboxes(raw, "From") == [(short, "news@sender.example")]
    assert mailboxes(raw, "To") == [(long, "ada@example.com"), (short, "bob@example.com")]


@settings(deadline=None)
@given(st.text(_PRINTED, min_size=1, max_size=120), st.integers(1, 60))
def test_encoded_words_hold_whole_characters_on_short_lines(text: str, length: int) -> None:
    """RFC 2047 section 2: at most 75 characters a word and 76 a line; each word can be decoded on its own."""
    people = [f"{'a' * length}@{kind}.example" for kind in ("to", "cc")]
    raw = build_mime(outgoing(people, names=[text, text], subject=text), [])
    for line in raw.partition(b"\r\n\r\n")[0].decode().split("\r\n"):
        words = re.findall(r"=\?utf-8\?[bq]\?[^? ]*\?=", line)
        assert not words or len(line) <= 76
        for word in words:
            assert len(word) <= 75
            (data, charset), *more = decode_header(word)
            assert data.decode(charset or "ascii")
            assert not more


def mailboxes(raw: bytes, name: str) -> list[tuple[str, str]]:
    """Through the old parser: the new one keeps the space between two encoded words of a name."""
    written = getaddresses([BytesParser(policy=policy.compat32).parsebytes(raw)[name]])
    return [(str(make_header(decode_header(shown))), address) for shown, address in written]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.sampled_from(["subject", "name", "header", "filename"]))
def test_no_field_can_start_another_one(hostile: str, where: str) -> None:
    hostile = f"x\r\nBcc: eve@example.com\n\nbody\0{hostile}"
    file = attach(b"data", hostile if where == "filename" else "a.txt")
    message = outgoing(
        subject=hostile if where == "subject" else "Hello",
        names=[hostile if where == "name" else "Ada"],
        content=Content(text="x", headers={"X-Note": hostile if where == "header" else "y"}),
        attachments=[file],
    )
    raw = build_mime(message, [file])
    assert_fit_for_smtp(raw)
    assert not re.search(rb"(?im)^bcc:", raw)


def test_headers_that_are_not_the_authors_are_left_out() -> None:
    theirs = {
        "Message-ID": "<forged@example.com>",
        "DATE": "yesterday",
        "from": "eve@example.com",
        "Bcc": "eve@example.com",
        "Content-Type": "text/x-evil",
        "DKIM-Signature": "v=1",
        "ARC-Seal": "i=1",
        "X-Postledger-Email-Id": "0",
        "Bad Name": "x",
        "Bad\r\nBcc": "x",
        "": "x",
        "List-Unsubscribe": "<https://example.com/u>",
    }
    parsed = built(outgoing(content=Content(text="x", headers=theirs)))
    assert parsed["List-Unsubscribe"] == "<https://example.com/u>"
    assert len(parsed.get_all("Message-ID", [])) == len(parsed.get_all("From", [])) == 1
    ours = {"date", "from", "to", "subject", "message-id", "x-postledger-email-id", "mime-version"}
    technical = {"content-type", "content-transfer-encoding"}
    assert {name.lower() for name in parsed} == ours | technical | {"list-unsubscribe"}


def test_a_reply_to_field_wins_over_a_reply_to_header() -> None:
    content = Content(text="x", headers={"Reply-To": "header@example.com"})
    field = (Mailbox(address="desk@example.com", name="Desk"),)
    assert built(outgoing(content=content, reply_to=field)).get_all("Reply-To") == ["Desk <desk@example.com>"]
    assert built(outgoing(content=content)).get_all("Reply-To") == ["header@example.com"]


def test_domains_are_written_as_a_labels() -> None:
    raw = build_mime(outgoing(["ada@bücher.example"], sender=Mailbox(address="post@bücher.example")), [])
    assert raw.isascii()
    assert read(raw)["To"] == "ada@xn--bcher-kva.example"
    assert read(raw)["Message-ID"] == f"<{EMAIL_ID}@xn--bcher-kva.example>"


def test_a_local_part_outside_ascii_stands_in_utf8() -> None:
    raw = build_mime(outgoing(["büro@bücher.example"], subject="Grüße"), [])
    assert "To: büro@bücher.example\r\n".encode() in raw
    assert b"Subject: =?utf-8?" in raw


def test_a_local_part_outside_ascii_is_only_named_to_servers_without_smtputf8() -> None:
    message = outgoing(["büro@bücher.example", "ada@example.com"], names=["Büro"])
    raw = build_mime(message, [], smtputf8=False)
    assert raw.isascii()
    assert [a.addr_spec for a in read(raw)["To"].addresses] == ["ada@example.com"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.text(_PRINTED, min_size=1, max_size=120), st.booleans()), max_size=4)
)
def test_attachments_come_through(files: list[tuple[bytes, str, bool]]) -> None:
    attachments = [
        attach(data, name, "image/png", f"part{index}@x" if inline else None)
        for index, (data, name, inline) in enumerate(files)
    ]
    raw = build_mime(outgoing(attachments=attachments), attachments)
    assert_fit_for_smtp(raw)
    assert raw.isascii()
    found = [part for part in read(raw).walk() if part.get_content_type() == "image/png"]
    wanted = sorted((name, data, inline) for data, name, inline in files)
    assert wanted == sorted(
        (
            cast(str, part.get_filename()),
            cast(bytes, part.get_payload(decode=True)),
            part.get_content_disposition() == "inline",
        )
        for part in found
    )


def test_the_tree_of_parts() -> None:
    files = [attach(b"png", "logo.png", "image/png", "<logo@x>"), attach(b"%PDF", "invoice.pdf")]
    parsed = built(outgoing(attachments=files), files)
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    image = next(part for part in parsed.walk() if part.get_content_type() == "image/png")
    assert image["Content-ID"] == "<logo@x>"


def test_an_inline_image_without_html_is_an_attachment() -> None:
    files = [attach(b"png", "logo.png", "image/png", "logo")]
    parsed = built(outgoing(content=Content(text="x"), attachments=files), files)
    assert parsed.get_content_type() == "multipart/mixed"
    assert [part.get_filename() for part in parsed.iter_attachments()] == ["logo.png"]


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("text/calendar; method=REQUEST; charset=utf-8", "text/calendar; method=REQUEST; charset=utf-8"),
        ("image/png\r\nBcc: eve@example.com", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
    ],
)
def test_content_types_are_checked(wanted: str, written: str) -> None:
    file = attach(b"data", "file", wanted)
    assert f"Content-Type: {written}\r\n".encode() in build_mime(outgoing(attachments=[file]), [file])
