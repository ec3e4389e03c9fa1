"""GET /events: the caller's events in the one order, page after page."""

import json
from typing import Any
from uuid import UUID

import pytest

from infrastructure.web.feed import cloud_event
from tests.web.conftest import Api, email
from tests.web.world import OTHER_KEY

OTHERS = {"Authorization": f"Bearer {OTHER_KEY}"}


def feed(api: Api, **params: Any) -> dict[str, Any]:
    response = api.get("/events", params=params)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def positions(page: dict[str, Any]) -> list[int]:
    return [event["position"] for event in page["data"]]


def test_events_are_cloud_events(api: Api) -> None:
    id = api.send(metadata={"order": "17"})
    event = feed(api)["data"][0]
    UUID(event["id"])
    assert event["specversion"] == "1.0"
    assert (event["source"], event["subject"], event["type"]) == ("/emails", id, "email.queued.v2")
    assert (event["time"], event["datacontenttype"]) == ("2026-03-01T12:00:00Z", "application/json")
    assert (event["position"], event["version"], event["tenant"]) == (1, 1, "default")
    assert event["data"]["metadata"] == {"order": "17"}
    assert "tenant" not in event["data"]
    assert all(name.islower() and name.isalnum() for name in event)  # CloudEvents' rule for names of attributes


def test_a_reader_gets_every_event_once(api: Api) -> None:
    for _ in range(7):
        api.send()
    seen, page = [], feed(api, limit=3)
    while page["data"]:
        seen += positions(page)
        page = feed(api, limit=3, after=page["next_after"])
    assert seen == list(range(1, 8))
    assert page == {"object": "list", "has_more": False, "next_after": 7, "data": []}


def test_has_more_is_true_exactly_when_there_is_more(api: Api) -> None:
    for _ in range(3):
        api.send()
    assert [feed(api, limit=n)["has_more"] for n in (1, 2, 3, 4)] == [True, True, False, False]


def test_a_filter_that_finds_little_still_advances(api: Api) -> None:
    id = api.send(scheduled_at="in 1 hour")
    for _ in range(4):
        api.send()
    api.post(f"/emails/{id}/cancel")
    api.send()
    assert positions(feed(api, types="email.cancelled")) == [6]
    assert positions(feed(api, types="email.cancelled.v1,email.expired")) == [6]
    assert feed(api, types="email.expired") == {"object": "list", "has_more": False, "next_after": 7, "data": []}


def test_only_the_callers_own_events_are_told(api: Api) -> None:
    api.post("/emails", json=email(), headers=OTHERS)
    api.send()
    api.post("/emails", json=email(), headers=OTHERS)
    assert positions(feed(api)) == [2]
    assert feed(api)["next_after"] == 3


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        (f"after={2**63}", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("types=email.lost", "types"),
        ("types=email.queued,,", "types"),
        ("types=", "types"),
        ("since=2026-03-01T12:00:00Z", "since"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, params: str, field: str) -> None:
    response = api.get(f"/events?{params}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)


def test_a_cloud_event_is_the_same_in_the_feed_and_by_itself(api: Api) -> None:
    id = api.send()
    recorded = api.run(api.world.ledger.load(UUID(id)))[0]
    assert json.loads(cloud_event(recorded).model_dump_json()) == feed(api)["data"][0]
