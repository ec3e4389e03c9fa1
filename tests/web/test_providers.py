"""GET /providers: how they stand, and nothing else."""

from datetime import timedelta

from domain.delivery import ErrorClass
from domain.provider import Breakdown, Provider, Rest
from tests.samples import stamp
from tests.web.conftest import Api
from tests.web.world import START

REST = Rest(timedelta(seconds=30), timedelta(minutes=5))


def degraded() -> Provider:
    provider = Provider("main")
    why = Breakdown("error_rate", 10, 20, 60.0, ErrorClass.TRANSIENT, "http_503", "no such user bob@example.com")
    provider.degrade(why, REST, stamp(START))
    return provider


def test_a_provider_nobody_said_anything_about_is_well(api: Api) -> None:
    api.world.provider_states = [Provider("main").state]
    answer = api.get("/providers")
    assert answer.status_code == 200
    (shown,) = answer.json()["data"]
    assert shown == {"name": "main", "state": "closed", "since": None, "until": None, "cause": None, "rule": None}


def test_a_degraded_one_says_since_when_until_when_and_by_which_rule(api: Api) -> None:
    api.world.provider_states = [degraded().state]
    answer = api.get("/providers").json()
    assert answer == {
        "object": "list",
        "has_more": False,
        "data": [
            {
                "name": "main",
                "state": "open",
                "since": "2026-03-01T12:00:00Z",
                "until": "2026-03-01T12:00:30Z",
                "cause": "sends",
                "rule": "error_rate",
            }
        ],
    }
    api.world.clock.pass_time(timedelta(seconds=30))
    assert api.get("/providers").json()["data"][0]["state"] == "half_open"


def test_a_paused_one_keeps_the_operators_words_to_itself(api: Api) -> None:
    provider = degraded()
    provider.pause("Bob is moving house", stamp(START))
    api.world.provider_states = [provider.state]
    answer = api.get("/providers")
    (shown,) = answer.json()["data"]
    assert (shown["state"], shown["until"]) == ("paused", None)
    assert "Bob" not in answer.text
    assert "bob@" not in answer.text


def test_it_takes_a_key(api: Api) -> None:
    assert api.get("/providers", headers={"Authorization": ""}).status_code == 401
