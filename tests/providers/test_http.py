"""Calls over HTTP: each way in which one can go wrong, and whether it may have been acted upon."""

import asyncio
import gc
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import pytest

from application.errors import BlobMissing
from domain.delivery import ErrorClass
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from tests.providers.http_stub import Answered, Broken, HttpStub, json_answer
from tests.smtp_server import self_signed

T = TypeVar("T")
SECRET = "s3cr3t-key"  # noqa: S105 - made up
POST = Request("POST", "/emails", b'{"to": "ada@example.com"}', {"Content-Type": "application/json"})


def called(
    *reactions: Any, request: Request = POST, times: int = 1, timeout: float = 5
) -> tuple[list[Reply | Exception], HttpStub]:
    """What came of so many calls, one after the other."""
    stub = HttpStub(json_answer({"id": "x"}))
    stub.answers.extend(reactions)

    async def use(client: HttpClient) -> list[Reply | Exception]:
        return [await outcome(client, request) for _ in range(times)]

    return with_client(stub, use, timeout=timeout), stub


def with_client(stub: HttpStub, use: Callable[[HttpClient], Awaitable[T]], **options: Any) -> T:
    async def scenario() -> T:
        async with stub:
            client = HttpClient(f"http://{stub.host}", {"Authorization": f"Bearer {SECRET}"}, **options)
            try:
                return await use(client)
            finally:
                await client.close()

    return asyncio.run(scenario())


async def outcome(client: HttpClient, request: Request = POST) -> Reply | Exception:
    try:
        return await client.call(request)
    except (NotSent, AnswerLost) as trouble:
        return trouble


def at(base_url: str, request: Request = POST, **options: Any) -> Reply | Exception:
    """What comes of a call to somewhere else."""

    async def scenario() -> Reply | Exception:
        client = HttpClient(base_url, {}, **options)
        try:
            return await outcome(client, request)
        finally:
            await client.close()

    return asyncio.run(scenario())


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_the_answer_is_handed_over_whatever_it_is() -> None:
    for status in (200, 202, 302, 401, 422, 429, 500, 503):
        (reply,), stub = called(json_answer({"message": "ü"}, status, {"X-Request-ID": "r1"}))
        assert isinstance(reply, Reply)
        assert (reply.status, reply.headers["x-request-id"], reply.json()) == (status, "r1", {"message": "ü"})
        assert len(stub.requests) == 1


def test_the_request_arrives_as_it_was_made() -> None:
    _, stub = called(request=Request("POST", "/emails?a=b%2Bc", b"{}", {"X-Own": "1"}))
    (request,) = stub.requests
    assert (request.method, request.path, request.body) == ("POST", "/emails?a=b%2Bc", b"{}")
    assert (request.headers["authorization"], request.headers["x-own"]) == (f"Bearer {SECRET}", "1")
    assert request.headers["content-length"] == "2"


def test_a_request_without_a_body_has_none() -> None:
    (reply,), stub = called(request=Request("GET", "/domains"))
    assert isinstance(reply, Reply)
    assert "content-length" not in stub.requests[0].headers


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    (reply,), stub = called(Answered(307, {"Location": "/elsewhere"}))
    assert isinstance(reply, Reply)
    assert (reply.status, len(stub.requests)) == (307, 1)


def test_cookies_are_not_kept() -> None:
    _, stub = called(Answered(200, {"Set-Cookie": "server=7; Path=/"}), times=2)
    assert "cookie" not in stub.requests[1].headers


def test_an_answer_too_long_is_cut_and_does_not_run_into_the_next() -> None:
    (first, second), _ = called(Answered(200, body=b"x" * (6 << 20)), times=2)
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (len(first.body), second.json()) == (4 << 20, {"id": "x"})


@pytest.mark.parametrize("url", ["http://stub.evil.test/emails", "http://", "emails", "", "//evil.test/emails"])
def test_no_other_host_is_ever_called(url: str) -> None:
    """A `next` page that leads elsewhere would be given our key."""
    stub = HttpStub()

    async def use(client: HttpClient) -> Reply | Exception:
        return await outcome(client, Request("GET", url.replace("stub", stub.host)))

    got = with_client(stub, use)
    if url.startswith("//"):
        assert [request.path for request in stub.requests] == [url]
    else:
        assert isinstance(got, NotSent)
        assert stub.connections == 0


