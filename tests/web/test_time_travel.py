"""An email, and a person's timeline, as they were at a version, a position or a time."""

from datetime import timedelta

import pytest

from tests.web.conftest import Api


@pytest.fixture
def id(api: Api) -> str:
    """Queued at 12:00 (position 1), rescheduled at 12:10 (2), cancelled at 12:20 (3)."""
    id = api.send(to="bob@example.com", scheduled_at="in 1 hour")
    api.world.clock.pass_time(timedelta(minutes=10))
    api.request("PATCH", f"/emails/{id}", json={"scheduled_at": "in 2 hours"})
    api.world.clock.pass_time(timedelta(minutes=10))
    api.post(f"/emails/{id}/cancel")
    return id


@pytest.mark.parametrize(
    ("as_of", "last_event", "scheduled_at"),
    [
        *((moment, "scheduled", "2026-03-01T13:00:00Z") for moment in ("1", "position:1", "2026-03-01T12:09:59Z")),
        *((moment, "scheduled", "2026-03-01T14:10:00Z") for moment in ("2", "position:2", "2026-03-01T13:10:00+01:00")),
        *((moment, "canceled", "2026-03-01T14:10:00Z") for moment in ("3", "position:3", "2026-03-01T12:20:00Z")),
    ],
)
def test_an_email_as_it_stood(api: Api, id: str, as_of: str, last_event: str, scheduled_at: str) -> None:
    shown = api.get(f"/emails/{id}", params={"as_of": as_of}).json()
    assert (shown["last_event"], shown["scheduled_at"]) == (last_event, scheduled_at)


@pytest.mark.parametrize("as_of", ["position:0", "2026-03-01T11:59:59Z"])
def test_before_it_was_accepted_there_was_no_email(api: Api, id: str, as_of: str) -> None:
    assert api.get(f"/emails/{id}", params={"as_of": as_of}).status_code == 404
    assert api.get(f"/emails/{id}/events", params={"as_of": as_of}).json()["data"] == []


@pytest.mark.parametrize(
    ("as_of", "entries"),
    [
        ("position:0", 0),
        ("position:2", 2),
        ("position:99", 3),
        ("2026-03-01T12:00:00Z", 1),
        ("2026-03-01T12:15:00Z", 2),
    ],
)
def test_a_persons_timeline_as_it_was(api: Api, id: str, as_of: str, entries: int) -> None:
    api.run(api.world.read_models.wait_for(0, 0))
    path = "/recipients/bob@example.com/activity"
    assert len(api.get(path, params={"as_of": as_of}).json()["data"]) == entries
    paged = api.get(path, params={"as_of": as_of, "limit": 1, "after": 2}).json()["data"]
    assert len(paged) == min(entries, 1)


@pytest.mark.parametrize(
    "as_of", ["", "1", "position:", "position:-1", "position:x", "yesterday", "2026-03-01T12:00:00"]
)
def test_a_moment_of_no_timeline_is_refused(api: Api, as_of: str) -> None:
    response = api.get("/recipients/bob@example.com/activity", params={"as_of": as_of})
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, ["as_of"])
    assert "position:1234" in response.json()["detail"] + str(response.json()["errors"])
