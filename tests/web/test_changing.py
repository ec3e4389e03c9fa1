"""Reschedule, cancel, retry and resolve."""

from datetime import timedelta

import pytest

from tests.web.conftest import Api


def test_an_email_is_rescheduled(api: Api) -> None:
    id = api.send(scheduled_at="in 1 hour")
    response = api.request("PATCH", f"/emails/{id}", json={"scheduled_at": "in 2 hours", "id": id})
    assert (response.status_code, response.json()) == (200, {"object": "email", "id": id})
    assert response.headers["postledger-position"] == "2"
    assert api.get(f"/emails/{id}").json()["scheduled_at"] == "2026-03-01T14:00:00Z"


def test_the_body_must_not_name_another_email(api: Api) -> None:
    id = api.send(scheduled_at="in 1 hour")
    other = {"scheduled_at": "in 2 hours", "id": "00000000-0000-7000-8000-000000000000"}
    assert api.request("PATCH", f"/emails/{id}", json=other).json()["errors"][0]["field"] == "id"


def test_an_email_is_cancelled_and_cancelling_twice_is_no_error(api: Api) -> None:
    id = api.send(scheduled_at="in 1 hour")
    for _ in range(2):
        response = api.post(f"/emails/{id}/cancel", json={})
        assert (response.status_code, response.json()) == (200, {"object": "email", "id": id})
        assert response.headers["postledger-position"] == "2"
    assert api.get(f"/emails/{id}").json()["last_event"] == "canceled"


@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("PATCH", "", {"scheduled_at": "in 2 hours"}),
        ("POST", "/retry", {"reason": "once more"}),
        ("POST", "/resolve", {"resolution": "accepted", "reason": "seen it"}),
    ],
)
def test_what_the_state_does_not_allow_is_409_and_says_the_state(
    api: Api, method: str, what: str, body: dict[str, str]
) -> None:
    id = api.send(scheduled_at="in 1 hour")
    api.post(f"/emails/{id}/cancel")
    response = api.request(method, f"/emails/{id}{what}", json=body)
    assert (response.status_code, response.json()["code"]) == (409, "not_allowed_in_this_state")
    assert "cancelled" in response.json()["detail"]


def test_a_failed_email_is_sent_again_with_the_reason_kept(api: Api) -> None:
    id = api.send()
    api.run(api.world.fail(id))
    assert api.get(f"/emails/{id}").json()["last_event"] == "failed"
    assert api.post(f"/emails/{id}/retry", json={"reason": "key was wrong"}).status_code == 200
    entry = api.get(f"/emails/{id}/events").json()["data"][-1]
    assert (entry["type"], entry["data"]["reason"]) == ("email.requeued.v2", "key was wrong")


def test_it_is_sent_again_through_the_provider_that_is_named(api: Api) -> None:
    id = api.send()
    api.run(api.world.fail(id))
    assert api.post(f"/emails/{id}/retry", json={"reason": "x", "provider": "backup"}).status_code == 200
    assert api.get(f"/emails/{id}/events").json()["data"][-1]["data"]["provider"] == "backup"


def test_a_provider_that_is_not_there_is_refused_by_the_names_of_those_that_are(api: Api) -> None:
    id = api.send()
    api.run(api.world.fail(id))
    problem = api.post(f"/emails/{id}/retry", json={"reason": "x", "provider": "other"}).json()
    assert (problem["status"], problem["errors"][0]["field"]) == (422, "provider")
    assert "sandbox, backup" in problem["detail"]


@pytest.mark.parametrize(("what", "missing"), [("retry", {"reason"}), ("resolve", {"resolution", "reason"})])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
def test_without_a_body_what_is_missing_is_named(
    api: Api, what: str, missing: set[str], headers: dict[str, str]
) -> None:
    problem = api.post(f"/emails/{api.send()}/{what}", headers=headers).json()
    assert (problem["status"], problem["code"]) == (422, "missing_required_field")
    assert {error["field"] for error in problem["errors"]} == missing


def test_an_email_in_doubt_is_resolved(api: Api) -> None:
    id = api.send()
    api.run(api.world.lose_answer(id))
    assert api.get(f"/emails/{id}").json()["last_event"] == "unconfirmed"
    api.world.clock.pass_time(timedelta(minutes=1))
    resolve = {"resolution": "accepted", "reason": "found it in the provider's log"}
    assert api.post(f"/emails/{id}/resolve", json=resolve).status_code == 200
    shown = api.get(f"/emails/{id}").json()
    assert (shown["status"], shown["last_event"], shown["attempts"]) == ("dispatched", "sent", 1)


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("/retry", {}, "reason"),
        ("/retry", {"reason": ""}, "reason"),
        ("/retry", {"reason": "two\nlines"}, "reason"),
        ("/retry", {"reason": "x", "provider": "nobody"}, "provider"),
        ("/resolve", {"reason": "x"}, "resolution"),
        ("/resolve", {"reason": "x", "resolution": "presumed_lost"}, "resolution"),
        ("/resolve", {"reason": "x", "resolution": "accepted", "evidence": "policy"}, "evidence"),
    ],
)
def test_a_bad_decision_names_its_field(api: Api, what: str, body: dict[str, str], field: str) -> None:
    response = api.post(f"/emails/{api.send()}{what}", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field
