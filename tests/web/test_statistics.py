"""GET /statistics: how much mail there was, how it fared, and how long it took."""

from datetime import timedelta
from typing import Any

import pytest

from tests.web.conftest import Api
from tests.web.world import OTHER_KEY

Json = dict[str, Any]


def asked(api: Api, key: str = "", **query: str | int) -> list[Json]:
    api.run(api.world.read_models.wait_for(0, 0))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = api.get("/statistics", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["object"] == "list"
    data: list[Json] = found["data"]
    return data


@pytest.fixture
def sent(api: Api) -> Api:
    """At 12:00 one that failed and one put off, both of kind a; at 14:00 one of kind b, in bulk, to two."""
    api.run(api.world.fail(api.send(tags=[{"name": "kind", "value": "a"}])))
    api.run(api.world.put_off(api.send(tags=[{"name": "kind", "value": "a"}])))
    api.world.clock.pass_time(timedelta(hours=2))
    people = ["ada@one.example", "bob@two.example"]
    api.send(tags=[{"name": "kind", "value": "b"}], stream="bulk", to=people)
    return api


def test_everything_of_the_last_week_is_told_in_one_entry(sent: Api) -> None:
    (entry,) = asked(sent)
    assert (entry["object"], entry["group"]) == ("statistics", None)
    assert (entry["since"], entry["until"]) == ("2026-02-22T14:00:00Z", "2026-03-01T15:00:00Z")
    assert (entry["accepted"], entry["recipients"], entry["failed"]) == (3, 4, 1)
    (early,) = asked(sent, until="2026-03-01T14:00:00Z")
    assert (early["accepted"], early["recipients"]) == (2, 2)
    (future,) = asked(sent, since="2026-03-01T12:00:00Z", until="2027-01-01")
    assert (future["accepted"], future["until"]) == (3, "2026-03-01T15:00:00Z")
    assert entry["attempts"]["errors"] == {"permanent": 1, "transient": 1}
    assert entry["attempts"]["success"] == 0.0
    assert entry["rates"]["delivery"] is None
    assert entry["time_to_dispatch"] is None


def test_by_hour_by_day_and_by_a_dimension(sent: Api) -> None:
    hours = asked(sent, per="hour", since="2026-03-01T12:30:00Z")
    assert [hour["accepted"] for hour in hours] == [2, 0, 1]
    days = asked(sent, per="day", since="2026-03-01", time_zone="Asia/Tokyo")
    assert [(day["since"], day["accepted"]) for day in days] == [
        ("2026-02-28T15:00:00Z", 3),
    ]
    assert [(each["group"], each["accepted"]) for each in asked(sent, group_by="tag")] == [("kind:a", 2), ("kind:b", 1)]
    domains = {each["group"]: each for each in asked(sent, group_by="domain")}
    assert (domains["one.example"]["recipients"], domains["one.example"]["attempts"]) == (1, None)
    assert domains["one.example"]["opens"] is None
    (provider,) = asked(sent, group_by="provider")
    assert (provider["group"], provider["accepted"], provider["attempts"]["started"]) == ("sandbox", None, 2)


def test_of_one_value_and_of_one_tenant(sent: Api) -> None:
    assert [entry["recipients"] for entry in asked(sent, stream="bulk")] == [2]
    assert [entry["accepted"] for entry in asked(sent, tag="kind:a")] == [2]
    assert [entry["accepted"] for entry in asked(sent, group_by="tag", tag="kind")] == [2, 1]
    assert [entry["recipients"] for entry in asked(sent, domain="ONE.example")] == [1]
    assert [entry["accepted"] for entry in asked(sent, key=OTHER_KEY)] == [0]


def test_those_that_have_most_come_first_and_the_rest_is_said_to_be_there(sent: Api) -> None:
    answer = sent.get("/statistics", params={"group_by": "tag", "limit": 1, "per": "day"})
    assert answer.status_code == 503  # nothing is folded yet
    asked(sent)
    found = sent.get("/statistics", params={"group_by": "domain", "limit": 1}).json()
    assert ([entry["group"] for entry in found["data"]], found["has_more"]) == (["example.com"], True)


def test_it_waits_for_what_was_just_written(api: Api) -> None:
    position = api.post("/emails", json={"from": "a@x.example", "to": "b@y.example", "subject": "", "text": "Hi."})
    wait = {"Postledger-Wait-For": position.headers["Postledger-Position"]}
    assert api.get("/statistics", headers=wait).json()["data"][0]["accepted"] == 1
    api.world.read_models.held_back = True
    assert api.get("/statistics", headers=wait).status_code == 503


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"since": "yesterday"}, "since", "must be a day such as"),
        ({"since": "2026-03-01T12:00"}, "since", "must be a day such as"),
        ({"since": "2026"}, "since", "must be a day such as"),
        ({"since": "2026-03-05"}, "since", "must be before until, and before now"),
        ({"until": "2026-13-01"}, "until", "must be a day such as"),
        ({"per": "month"}, "per", "hour"),
        ({"per": "hour", "since": "2026-01-01"}, "since", "more than 31 days"),
        ({"per": "day", "since": "2024-01-01"}, "since", "more than 400 days"),
        ({"time_zone": "Berlin"}, "time_zone", "such as Europe/Berlin"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "such as Europe/Berlin"),
        ({"group_by": "recipient"}, "group_by", "stream"),
        ({"tag": "kind"}, "tag", "name:value"),
        ({"tag": "kind:"}, "tag", "name:value"),
        ({"tag": "kind:a", "group_by": "tag"}, "tag", "one dimension at a time"),
        ({"stream": "bulk", "provider": "main"}, "provider", "one dimension at a time"),
        ({"stream": "bulk", "group_by": "provider"}, "stream", "one dimension at a time"),
        ({"group_by": "tag", "per": "hour", "limit": "100"}, "limit", "more than 10000 entries"),
        ({"limit": "0"}, "limit", "must be at least 1"),
        ({"by": "tag"}, "by", ""),
    ],
)
def test_what_is_wrong_is_named(api: Api, query: dict[str, str], field: str, words: str) -> None:
    answer = api.get("/statistics", params=query)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["message"]


def test_it_takes_a_key(api: Api) -> None:
    assert api.get("/statistics", headers={"Authorization": ""}).status_code == 401
