"""GET /emails/{id}/events: the whole history, or as it was."""

from datetime import timedelta
from typing import Any

import pytest

from tests.web.conftest import Api


def history(api: Api, id: str, **params: Any) -> list[str]:
    response = api.get(f"/emails/{id}/events", params=params)
    assert response.status_code == 200, response.text
    assert (response.json()["object"], response.json()["has_more"]) == ("list", False)
    return [entry["type"] for entry in response.json()["data"]]


@pytest.fixture
def id(api: Api) -> str:
    """Queued at 12:00, rescheduled at 12:10, cancelled at 12:20."""
    id = api.send(scheduled_at="in 1 hour")
    api.world.clock.pass_time(timedelta(minutes=10))
    api.request("PATCH", f"/emails/{id}", json={"scheduled_at": "in 2 hours"})
    api.world.clock.pass_time(timedelta(minutes=10))
    api.post(f"/emails/{id}/cancel")
    return id


def test_a_history_is_complete_and_in_order(api: Api, id: str) -> None:
    assert history(api, id) == ["email.queued.v2", "email.rescheduled.v1", "email.cancelled.v1"]
    entries = api.get(f"/emails/{id}/events").json()["data"]
    assert [(entry["version"], entry["position"]) for entry in entries] == [(1, 1), (2, 2), (3, 3)]
    assert entries[1]["data"] == {"send_at": "2026-03-01T14:10:00Z"}
    assert entries[1]["occurred_at"] == "2026-03-01T12:10:00Z"


@pytest.mark.parametrize(
    ("as_of", "entries"),
    [
        *((1, 1), (2, 2), (3, 3), (99, 3)),
        *(("2026-03-01T11:59:59Z", 0), ("2026-03-01T12:00:00Z", 1), ("2026-03-01T12:15:00Z", 2)),
        *(("2026-03-01T14:15:00+02:00", 2), ("2026-03-01T12:20:00Z", 3)),
    ],
)
def test_a_history_as_of_a_version_or_a_time(api: Api, id: str, as_of: int | str, entries: int) -> None:
    assert len(history(api, id, as_of=as_of)) == entries


def test_an_unescaped_plus_in_a_time_is_understood(api: Api, id: str) -> None:
    response = api.get(f"/emails/{id}/events?as_of=2026-03-01T14:15:00+02:00")
    assert len(response.json()["data"]) == 2


@pytest.mark.parametrize("as_of", ["yesterday", "", "0", "-1", "2026-03-01T12:00:00", "1.5"])
def test_a_moment_that_is_none_is_refused(api: Api, id: str, as_of: str) -> None:
    response = api.get(f"/emails/{id}/events", params={"as_of": as_of})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "as_of")
    assert len(response.json()["errors"]) == 1
