"""/suppressions: entries by hand, as lists, and errors that name the field."""

from typing import Any

import pytest

from domain.events import SuppressionRemoved
from tests.web.conftest import Api
from tests.web.world import KEY, OTHER_KEY, START

OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}
ADA = "Ada@example.com"


def suppress(api: Api, email: str = ADA, **fields: Any) -> dict[str, Any]:
    response = api.post("/suppressions", json={"email": email, "reason": "asked by phone", **fields})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def listed(api: Api, **params: Any) -> list[dict[str, Any]]:
    api.run(api.world.read_models.wait_for(0, 0))
    response = api.get("/suppressions", params=params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


def fields(response: Any) -> list[str]:
    return [error["field"] for error in response.json()["errors"]]


def test_an_entry_has_resends_shape_and_says_who_and_why(api: Api) -> None:
    made = suppress(api, "Ada Lovelace <ada@example.com>", scope="news")
    assert made.pop("source").startswith("api:")
    assert made == {
        "object": "suppression",
        "email": "ada@example.com",
        "origin": "manual",
        "created_at": START.isoformat().replace("+00:00", "Z"),
        "scope": "news",
        "rule": "manual",
        "reason": "asked by phone",
        "email_id": None,
    }


def test_what_stands_already_is_the_answer(api: Api) -> None:
    first = suppress(api, reason="the first")
    assert suppress(api, reason="the second") == first


def test_an_address_is_shown_with_all_that_stands_the_widest_first(api: Api) -> None:
    suppress(api, scope="news")
    suppress(api)
    suppress(api, scope="offers")
    found = api.get("/suppressions/ada%40EXAMPLE.com").json()
    assert (found["object"], found["email"], found["scope"]) == ("suppression", ADA, "*")
    assert [entry["scope"] for entry in found["entries"]] == ["*", "news", "offers"]


def test_an_email_is_held_back_from_then_on(api: Api) -> None:
    suppress(api, "bob@example.com")
    shown = api.get(f"/emails/{api.send(to=['bob@example.com'])}").json()
    assert (shown["status"], shown["last_event"]) == ("suppressed", "suppressed")


@pytest.mark.parametrize("how", [{"params": {"reason": "mended"}}, {"json": {"reason": "mended"}}])
def test_an_address_is_taken_off_for_a_reason(api: Api, how: dict[str, Any]) -> None:
    suppress(api)
    suppress(api, scope="news")
    gone = api.request("DELETE", f"/suppressions/{ADA}", **how)
    assert gone.json() == {"object": "suppression", "email": ADA, "deleted": True, "scopes": ["*", "news"]}
    assert api.get(f"/suppressions/{ADA}").status_code == 404
    recorded = api.run(api.world.ledger.read(0, 10, [SuppressionRemoved.TYPE]))
    assert {r.event.reason for r in recorded if isinstance(r.event, SuppressionRemoved)} == {"mended"}


def test_one_scope_may_be_taken_off_alone(api: Api) -> None:
    suppress(api)
    suppress(api, scope="news")
    response = api.request("DELETE", f"/suppressions/{ADA}", params={"reason": "mended", "scope": "*"})
    assert response.json()["scopes"] == ["*"]
    assert api.get(f"/suppressions/{ADA}").json()["scope"] == "news"
    response = api.request("DELETE", f"/suppressions/{ADA}", params={"reason": "mended", "scope": "*"})
    assert (response.status_code, response.json()["code"]) == (404, "suppression_not_found")


def test_a_write_can_be_waited_for(api: Api) -> None:
    written = api.post("/suppressions", json={"email": ADA, "reason": "asked"})
    headers = {"Postledger-Wait-For": written.headers["Postledger-Position"]}
    assert len(api.get("/suppressions", headers=headers).json()["data"]) == 1
    removed = api.request("DELETE", f"/suppressions/{ADA}?reason=mended")
    headers = {"Postledger-Wait-For": removed.headers["Postledger-Position"]}
    assert api.get("/suppressions", headers=headers).json()["data"] == []


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, "cba"),
        ({"limit": 2}, "cb"),
        ({"rule": "complaint"}, "b"),
        ({"rule": "hard_bounce"}, ""),
        ({"scope": "news"}, "c"),
        ({"domain": "Example.org"}, "a"),
        ({"q": "B"}, "b"),
        ({"q": "a@example.org"}, "a"),
    ],
)
def test_filters(api: Api, params: dict[str, Any], found: str) -> None:
    suppress(api, "a@example.org")
    file = "email,rule\nb@example.com,complaint"
    api.post("/suppressions/import", content=file, headers={"Content-Type": "text/csv"})
    suppress(api, "c@example.com", scope="news")
    assert "".join(entry["email"][0] for entry in listed(api, **params)) == found


def test_pages_follow_one_another_both_ways(api: Api) -> None:
    for name in "abcde":
        suppress(api, f"{name}@example.com")
    first = listed(api, limit=2)
    assert [entry["email"][0] for entry in first] == ["e", "d"]
    second = listed(api, limit=2, after=first[-1]["position"])
    assert [entry["email"][0] for entry in second] == ["c", "b"]
    assert listed(api, limit=2, before=second[0]["position"]) == first
    assert api.get("/suppressions", params={"limit": 5}).json()["has_more"] is False


def test_a_tenant_sees_its_own(api: Api) -> None:
    suppress(api)
    api.run(api.world.read_models.wait_for(0, 0))
    assert api.get("/suppressions", headers=OTHER).json()["data"] == []
    assert api.get(f"/suppressions/{ADA}", headers=OTHER).status_code == 404
    assert api.request("DELETE", f"/suppressions/{ADA}?reason=x", headers=OTHER).status_code == 404
    assert KEY not in str(listed(api))


@pytest.mark.parametrize(
    ("method", "path", "json", "wrong"),
    [
        ("POST", "", {"email": ADA}, ["reason"]),
        ("POST", "", {"email": "ada", "reason": "x"}, ["email"]),
        ("POST", "", {"email": ADA, "reason": "x", "scope": "all mail"}, ["scope"]),
        ("POST", "", {"email": ADA, "reason": "x\ny"}, ["reason"]),
        ("POST", "", {"email": ADA, "reason": "x", "rule": "complaint"}, ["rule"]),
        ("GET", "?rule=unknown", None, ["rule"]),
        ("GET", "?after=1&before=2", None, ["before"]),
        ("GET", "?after=x", None, ["after"]),
        ("GET", "/nobody", None, ["address"]),
        ("DELETE", "/ada@example.com", None, ["reason"]),
        ("DELETE", "/ada@example.com", {"scope": "*"}, ["reason"]),
        ("DELETE", "/ada@example.com?reason=", None, ["reason"]),
        ("DELETE", "/nobody?reason=x", None, ["address"]),
    ],
)
def test_what_is_wrong_is_named(api: Api, method: str, path: str, json: Any, wrong: list[str]) -> None:
    response = api.request(method, f"/suppressions{path}", json=json)
    assert (response.status_code, fields(response)) == (422, wrong)


def test_an_address_may_contain_a_slash(api: Api) -> None:
    suppress(api, "a/b@example.com")
    assert api.get("/suppressions/a%2Fb@example.com").json()["email"] == "a/b@example.com"


def test_what_is_known_of_an_address_is_no_email(api: Api) -> None:
    suppress(api)
    (event,) = api.get("/events").json()["data"]
    assert api.get(f"/emails/{event['subject']}").status_code == 404
    assert api.post(f"/emails/{event['subject']}/cancel").status_code == 404
