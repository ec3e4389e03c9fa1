"""/audit: a tenant's own events by who, what and when, and the checkpoints of the log."""

from datetime import timedelta
from typing import Any

import pytest

from infrastructure.audit.keeper import ChainKeeper
from infrastructure.audit.signing import new_key
from tests.web.conftest import Api
from tests.web.test_dead_letters import OTHER, follow


def events(api: Api, **params: Any) -> dict[str, Any]:
    follow(api)
    response = api.get("/audit/events", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.fixture
def sent(api: Api) -> list[str]:
    """Two that failed, a day apart."""
    ids = []
    for _ in range(2):
        ids.append(api.send())
        api.run(api.world.fail(ids[-1]))
        api.world.clock.pass_time(timedelta(days=1))
    return ids


def types(found: dict[str, Any]) -> list[str]:
    return [event["type"] for event in found["data"]]


def test_events_are_listed_with_who_and_why_the_newest_first(api: Api, sent: list[str]) -> None:
    found = events(api)
    assert types(found) == ["email.delivery_failed", "email.delivery_started", "email.queued"] * 2
    failed = found["data"][0]
    assert (failed["stream_id"], failed["version"], failed["actor"], failed["reason"]) == (
        sent[1],
        3,
        "worker",
        "rejected",
    )
    assert found["data"][2]["actor"].startswith("api:")


@pytest.mark.parametrize(
    ("params", "positions"),
    [
        ({"actor": "worker", "type": "email.delivery_failed"}, [6, 3]),
        ({"since": "2026-03-02T00:00:00Z"}, [6, 5, 4]),
        ({"until": "2026-03-02T00:00:00Z", "limit": 2}, [3, 2]),
        ({"after": 2}, [1]),
        ({"before": 4}, [6, 5]),
    ],
)
def test_filters_and_pages(api: Api, sent: list[str], params: dict[str, Any], positions: list[int]) -> None:
    assert [event["position"] for event in events(api, **params)["data"]] == positions


def test_all_that_a_request_led_to(api: Api, sent: list[str]) -> None:
    request = events(api, type="email.queued", stream_id=sent[0])["data"][0]["correlation_id"]
    assert types(events(api, correlation_id=request)) == ["email.queued"]


def test_tenants_see_their_own(api: Api, sent: list[str]) -> None:
    follow(api)
    assert api.get("/audit/events", headers=OTHER).json()["data"] == []


def test_bad_input_is_named(api: Api) -> None:
    answer = api.get("/audit/events", params={"after": 1, "before": 2})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "before")
    assert api.get("/audit/events", params={"actr": "x"}).status_code == 422


def test_checkpoints_are_listed_as_they_were_signed(api: Api, sent: list[str]) -> None:
    world, signer = api.world, new_key()
    keeper = ChainKeeper(world.ledger, world.database, world.clock, signer)
    api.run(keeper.prepare())
    for _ in range(3):
        api.run(keeper.checkpoint())
    found = api.get("/audit/checkpoints", params={"limit": 2}).json()
    assert ([each["number"] for each in found["data"]], found["has_more"]) == ([3, 2], True)
    assert all(signer.witness.signed(each["checkpoint"]) for each in found["data"])
    assert api.get("/audit/checkpoints", params={"after": 2}).json()["data"][0]["number"] == 1