def test_a_whole_url_below_the_base_is_called() -> None:
    stub = HttpStub()

    async def use(client: HttpClient) -> Reply:
        return await client.call(Request("GET", f"http://{stub.host}/emails?page=2"))

    assert with_client(stub, use).status == 200
    assert stub.requests[0].path == "/emails?page=2"


# -- certainly not sent ------------------------------------------------------------------------------------------------


def test_refused() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert isinstance(at(f"http://127.0.0.1:{nobody.getsockname()[1]}"), NotSent)


@pytest.mark.parametrize("url", ["http://nowhere.invalid", f"http://{'x' * 64}.test", "http://[::1", "ftp://127.0.0.1"])
def test_a_host_that_does_not_exist(url: str) -> None:
    assert isinstance(at(url), NotSent)


def test_a_header_that_cannot_be_written() -> None:
    (got,), stub = called(request=Request("POST", "/", b"{}", {"X-Key": f"{SECRET}\r\n"}))
    assert isinstance(got, NotSent)
    assert stub.requests == []


def test_no_connection_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, and says nothing in the TLS handshake
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        assert isinstance(at(url, connect_timeout=0.2), NotSent)
        assert isinstance(at(url, timeout=0.2), NotSent)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_a_certificate_that_nobody_vouches_for(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca, tls = certificate

    async def scenario() -> None:
        async with HttpStub(tls=tls) as stub:
            for context, kind in ((None, NotSent), (ssl.create_default_context(cafile=ca), Reply)):
                client = HttpClient(f"https://localhost:{stub.port}", {}, tls=context)
                assert isinstance(await outcome(client), kind)
                await client.close()
            assert len(stub.requests) == 1

    asyncio.run(scenario())


def test_tls_to_a_server_that_speaks_none() -> None:
    async def scenario() -> None:
        async with HttpStub() as stub:
            client = HttpClient(f"https://{stub.host}", {}, timeout=0.3)
            assert isinstance(await outcome(client), NotSent)
            await client.close()

    asyncio.run(scenario())


# -- in doubt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken", [Broken.RESET_AFTER_REQUEST, Broken.RESET_IN_ANSWER, Broken.GARBAGE, Broken.SILENCE, Broken.RESET_IN_BODY]
)
def test_a_request_that_may_have_been_read_is_in_doubt_and_never_repeated(broken: Broken) -> None:
    (got, after), stub = called(broken, times=2, timeout=0.2)
    assert isinstance(got, AnswerLost)
    assert isinstance(after, Reply)
    assert len(stub.requests) == (1 if broken is Broken.RESET_IN_BODY else 2)


def test_a_connection_that_ends_before_anything_is_read_is_told_apart_only_where_it_can_be() -> None:
    (got,), stub = called(Broken.RESET_ON_CONNECT)
    assert isinstance(got, NotSent | AnswerLost)
    assert stub.requests == []


@pytest.mark.parametrize(("size", "meaning"), [(1 << 10, AnswerLost), (16 << 20, NotSent)])
def test_a_body_that_nobody_reads_is_in_doubt_when_its_end_was_handed_over(size: int, meaning: type[Exception]) -> None:
    """Closing a connection still delivers what it was given."""

    async def scenario() -> Reply | Exception:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            client = HttpClient(f"http://127.0.0.1:{deaf.getsockname()[1]}", {}, timeout=0.2)
            got = await outcome(client, Request("POST", "/", b"x" * size))
        await asyncio.sleep(0.05)  # the connection is reset, and what was left of the body dropped
        await client.close()
        return got

    assert isinstance(asyncio.run(scenario()), meaning)


# -- streamed bodies ---------------------------------------------------------------------------------------------------


