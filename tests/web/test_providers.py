"""GET /providers: how they stand, and nothing else."""

from datetime import timedelta

from domain.delivery import ErrorClass
from domain.provider import Breakdown, Provider, Rest
from tests.samples import stamp
from tests.web.conftest import Api
from tests.web.world import OTHER_KEY, START

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
    nothing = {"since": None, "until": None, "cause": None, "rule": None, "last_24_hours": None}
    assert shown == {"name": "main", "state": "closed", **nothing}


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
                "last_24_hours": None,
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


def test_how_the_calls_went_is_told_of_the_tenants_own_email(api: Api) -> None:
    api.world.provider_states = [Provider("sandbox").state, Provider("backup").state]
    api.run(api.world.put_off(api.send()))
    api.run(api.world.fail(api.send()))
    api.run(api.world.read_models.wait_for(0, 0))
    sandbox, backup = (each["last_24_hours"] for each in api.get("/providers").json()["data"])
    assert (sandbox["started"], sandbox["success"], sandbox["deferred"]) == (2, 0.0, 1)
    assert sandbox["errors"] == {"permanent": 1, "transient": 1}
    assert sandbox["latency"] == {"count": 2, "p50": 0.001, "p90": 0.001, "p95": 0.001, "p99": 0.001}
    assert (backup["started"], backup["success"], backup["latency"]) == (0, None, None)
    others = api.get("/providers", headers={"Authorization": f"Bearer {OTHER_KEY}"}).json()["data"]
    assert [each["last_24_hours"]["started"] for each in others] == [0, 0]
    api.world.clock.pass_time(timedelta(hours=25))
    assert api.get("/providers").json()["data"][0]["last_24_hours"]["started"] == 0


def test_it_takes_a_key(api: Api) -> None:
    assert api.get("/providers", headers={"Authorization": ""}).status_code == 401
