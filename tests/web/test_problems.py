"""Errors: which problem, naming which field, in which media type, and never saying more than they should."""

import base64
import logging
from typing import Any

import pytest
from pydantic import ValidationError

from application.commands import SendEmail
from application.errors import Contended, StoreUnavailable
from infrastructure.web import body
from infrastructure.web.problems import fields_of
from tests.web.conftest import Api, email
from tests.web.world import OTHER_KEY

NOBODY = "00000000-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}
ATTACHMENT = {"filename": "a.txt", "content": "Zg=="}


def test_a_problem_has_every_member_of_its_standard_and_of_resends(api: Api) -> None:
    response = api.get(f"/emails/{NOBODY}")
    problem = response.json()
    assert response.status_code == problem["status"] == problem["statusCode"] == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/docs#email_not_found"
    assert problem["code"] == "email_not_found"
    assert problem["name"] == "not_found"
    assert problem["detail"] == problem["message"] == "There is no email with this id."
    assert problem["errors"] == []
    assert problem["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("application/json;q=0.9", "application/json"),
        ("application/json, text/html", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
    ],
)
def test_a_problem_is_plain_json_for_those_who_take_nothing_else(api: Api, accept: str, content_type: str) -> None:
    assert api.get("/nowhere", headers={"Accept": accept}).headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"to": ["bob@example.com", "nobody"]}, "to[1]", "email_address"),
        ({"to": []}, "to", "too_short"),
        ({"to": 5}, "to", "tuple_type"),
        ({"from": "Ada <ada@>"}, "from", "email_address"),
        ({"from": "ada@example.com\r\nBcc: eve@example.com"}, "from", "email_address"),
        ({"subject": "Hello\r\nBcc: eve@example.com"}, "subject", "line_break"),
        ({"subject": "x" * 999}, "subject", "string_too_long"),
        ({"subject": 5}, "subject", "string_type"),
        ({"headers": {"X-A": "1\r\nBcc: eve@example.com"}}, "headers", "line_break"),
        ({"headers": {"X-A\r\nBcc": "eve@example.com"}}, "headers", "header_name"),
        ({"headers": {"Bcc": "eve@example.com"}}, "headers", "header_reserved"),
        ({"headers": {"X-A": "1\0"}}, "headers", "line_break"),
        ({"attachments": [ATTACHMENT, {"filename": "a", "content": "no base64"}]}, "attachments[1].content", "base64"),
        ({"attachments": [{"filename": "a\nb", "content": "Zg=="}]}, "attachments[0].filename", "line_break"),
        ({"attachments": [{**ATTACHMENT, "path": "http://x.test/"}]}, "attachments[0].path", "extra_forbidden"),
        ({"tags": [{"name": "a b", "value": "c"}]}, "tags[0].name", "string_pattern_mismatch"),
        ({"metadata": {"a": 1}}, "metadata.a", "string_type"),
        ({"metadata": {"a": "\0"}}, "metadata.a", "nul"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at", "moment"),
        ({"scheduled_at": "2026-03-02T12:00:00"}, "scheduled_at", "moment"),
        ({"scheduled_at": "0001-01-01T00:00:00+14:00"}, "scheduled_at", "moment"),
        ({"scheduled_at": "in 31 days"}, "scheduled_at", "invalid_field"),
        ({"expires_at": "2026-03-01T11:00:00Z"}, "expires_at", "invalid_field"),
        ({"priority": "urgent"}, "priority", "enum"),
        ({"colour": "red"}, "colour", "extra_forbidden"),
        ({"to": [f"b{n}@example.com" for n in range(51)]}, "to", "too_many_recipients"),
        ({"delivery_policy": {"max_attempts": 0}}, "delivery_policy.max_attempts", "greater_than_equal"),
    ],
)
def test_a_bad_field_is_named(api: Api, fields: dict[str, Any], field: str, code: str) -> None:
    response = api.post("/emails", json=email(**fields))
    problem = response.json()
    assert response.status_code == 422
    assert (problem["code"], problem["name"]) == ("invalid_request", "validation_error")
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [(field, code)]
    assert problem["detail"].startswith(f"{field} ")
    assert api.run(api.world.ledger.position()) == 0


def test_every_bad_field_is_named_at_once(api: Api) -> None:
    problem = api.post("/emails", json=email(subject=5, to="nobody", colour="red")).json()
    assert {error["field"] for error in problem["errors"]} == {"subject", "to[0]", "colour"}


@pytest.mark.parametrize(("fields", "field"), [({"to": None}, "to"), ({"text": None}, "html")])
def test_a_missing_field_is_resends_missing_required_field(api: Api, fields: dict[str, Any], field: str) -> None:
    problem = api.post("/emails", json=email(**fields)).json()
    assert (problem["status"], problem["name"]) == (422, "missing_required_field")
    assert problem["errors"][0]["field"] == field
    assert problem["detail"].endswith(" is needed")


