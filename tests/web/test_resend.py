"""The official Resend SDK, unchanged, pointed at Postledger."""

from typing import Any

import pytest
import resend
from resend.exceptions import (
    ApplicationError,
    InvalidApiKeyError,
    MissingApiKeyError,
    MissingRequiredFieldsError,
    ResendError,
    ValidationError,
)

from application.errors import StoreUnavailable
from tests.web.server import Server
from tests.web.world import KEY

PARAMS: resend.Emails.SendParams = {
    "from": "Ada <ada@example.com>",
    "to": ["bob@example.com"],
    "subject": "Hello",
    "html": "<p>Hi.</p>",
}


@pytest.fixture(autouse=True)
def sdk(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(resend, "api_key", KEY)
    monkeypatch.setattr(resend, "api_url", server.url)
    return server


def changed(**fields: Any) -> resend.Emails.SendParams:
    params: Any = {**PARAMS, **fields}
    return params  # type: ignore[no-any-return]


def test_send_and_get() -> None:
    attachment: resend.Attachment = {"filename": "a.bin", "content": list(b"\x00\xff"), "inline_content_id": "logo"}
    fields = {"attachments": [attachment], "tags": [{"name": "kind", "value": "welcome"}], "reply_to": "d@example.com"}
    id = resend.Emails.send(changed(**fields))["id"]
    shown: Any = resend.Emails.get(id)
    assert (shown["id"], shown["from"], shown["to"]) == (id, "Ada <ada@example.com>", ["bob@example.com"])
    assert (shown["html"], shown["last_event"], shown["reply_to"]) == ("<p>Hi.</p>", "queued", ["d@example.com"])
    assert shown["attachments"][0]["size"] == 2


def test_an_idempotency_key_sends_once(sdk: Server) -> None:
    options: resend.Emails.SendOptions = {"idempotency_key": "welcome/17"}
    first, again = resend.Emails.send(PARAMS, options), resend.Emails.send(PARAMS, options)
    assert again["id"] == first["id"]
    assert sdk.run(sdk.world.ledger.position()) == 1
    with pytest.raises(ResendError) as caught:
        resend.Emails.send(changed(subject="Other"), options)
    assert (caught.value.code, caught.value.error_type) == (409, "invalid_idempotent_request")


def test_a_strict_batch() -> None:
    answer = resend.Batch.send([PARAMS, PARAMS], {"idempotency_key": "batch"})
    assert len({item["id"] for item in answer["data"]}) == 2
    with pytest.raises(ValidationError, match=r"\[1\]\.to\[0\]"):
        resend.Batch.send([PARAMS, changed(to="nobody")])


def test_a_permissive_batch() -> None:
    answer = resend.Batch.send([changed(to="nobody"), PARAMS], {"batch_validation": "permissive"})
    assert len(answer["data"]) == 1
    assert answer["errors"][0]["index"] == 0
    assert "to[0]" in answer["errors"][0]["message"]


def test_list_in_pages(sdk: Server) -> None:
    ids = [resend.Emails.send(PARAMS)["id"] for _ in range(3)]
    sdk.run(sdk.world.read_models.wait_for(3, 1))
    first: Any = resend.Emails.list({"limit": 2})
    assert (first["object"], first["has_more"]) == ("list", True)
    rest: Any = resend.Emails.list({"limit": 2, "after": first["data"][-1]["id"]})
    assert rest["has_more"] is False
    assert [email["id"] for email in first["data"] + rest["data"]] == ids[::-1]


def test_update_and_cancel_a_scheduled_email() -> None:
    id = resend.Emails.send(changed(scheduled_at="in 1 hour"))["id"]
    answer: Any = resend.Emails.update({"id": id, "scheduled_at": "2026-03-05T11:52:01.858Z"})
    assert (answer["object"], answer["id"]) == ("email", id)
    shown: Any = resend.Emails.get(id)
    assert shown["scheduled_at"] == "2026-03-05T11:52:01.858000Z"
    assert resend.Emails.cancel(id)["id"] == id
    assert resend.Emails.get(id)["last_event"] == "canceled"


def test_its_exception_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"^to\[0\] is not a valid email address"):
        resend.Emails.send(changed(to="nobody"))
    with pytest.raises(MissingRequiredFieldsError, match=r"^from is needed"):
        resend.Emails.send({"to": "bob@example.com", "subject": "Hello", "html": "Hi."})
    with pytest.raises(ResendError) as caught:
        resend.Emails.get("00000000-0000-7000-8000-000000000000")
    assert (caught.value.code, caught.value.error_type) == (404, "not_found")
    monkeypatch.setattr(resend, "api_key", "wrong")
    with pytest.raises(InvalidApiKeyError):
        resend.Emails.send(PARAMS)


def test_its_exceptions_for_faults_of_ours(sdk: Server) -> None:
    sdk.world.ledger.trouble = RuntimeError()
    with pytest.raises(ApplicationError):
        resend.Emails.send(PARAMS)
    sdk.world.ledger.trouble = StoreUnavailable()
    with pytest.raises(ResendError) as caught:
        resend.Emails.send(PARAMS)
    assert caught.value.code == 503
    assert int(caught.value.headers["retry-after"]) > 0


def test_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", "")
    with pytest.raises(MissingApiKeyError):
        resend.Emails.send(PARAMS)
