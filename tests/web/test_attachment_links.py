"""GET /attachments: a link is the permission to one file, for a time; without a genuine one nothing is told."""

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator, Iterator, MutableMapping
from datetime import timedelta
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.attachment_links import AttachmentLinks, Link
from infrastructure.web.attachments import disposition
from tests.web.conftest import Api, email
from tests.web.server import Server
from tests.web.world import KEY, LINK_KEY, START

ANYBODY = {"Authorization": ""}
FILE = b"%PDF-1.7 \x00\xff" * 40_000  # several chunks
LINKS = AttachmentLinks("https://mail.example.com", [LINK_KEY], timedelta(days=30))


def attached(name: str = "invoice.pdf", content_type: str = "application/pdf", data: bytes = FILE) -> dict[str, Any]:
    return {"filename": name, "content": base64.b64encode(data).decode(), "content_type": content_type}


def sent(api: Api, **fields: Any) -> tuple[str, str]:
    """An email with one attachment: its id, and the path its link leads to."""
    id = api.send(attachments=[attached(**fields)])
    sha256 = api.get(f"/emails/{id}").json()["attachments"][0]["sha256"]
    return id, path_of(LINKS.url(UUID(id), sha256, START))


def path_of(url: str) -> str:
    assert url.startswith("https://mail.example.com/")
    return url.removeprefix("https://mail.example.com")


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_whoever_has_a_link_gets_the_file_as_a_harmless_download(api: Api) -> None:
    _, path = sent(api)
    answer = api.get(path, headers=ANYBODY)
    assert (answer.status_code, answer.content) == (200, FILE)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(len(FILE))
    assert answer.headers["content-disposition"] == "attachment; filename=\"invoice.pdf\"; filename*=UTF-8''invoice.pdf"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("part", ["email", "file", "expires", "signature", "no signature", "no query", "long"])
def test_a_link_that_was_changed_is_refused(api: Api, part: str) -> None:
    id, path = sent(api)
    other, _ = sent(api, name="other.pdf", data=b"other")
    changed = {
        "email": path.replace(id, other),
        "file": re.sub("/[0-9a-f]{64}", f"/{'0' * 64}", path),
        "expires": path.replace("expires=1", "expires=2"),
        "signature": path[:-1] + ("A" if path[-1] != "A" else "B"),
        "no signature": path.partition("&")[0],
        "no query": path.partition("?")[0],
        "long": f"{path}{'A' * 4000}",
    }[part]
    assert changed != path
    assert problem(api.get(changed, headers=ANYBODY)) == (403, "invalid_link")


def test_a_link_is_over_after_its_time(api: Api) -> None:
    _, path = sent(api)
    api.world.clock.pass_time(timedelta(days=30) - timedelta(seconds=1))
    assert api.get(path, headers=ANYBODY).status_code == 200
    api.world.clock.pass_time(timedelta(seconds=1))
    assert problem(api.get(path, headers=ANYBODY)) == (410, "link_expired")
    late = path_of(LINKS.url(UUID(int=7), "0" * 64, START))
    assert problem(api.get(late, headers=ANYBODY)) == (410, "link_expired")


def test_what_was_purged_is_gone(api: Api) -> None:
    id, path = sent(api)
    api.run(api.world.purge(id))
    assert problem(api.get(path, headers=ANYBODY)) == (410, "attachment_gone")


def test_a_file_that_the_store_has_lost_is_gone(api: Api) -> None:
    _, path = sent(api)
    api.world.blobs._blobs.clear()
    assert problem(api.get(path, headers=ANYBODY)) == (410, "attachment_gone")


def test_a_genuine_link_to_nothing_is_not_found(api: Api) -> None:
    id, _ = sent(api)
    for email_id, sha256 in ((UUID(int=7), "0" * 64), (UUID(id), "0" * 64)):
        path = path_of(LINKS.url(email_id, sha256, START))
        assert problem(api.get(path, headers=ANYBODY)) == (404, "attachment_not_found")


def test_an_old_key_still_verifies_and_a_strange_one_does_not() -> None:
    id, new = UUID(int=1), b"another-key-that-signs"
    rotated = AttachmentLinks("https://mail.example.com", [new, LINK_KEY], timedelta(days=30))
    old, fresh = (links.url(id, "f" * 64, START) for links in (LINKS, rotated))
    assert rotated.genuine(link_of(old))
    assert rotated.genuine(link_of(fresh))
    assert not LINKS.genuine(link_of(fresh))


@given(st.text(), st.text(), st.text(), st.text())
def test_nobody_guesses_a_link(email_id: str, sha256: str, expires: str, signature: str) -> None:
    assert not LINKS.genuine(Link(email_id, sha256, expires, signature))


def test_no_part_of_a_link_can_be_moved_to_another() -> None:
    link = link_of(LINKS.url(UUID(int=1), "f" * 64, START))
    for moved in (
        Link(f"{link.email_id}\n{link.sha256}", link.expires, "", link.signature),
        Link(link.email_id + "\n", link.sha256, link.expires, link.signature),
        Link(link.email_id, link.sha256 + link.expires[:1], link.expires[1:], link.signature),
        Link(link.email_id.upper(), link.sha256, link.expires, link.signature + "="),
    ):
        assert not LINKS.genuine(moved)