async def stream(*chunks: bytes, then: Exception | asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if isinstance(then, asyncio.Event):
        await then.wait()
    elif then is not None:
        raise then


def streamed(*chunks: bytes, length: int | None, then: Exception | asyncio.Event | None = None) -> Request:
    return Request("POST", "/emails", stream(*chunks, then=then), length=length)


@pytest.mark.parametrize("chunks", [[b"x" * 65_536] * 16, [b"", b"a", b"", b"b", b""], [b"x"], []])
@pytest.mark.parametrize("said", [True, False])
def test_a_streamed_body_arrives_whole(chunks: list[bytes], said: bool) -> None:
    whole = b"".join(chunks)
    (reply,), stub = called(request=streamed(*chunks, length=len(whole) if said else None))
    assert isinstance(reply, Reply)
    assert stub.requests[0].body == whole
    assert stub.requests[0].headers.get("content-length") == (str(len(whole)) if said else None)


@pytest.mark.parametrize("length", [200_000, 100_000, None])
@pytest.mark.parametrize("error", [BlobMissing(), OSError("disk"), TimeoutError()])
def test_what_a_stream_raises_comes_out_and_nothing_was_sent(length: int | None, error: Exception) -> None:
    stub = HttpStub()

    async def use(client: HttpClient) -> None:
        with pytest.raises(type(error)) as caught:
            await client.call(streamed(b"x" * 99_999, b"x", length=length, then=error))
        assert caught.value is error
        assert (await client.call(POST)).status == 200

    with_client(stub, use)
    assert [request.body for request in stub.requests] == [POST.body]


@pytest.mark.parametrize("length", [99_999, 100_001, 1])
def test_a_body_of_another_length_than_it_said_is_not_sent(length: int) -> None:
    (got,), stub = called(request=streamed(b"x" * 50_000, b"x" * 50_000, length=length))
    assert isinstance(got, NotSent)
    assert [request for request in stub.requests if len(request.body) != 1] == []


def test_a_connection_lost_in_the_middle_of_a_body_is_not_sent() -> None:
    async def use(client: HttpClient) -> Reply | Exception:
        return await outcome(client, streamed(b"a", b"b", length=3, then=asyncio.Event()))

    stub = HttpStub()
    stub.answers.append(Broken.RESET_IN_BODY)
    assert isinstance(with_client(stub, use), NotSent)


def test_a_body_that_does_not_end_in_time_is_not_sent() -> None:
    async def use(client: HttpClient) -> Reply | Exception:
        return await outcome(client, streamed(b"a", b"b", length=3, then=asyncio.Event()))

    assert isinstance(with_client(HttpStub(), use, timeout=0.2), NotSent)


def test_an_answer_that_comes_before_the_body_has_ended_counts() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def scenario() -> Reply | Exception:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        client = HttpClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}, timeout=5)
        got = await outcome(client, streamed(b"a", b"b", length=3, then=asyncio.Event()))
        await client.close()
        server.close()
        return got

    got = asyncio.run(scenario())
    assert isinstance(got, Reply)
    assert got.status == 401


# -- connections -------------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again() -> None:
    replies, stub = called(times=5)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert (len(stub.requests), stub.connections) == (5, 1)


def test_a_connection_that_the_server_has_closed_is_replaced_without_notice() -> None:
    stub = HttpStub()

    async def use(client: HttpClient) -> None:
        await client.call(POST)
        stub.hang_up()
        await asyncio.sleep(0.05)  # the news has arrived
        assert (await client.call(POST)).status == 200

    with_client(stub, use)
    assert (len(stub.requests), stub.connections) == (2, 2)


@pytest.mark.parametrize("rounds", range(6))
def test_a_connection_closed_while_a_post_is_on_its_way_is_never_posted_to_twice(rounds: int) -> None:
    """So many rounds of the event loop lie between the server's close and the POST."""
    stub = HttpStub()

    async def use(client: HttpClient) -> Reply | Exception:
        await client.call(POST)
        stub.hang_up()
        for _ in range(rounds):
            await asyncio.sleep(0)
        got = await outcome(client)
        await asyncio.sleep(0.02)
        return got

    got = with_client(stub, use)
    assert len(stub.requests) == (2 if isinstance(got, Reply) else 1)


