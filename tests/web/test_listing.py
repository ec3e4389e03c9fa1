"""GET /emails and a recipient's activity: filters, pages, and waiting for what was just written."""

from datetime import timedelta
from typing import Any

import pytest

from tests.web.conftest import Api
from tests.web.world import OTHER_KEY

NEVER = 2**63 - 1


def subjects(api: Api, **params: Any) -> list[str]:
    api.run(api.world.read_models.wait_for(0, 0))
    response = api.get("/emails", params=params)
    assert response.status_code == 200, response.text
    return [email["subject"] for email in response.json()["data"]]


@pytest.fixture
def ids(api: Api) -> list[str]:
    """Five emails, a minute apart."""
    ids = []
    for number in range(5):
        tag = {"name": "kind", "value": "odd" if number % 2 else "even"}
        ids.append(api.send(subject=str(number), to=[f"b{number % 2}@example.com"], tags=[tag]))
        api.world.clock.pass_time(timedelta(minutes=1))
    return ids


def test_the_newest_come_first_in_resends_shape(api: Api, ids: list[str]) -> None:
    assert subjects(api) == ["4", "3", "2", "1", "0"]
    page = api.get("/emails", params={"limit": 1}).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    shown = page["data"][0]
    assert shown["id"] == ids[4]
    assert (shown["from"], shown["to"], shown["cc"]) == ("Ada <ada@example.com>", ["b0@example.com"], [])
    assert (shown["last_event"], shown["status"]) == ("queued", "queued")


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"limit": 2}, "43"),
        ({"recipient": "B1@Example.com"}, "31"),
        ({"tag": "kind:even"}, "420"),
        ({"tag": "kind"}, "43210"),
        ({"tag": "kin"}, ""),
        ({"tag": "kind:even", "recipient": "b1@example.com"}, ""),
        ({"status": "queued"}, "43210"),
        ({"status": "delivered"}, ""),
        ({"since": "2026-03-01T12:02:00Z"}, "432"),
        ({"until": "2026-03-01T12:02:00Z"}, "10"),
    ],
)
def test_filters(api: Api, ids: list[str], params: dict[str, Any], found: str) -> None:
    assert "".join(subjects(api, **params)) == found


def test_pages_follow_one_another_both_ways(api: Api, ids: list[str]) -> None:
    assert subjects(api, limit=2, after=ids[3]) == ["2", "1"]
    assert subjects(api, limit=2, before=ids[1]) == ["3", "2"]
    assert subjects(api, limit=2, after=ids[0]) == []


def test_a_tenant_sees_its_own(api: Api, ids: list[str]) -> None:
    api.run(api.world.read_models.wait_for(0, 0))
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    assert api.get("/emails", headers=other).json()["data"] == []
    assert api.get("/recipients/b1@example.com/activity", headers=other).json()["data"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("colour=red", "colour"),
        ("status=lost", "status"),
        ("after=x", "after"),
        ("since=yesterday", "since"),
        ("since=2026", "since"),
        ("until=1e9", "until"),
        ("tag=kind:", "tag"),
        ("recipient=nobody", "recipient"),
        ("recipient=%00", "recipient"),
        ("tag=%00:a", "tag"),
        ("tag=a:%00", "tag"),
        ("limit=1&limit=2", "limit"),
        ("after=019ca945-0a00-7ca3-aeb5-16f15a946b9a&before=019ca945-0a00-7ca3-aeb5-16f15a946b9a", "before"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, params: str, field: str) -> None:
    response = api.get(f"/emails?{params}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_a_read_waits_for_a_write(api: Api) -> None:
    id = api.send(to=["Bob <o'brien/x@example.com>"])
    headers = {"Postledger-Wait-For": "1"}
    assert api.get("/emails", headers=headers).json()["data"][0]["id"] == id
    shown = api.get("/recipients/o'brien%2Fx@EXAMPLE.com/activity", headers=headers).json()
    assert [(entry["type"], entry["email_id"]) for entry in shown["data"]] == [("email.queued.v2", id)]


@pytest.mark.parametrize("path", ["/emails", "/recipients/bob@example.com/activity"])
def test_a_read_model_that_stays_behind_is_503(api: Api, path: str) -> None:
    api.world.read_models.held_back = True
    response = api.get(path, headers={"Postledger-Wait-For": "1"})
    assert (response.status_code, response.json()["code"]) == (503, "read_model_behind")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("position", ["", "-1", "one", str(NEVER + 1), "9" * 5000])
def test_a_position_that_is_none_is_refused(api: Api, position: str) -> None:
    response = api.get("/emails", headers={"Postledger-Wait-For": position})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Postledger-Wait-For")


def test_an_email_itself_needs_no_waiting(api: Api) -> None:
    api.world.read_models.held_back = True
    id = api.send()
    assert api.get(f"/emails/{id}", headers={"Postledger-Wait-For": str(NEVER)}).status_code == 200


def test_activity_comes_newest_first_in_pages(api: Api) -> None:
    id = api.send(scheduled_at="in 1 hour")
    api.post(f"/emails/{id}/cancel")
    api.run(api.world.read_models.wait_for(0, 0))
    first = api.get("/recipients/bob@example.com/activity?limit=1").json()
    assert (first["has_more"], first["data"][0]["type"]) == (True, "email.cancelled.v1")
    rest = api.get(f"/recipients/bob@example.com/activity?after={first['data'][0]['position']}").json()
    assert (rest["has_more"], rest["data"][0]["type"]) == (False, "email.queued.v2")


def test_activity_of_no_address_is_refused(api: Api) -> None:
    for address in ("nobody", "%00@example.com", "a%0D@example.com"):
        response = api.get(f"/recipients/{address}/activity")
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "address")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        *(({"subject": "hello WORLD"}, 1), ({"subject": "hello moon"}, 0), ({"recipient_domain": "example.com"}, 2)),
        *(({"metadata": "order:7"}, 1), ({"metadata": "order:8"}, 0), ({"stream": "news"}, 1)),
        *(({"sender": "service@example.org"}, 2), ({"sender": "other@example.org"}, 0), ({"provider": "nobody"}, 0)),
    ],
)
def test_emails_are_found_by_what_they_are_about(api: Api, wanted: dict[str, str], found: int) -> None:
    common = {"from": "service@example.org", "to": "ada@example.com"}
    api.send(**common, subject="Hello, world!", metadata={"order": "7"})
    api.send(**common, subject="Goodbye", stream="news")
    api.run(api.world.read_models.wait_for(0, 0))
    assert len(api.get("/emails", params=wanted).json()["data"]) == found


@pytest.mark.parametrize(
    ("name", "value"), [("subject", "!?"), ("metadata", "order"), ("metadata", ":7"), ("sender", "x")]
)
def test_a_filter_that_means_nothing_is_refused(api: Api, name: str, value: str) -> None:
    response = api.get("/emails", params={name: value})
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, [name])
