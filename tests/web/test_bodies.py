"""How much a body may weigh, found out while it arrives, and clients that leave half-way."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.types import Message

from tests.web.conftest import Api, email
from tests.web.server import Server
from tests.web.world import KEY

LIMIT = 1 << 20
HEADERS = {"Content-Type": "application/json"}
REQUEST = f"POST /emails HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65536


@pytest.mark.parametrize("path", ["/emails", "/emails/batch"])
def test_an_endless_body_is_cut_off_at_the_limit(api: Api, path: str) -> None:
    response = api.post(path, content=endless(), headers=HEADERS)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert str(LIMIT) in response.json()["detail"]


def test_a_body_of_the_limit_itself_is_read(api: Api) -> None:
    assert api.post("/emails", content=b" " * LIMIT, headers=HEADERS).json()["code"] == "invalid_json"
    assert api.post("/emails", content=b" " * (LIMIT + 1), headers=HEADERS).json()["code"] == "body_too_large"


def test_a_large_email_is_accepted(api: Api) -> None:
    id = api.send(html="x" * 600_000)
    assert len(api.get(f"/emails/{id}").json()["html"]) == 600_000


def test_too_large_is_said_before_the_body_has_arrived(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{REQUEST}Content-Length: {LIMIT + 1}\r\n\r\n{{".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_cut_off_while_it_arrives(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{REQUEST}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        connection.sendall(chunk * (LIMIT // 65536) + b"1\r\n \r\n")  # one byte more, and no end
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_half_way_is_no_error(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b'{"to":', "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/emails", "query_string": b"", "headers": headers}
    api.run(api.app(scope, receive, send))
    assert sent == []
    assert caplog.records == []


def test_an_answer_to_head_has_no_body(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


def test_the_same_body_in_pieces_is_the_same_body(api: Api) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for character in str(email()).replace("'", '"').encode():
            yield bytes([character])

    assert api.post("/emails", content=pieces(), headers=HEADERS).status_code == 202