def test_a_connection_found_closed_as_the_body_is_written_is_not_sent() -> None:
    stub = HttpStub()

    async def use(client: HttpClient) -> Reply | Exception:
        await client.call(POST)

        async def body() -> AsyncIterator[bytes]:
            stub.hang_up()
            await asyncio.sleep(0.05)
            yield b"{}"

        return await outcome(client, Request("POST", "/emails", body(), length=2))

    assert isinstance(with_client(stub, use), NotSent)
    assert len(stub.requests) == 1


def test_no_more_connections_than_allowed_and_each_request_once() -> None:
    stub = HttpStub(Answered(200, delay=0.01))

    async def use(client: HttpClient) -> list[Reply | Exception]:
        requests = [Request("POST", f"/{number}", b"{}") for number in range(40)]
        return await asyncio.gather(*(outcome(client, request) for request in requests))

    replies = with_client(stub, use, connections=4)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert stub.connections == 4
    assert sorted(int(request.path[1:]) for request in stub.requests) == list(range(40))


def test_waiting_for_a_connection_does_not_use_up_the_time_of_a_call() -> None:
    stub = HttpStub(Answered(200, delay=0.1))

    async def use(client: HttpClient) -> list[Reply | Exception]:
        return await asyncio.gather(*(outcome(client) for _ in range(6)))

    replies = with_client(stub, use, connections=1, timeout=0.4, connect_timeout=0.3)
    assert all(isinstance(reply, Reply) for reply in replies)


def test_a_cancelled_call_is_cancelled_and_leaves_no_half_used_connection() -> None:
    stub = HttpStub()
    stub.answers.append(Broken.SILENCE)

    async def use(client: HttpClient) -> None:
        call = asyncio.create_task(client.call(POST))
        while not stub.requests:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.call(POST)).status == 200

    with_client(stub, use, connections=1)
    assert stub.connections == 2


def test_a_closed_client_can_be_closed_again_and_opens_anew() -> None:
    stub = HttpStub()

    async def use(client: HttpClient) -> None:
        for _ in range(2):
            await client.call(POST)
            await client.close()
            await client.close()

    with_client(stub, use)
    assert stub.connections == 2


# -- what stays inside -------------------------------------------------------------------------------------------------


def test_the_environment_names_no_proxy_and_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (reply,), stub = called()
    assert isinstance(reply, Reply)
    assert stub.requests[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("broken", list(Broken))
def test_no_error_shows_what_was_sent(broken: Broken) -> None:
    request = Request("POST", "/emails?to=ada@example.com", POST.body, {"X-Key": SECRET})
    (got,), _ = called(*repeat(broken, 1), request=request, timeout=0.2)
    assert isinstance(got, Exception)
    shown = "".join(traceback.format_exception(got)) + repr(got) + repr(request) + repr(HttpClient("http://x", {}))
    assert SECRET not in shown
    assert "ada@example.com" not in shown


def test_nothing_is_left_open() -> None:
    called(*Broken, times=len(Broken) + 1, timeout=0.2)
    gc.collect()  # an unclosed connection or stream would warn, and warnings are errors


def test_what_no_answer_means_for_an_email() -> None:
    assert no_answer(NotSent("X")).error_class is ErrorClass.TRANSIENT
    assert no_answer(AnswerLost("X")).in_doubt


# -- who was held up ---------------------------------------------------------------------------------------------------


def test_whether_it_may_go_out_is_asked_when_all_but_its_end_is_on_the_way() -> None:
    """After connecting, and after what is read while it is sent."""
    stub, seen = HttpStub(Answered(200)), list[int]()

    def still_ours() -> bool:
        seen.append(stub.connections)
        return len(seen) != 3

    async def chunks() -> AsyncIterator[bytes]:
        yield b"1234"
        seen.append(-1)
        yield b"5678"

    async def use(client: HttpClient) -> list[Reply]:
        replies = [await client.call(POST, still_ours)]
        with pytest.raises(NotSent, match="lease_lost"):
            await client.call(Request("POST", "/emails", chunks(), length=8), still_ours)
        return [*replies, await client.call(Request("POST", "/emails", b"x" * 300_000), still_ours)]

    first, second = with_client(stub, use)
    assert (first.status, second.status, len(stub.requests)) == (200, 200, 2)
    assert [len(request.body) for request in stub.requests] == [25, 300_000]
    assert seen == [1, -1, 1, 2]
