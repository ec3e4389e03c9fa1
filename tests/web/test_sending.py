"""POST /emails: what is accepted, under which key, and what comes back."""

import base64
import hashlib
from uuid import UUID

import pytest

from tests.web.conftest import Api, email
from tests.web.world import KEY, OTHER_KEY


def test_an_email_is_accepted_with_its_id_place_and_position(api: Api) -> None:
    response = api.post("/emails", json=email())
    id = response.json()["id"]
    assert response.status_code == 202
    assert response.headers["location"] == f"/emails/{id}"
    assert response.headers["postledger-position"] == "1"
    assert "idempotent-replayed" not in response.headers


def test_an_accepted_email_can_be_read_at_once(api: Api) -> None:
    attachment = {"filename": "note.txt", "content": base64.b64encode(b"note").decode()}
    fields = {
        "to": ["Bob <bob@example.com>", "eve@example.com"],
        "cc": "carl@example.com",
        "reply_to": "Desk <desk@example.com>",
        "html": "<p>Hi.</p>",
        "tags": [{"name": "kind", "value": "welcome"}],
        "metadata": {"order": "17"},
        "scheduled_at": "in 5 minutes",
        "attachments": [attachment],
    }
    shown = api.get(f"/emails/{api.send(**fields)}").json()
    assert shown["object"] == "email"
    assert shown["from"] == "Ada <ada@example.com>"
    assert (shown["to"], shown["cc"], shown["bcc"]) == (fields["to"], ["carl@example.com"], [])
    assert shown["reply_to"] == ["Desk <desk@example.com>"]
    assert (shown["html"], shown["text"]) == ("<p>Hi.</p>", "Hi.")
    assert shown["last_event"] == shown["status"] == "scheduled"
    assert shown["scheduled_at"] == "2026-03-01T12:05:00Z"
    assert shown["created_at"] == "2026-03-01T12:00:00Z"
    assert shown["message_id"] == f"<{shown['id']}@example.com>"
    assert shown["tags"] == fields["tags"]
    assert shown["metadata"] == {"order": "17"}
    assert shown["attempts"] == 0
    assert [r["status"] for r in shown["recipients"]] == ["pending"] * 3
    sha256 = hashlib.sha256(b"note").hexdigest()
    assert shown["attachments"] == [{"name": "note.txt", "size": 4, "type": "text/plain", "sha256": sha256}]


def test_an_email_whose_content_was_purged_is_shown_without_it(api: Api) -> None:
    id = api.send()
    api.run(api.world.purge(id))
    shown = api.get(f"/emails/{id}").json()
    assert (shown["html"], shown["text"]) == (None, None)
    assert shown["subject"] == "Hello"


@pytest.mark.parametrize(("first", "again"), [("abc", "abc"), ("abc", '"abc"'), ('"a\\"b"', 'a"b')])
def test_the_same_key_and_body_give_the_first_answer_again(api: Api, first: str, again: str) -> None:
    one = api.post("/emails", json=email(), headers={"Idempotency-Key": first})
    two = api.post("/emails", json=email(), headers={"Idempotency-Key": again})
    assert two.json() == one.json()
    assert two.headers["idempotent-replayed"] == "true"
    assert two.headers["postledger-position"] == one.headers["postledger-position"]
    assert api.run(api.world.ledger.position()) == 1


def test_the_same_key_with_another_body_is_a_conflict(api: Api) -> None:
    api.post("/emails", json=email(), headers={"Idempotency-Key": "k"})
    response = api.post("/emails", json=email(subject="Other"), headers={"Idempotency-Key": "k"})
    assert response.status_code == 409
    assert response.json()["name"] == "invalid_idempotent_request"
    assert api.run(api.world.ledger.position()) == 1


def test_a_key_is_one_tenants_own(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    mine = api.post("/emails", json=email(), headers=headers)
    other = api.post("/emails", json=email(), headers={**headers, "Authorization": f"Bearer {OTHER_KEY}"})
    assert other.status_code == 202
    assert other.json() != mine.json()


@pytest.mark.parametrize("key", ["", '""', "a" * 257, "schlüssel".encode(), '"open', '"a" b', "tab\there"])
def test_a_key_that_cannot_be_one_is_refused(api: Api, key: str | bytes) -> None:
    response = api.post("/emails", json=email(), headers=[(b"Idempotency-Key", _bytes(key))])
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


def test_two_different_keys_on_one_request_are_refused(api: Api) -> None:
    headers = [(b"Idempotency-Key", b"a"), (b"Idempotency-Key", b"b")]
    assert api.post("/emails", json=email(), headers=headers).status_code == 422


def test_the_request_id_is_what_the_events_are_followed_by(api: Api) -> None:
    id = "0b0e7f6a-4b5c-4d7e-8f90-a1b2c3d4e5f6"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = api.post("/emails", json=email(), headers={"X-Request-Id": id, "traceparent": trace})
    event = api.run(api.world.ledger.load(UUID(response.json()["id"])))[0].event
    assert response.headers["x-request-id"] == id == str(event.correlation_id)
    assert event.traceparent == trace


@pytest.mark.parametrize("trace", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "é"])
def test_a_malformed_trace_or_request_id_is_replaced_not_kept(api: Api, trace: str) -> None:
    headers = [(b"traceparent", trace.encode()), (b"x-request-id", trace.encode())]
    response = api.post("/emails", json=email(), headers=headers)
    event = api.run(api.world.ledger.load(UUID(response.json()["id"])))[0].event
    assert event.traceparent is None
    assert response.headers["x-request-id"] == str(event.correlation_id)


def test_the_actor_is_a_fingerprint_never_the_key(api: Api) -> None:
    id = api.send()
    entry = api.get(f"/emails/{id}/events").json()["data"][0]
    assert entry["actor"] == f"api:{hashlib.sha256(KEY.encode()).hexdigest()[:8]}"


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