def test_attachments_of_over_40_mb_in_all_are_refused() -> None:
    big = {"filename": "big", "content": base64.b64encode(bytes(21 * 1024 * 1024)).decode()}
    with pytest.raises(ValidationError) as caught:
        SendEmail.model_validate(email(attachments=[big, big]))
    assert [field.field for field in fields_of(body.invalid(caught.value))] == ["attachments"]


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b'{"to": nope}', b"\xff\xfe\x00", b'{"subject": "\xff"}', b'{"subject": "\\ud800"}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}"),
    ],
)
@pytest.mark.parametrize("path", ["/emails", "/emails/batch"])
def test_what_is_not_json_is_refused_with_its_place(api: Api, path: str, text: bytes) -> None:
    response = api.post(path, content=text, headers=JSON)
    assert response.status_code == 400
    assert response.json()["name"] == "validation_error"
    assert response.json()["code"] == "invalid_json"
    assert "line 1 column" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "é"]
)
def test_another_content_type_is_415(api: Api, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode())]
    response = api.post("/emails", content=b"{}", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/json "])
def test_json_is_known_by_all_its_spellings(api: Api, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert api.post("/emails", content=b"{}", headers=headers).status_code == 422


def test_a_problem_never_says_a_body_back(api: Api) -> None:
    secret = "correct-horse-battery"  # noqa: S105 (not one)
    bad = email(
        subject={"a": secret},
        html=[secret],
        to=[{"address": secret}],
        metadata={"k": [secret]},
        attachments=[{"filename": secret, "content": secret}],
        headers={"X-A": f"{secret}\n"},
    )
    response = api.post("/emails", json=bad)
    assert response.status_code == 422
    assert secret not in response.text


def test_no_key_is_401_and_says_how_to_send_one(api: Api) -> None:
    for value in (b"", b"Basic abc", b"Bearer", b"Bearer "):
        response = api.get("/emails", headers=[(b"authorization", value)])
        assert (response.status_code, response.json()["name"]) == (401, "missing_api_key")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", [b"wrong", b"\xff\xfe", "schlüssel".encode()])
def test_a_wrong_key_is_403(api: Api, key: bytes) -> None:
    response = api.get("/emails", headers=[(b"authorization", b"Bearer " + key)])
    assert (response.status_code, response.json()["name"]) == (403, "invalid_api_key")
    assert key.decode("latin-1") not in response.text


def test_another_tenants_email_does_not_exist(api: Api) -> None:
    id = api.send()
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    for method, path, command in (
        ("GET", f"/emails/{id}", None),
        ("GET", f"/emails/{id}/events", None),
        ("PATCH", f"/emails/{id}", {"scheduled_at": "in 5 minutes"}),
        ("POST", f"/emails/{id}/cancel", None),
        ("POST", f"/emails/{id}/retry", {"reason": "because"}),
        ("POST", f"/emails/{id}/resolve", {"resolution": "accepted", "reason": "because"}),
    ):
        assert api.request(method, path, json=command, headers=other).json()["code"] == "email_not_found"
    assert api.run(api.world.ledger.position()) == 1


@pytest.mark.parametrize("path", ["/nowhere", "/emails/", "/emails/x/y/z", "/", "//", "/emails%00", "/%0A"])
def test_an_unknown_address_is_a_problem(api: Api, path: str) -> None:
    response = api.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("id", ["x", "%00", "019ca945", "' or 1=1"])
def test_an_id_that_is_none_is_not_found(api: Api, id: str) -> None:
    assert api.get(f"/emails/{id}").json()["code"] == "email_not_found"


def test_an_unknown_method_is_told_the_known_ones(api: Api) -> None:
    response = api.request("DELETE", "/emails")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


def test_a_store_that_is_away_is_503_with_a_time_to_come_back(api: Api) -> None:
    id = api.send()
    api.world.ledger.trouble = StoreUnavailable()
    for response in (api.post("/emails", json=email()), api.get(f"/emails/{id}"), api.get("/events")):
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert int(response.headers["retry-after"]) > 0


def test_a_blob_store_that_is_away_is_503_and_nothing_was_accepted(api: Api) -> None:
    api.world.blobs.away = True
    response = api.post("/emails", json=email(attachments=[ATTACHMENT]))
    assert (response.status_code, response.json()["code"]) == (503, "blob_store_unavailable")
    assert api.run(api.world.ledger.position()) == 0


def test_an_email_that_too_many_change_is_409(api: Api) -> None:
    api.world.ledger.trouble = Contended()
    response = api.post(f"/emails/{NOBODY}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "contended")


def test_a_surprise_is_recorded_once_without_what_it_says(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.world.ledger.trouble = RuntimeError("bob@example.com")
    response = api.post("/emails", json=email())
    assert (response.status_code, response.json()["name"]) == (500, "application_error")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert response.json()["request_id"] in errors[0].getMessage()
    assert "RuntimeError" in errors[0].getMessage()
    assert "bob@example.com" not in caplog.text + response.text