def link_of(url: str) -> Link:
    parts = urlsplit(url)
    _, _, email_id, sha256 = parts.path.split("/")
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Link(email_id, sha256, asked["expires"], asked["signature"])


def test_a_service_without_a_public_address_has_no_links(api: Api) -> None:
    _, path = sent(api)
    object.__setattr__(api.world.service, "links", None)
    assert problem(api.get(path, headers=ANYBODY)) == (403, "invalid_link")


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml"])
def test_a_page_is_downloaded_and_not_shown(api: Api, content_type: str) -> None:
    _, path = sent(api, name="page.html", content_type=content_type, data=b"<script>alert(1)</script>")
    answer = api.get(path, headers=ANYBODY)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_an_empty_file_is_a_file(api: Api) -> None:
    _, path = sent(api, data=b"")
    assert api.get(path, headers=ANYBODY).content == b""


@pytest.mark.parametrize(
    ("name", "saved_as"),
    [
        ("übersicht 5%.pdf", "übersicht 5%.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x\\a.exe", "C_x_a.exe"),
        ('a"; filename="b.exe', "a_; filename=_b.exe"),
        ("invoice\u202efdp.exe", "invoice_fdp.exe"),
        ("...", "attachment"),
        ("a\r\nX: y", "a_X_ y"),
        ("😀" * 200 + ".pdf", "😀" * 146 + ".pdf"),
    ],
)
def test_a_name_is_only_a_name(name: str, saved_as: str) -> None:
    said = disposition(name)
    assert said.isascii()
    assert said.isprintable()
    read = Message()
    read["Content-Disposition"] = said
    assert read.get_content_disposition() == "attachment"
    assert read.get_filename() is not None
    assert bytes(said.partition("filename*=UTF-8''")[2], "ascii").decode() == _quoted(saved_as)


def _quoted(name: str) -> str:
    return "".join(c if re.fullmatch(r"[\w.~-]", c, re.A) else "".join(f"%{b:02X}" for b in c.encode()) for c in name)


@given(st.text())
def test_any_name_is_a_header(name: str) -> None:
    said = disposition(name.encode("utf-8", "replace").decode())
    assert said.isascii()
    assert said.isprintable()
    assert said.count('"') == 2


class Pieces:
    """A store that notes how far it was read, and stops half-way."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        try:
            for _ in range(1_000):
                self.given += 1
                yield b"x" * 65_536
        finally:
            self.closed = True


def test_a_file_is_never_whole_in_memory(api: Api) -> None:
    """64 MB in 1000 pieces: each is sent before the next is read."""
    _, path = sent(api)
    pieces, ahead = Pieces(), 0
    object.__setattr__(api.world.service, "blobs", pieces)
    seen = 0

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal seen, ahead
        seen += bool(message.get("body"))
        ahead = max(ahead, pieces.given - seen)

    async def receive() -> dict[str, Any]:
        raise AssertionError("a download has no body")

    api.run(api.app(scope("GET", path), receive, send))
    assert (seen, pieces.closed) == (1_000, True)
    assert ahead <= 1


def test_asking_for_the_head_reads_no_file(api: Api) -> None:
    _, path = sent(api)
    pieces = Pieces()
    object.__setattr__(api.world.service, "blobs", pieces)
    answer = api.request("HEAD", path, headers=ANYBODY)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(FILE))
    assert (pieces.given, pieces.closed) == (1, True)


def scope(method: str, path: str) -> dict[str, Any]:
    where, _, query = path.partition("?")
    return {"type": "http", "method": method, "path": where, "query_string": query.encode(), "headers": []}


class Heard(logging.Handler):
    """All that any logger passes on, down to what is for debugging."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


@pytest.fixture
def said() -> Iterator[Heard]:
    root, heard = logging.getLogger(), Heard()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    yield heard
    root.setLevel(level)
    root.removeHandler(heard)


def test_no_log_has_the_secret_of_a_link(server: Server, said: Heard) -> None:
    """Over a socket, with all there is in between, whatever comes of it."""
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        id = client.post("/emails", json=email(attachments=[attached()])).json()["id"]
        sha256 = client.get(f"/emails/{id}").json()["attachments"][0]["sha256"]
    path = path_of(LINKS.url(UUID(id), sha256, START))
    said.text = ""
    for asked in (path, path + "A"):
        status, body = asyncio.run(raw_get(server.port, asked))
        assert status == (200 if asked is path else 403)
        assert body.endswith(FILE) == (asked is path)
    server.world.blobs._blobs.clear()
    object.__setattr__(server.world.service, "contents", None)  # a surprise
    assert asyncio.run(raw_get(server.port, path))[0] == 500
    signature = parse_qs(urlsplit(path).query)["signature"][0]
    assert "answering a GET" in said.text
    assert signature not in said.text
    assert "expires=" not in said.text


async def raw_get(port: int, path: str) -> tuple[int, bytes]:
    """Without a client's own log."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer
