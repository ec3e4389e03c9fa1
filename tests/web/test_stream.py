"""GET /events/stream over a real connection: following, resuming, and ending."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from application.errors import StoreUnavailable
from tests.web.conftest import email
from tests.web.server import Server
from tests.web.world import KEY, OTHER_KEY

MINE = {"Authorization": f"Bearer {KEY}"}
Event = dict[str, str]


def send(server: Server, key: str = KEY, **fields: Any) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    response = httpx2.post(f"{server.url}/emails", json=email(**fields), headers=headers)
    return str(response.json()["id"])


@contextmanager
def following(server: Server, **headers: str) -> Iterator[Iterator[Event]]:
    """The stream's events as they arrive. It has begun when this yields."""
    query = headers.pop("query", "")
    with (
        httpx2.Client(timeout=20) as client,
        client.stream("GET", f"{server.url}/events/stream{query}", headers={**MINE, **headers}) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    event: Event = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            event[name] = value
        elif event:
            yield event
            event = {}


def test_a_stream_starts_now_and_tells_what_happens(server: Server) -> None:
    send(server)
    with following(server) as events:
        id = send(server)
        event = next(events)
    assert (event["id"], event["event"]) == ("2", "email.queued.v2")
    assert json.loads(event["data"])["subject"] == id


def test_a_stream_resumes_after_the_last_event_it_gave(server: Server) -> None:
    for _ in range(3):
        send(server)
    with following(server, **{"Last-Event-ID": "1"}) as events:
        assert [next(events)["id"], next(events)["id"]] == ["2", "3"]
    with following(server, query="?after=2") as events:
        assert next(events)["id"] == "3"
    with following(server, query="?after=0", **{"Last-Event-ID": "2"}) as events:
        assert next(events)["id"] == "3"  # a browser that reconnects repeats its first URL


def test_a_stream_gives_the_types_and_the_tenant_asked_for_only(server: Server) -> None:
    with following(server, query="?types=email.cancelled") as events:
        send(server, OTHER_KEY)
        id = send(server, scheduled_at="in 1 hour")
        httpx2.post(f"{server.url}/emails/{id}/cancel", headers=MINE)
        assert next(events)["event"] == "email.cancelled.v1"


def test_streams_end_when_the_service_stops(server: Server) -> None:
    with following(server) as events:
        server.stop()
        assert list(events) == []


def test_a_stream_ends_when_its_store_goes_away(server: Server) -> None:
    with following(server) as events:
        send(server)
        assert next(events)["id"] == "1"
        server.world.ledger.trouble = StoreUnavailable()
        server.world.changed.notify()
        assert list(events) == []


def test_a_surprise_ends_a_stream_and_is_recorded_without_what_it_says(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with following(server) as events:
        server.world.ledger.trouble = RuntimeError("bob@example.com")
        server.world.changed.notify()
        with pytest.raises(httpx2.RemoteProtocolError):  # cut off, not ended: the client knows to come back
            list(events)
    server.stop()
    assert "RuntimeError" in caplog.text
    assert "bob@example.com" not in caplog.text


def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    before = threading.active_count()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            request = f"GET /events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
            connection.sendall(request.encode())
            assert b"200 OK" in connection.recv(1000)
    server.stop()  # waits for every response to end
    assert threading.active_count() <= before


@pytest.mark.parametrize("id", ["", "x", "-1", "9" * 30])
def test_an_event_id_that_is_none_is_refused(server: Server, id: str) -> None:
    response = httpx2.get(f"{server.url}/events/stream", headers={**MINE, "Last-Event-ID": id})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Last-Event-ID")
