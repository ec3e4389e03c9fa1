"""/dead-letters and /unconfirmed: what ended undelivered is found and sent again; what is in doubt is shown."""

from datetime import timedelta
from typing import Any

import pytest

from tests.web.conftest import Api
from tests.web.world import OTHER_KEY

OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}


def follow(api: Api) -> None:
    api.run(api.world.read_models.wait_for(0, 0))


def letters(api: Api, **params: Any) -> list[dict[str, Any]]:
    follow(api)
    response = api.get("/dead-letters", params=params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


@pytest.fixture
def dead(api: Api) -> list[str]:
    """Three that failed, a minute apart; the second one's stream is news."""
    ids = []
    for number in range(3):
        stream = "news" if number == 1 else "transactional"
        ids.append(api.send(to=[f"b{number}@example.com"], stream=stream))
        api.run(api.world.fail(ids[-1]))
        api.world.clock.pass_time(timedelta(minutes=1))
    return ids


def retried(api: Api, filter: dict[str, Any], **fields: Any) -> dict[str, Any]:
    follow(api)
    response = api.post("/dead-letters/retry", json={"filter": filter, "reason": "mended", **fields})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def test_the_newest_come_first_and_say_why(api: Api, dead: list[str]) -> None:
    api.send()
    found = letters(api)
    assert [letter["id"] for letter in found] == dead[::-1]
    assert found[0] | {"position": 0} == {
        "object": "dead_letter",
        "id": dead[2],
        "status": "failed",
        "created_at": "2026-03-01T12:02:00Z",
        "ended_at": "2026-03-01T12:02:00Z",
        "stream": "transactional",
        "sender_domain": "example.com",
        "provider": "sandbox",
        "error_class": "permanent",
        "reason": "rejected",
        "attempts": 1,
        "recipients_failed": 1,
        "position": 0,
    }


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"stream": "news"}, "1"),
        ({"recipient": "B2@example.com"}, "2"),
        ({"since": "2026-03-01T12:01:00Z"}, "21"),
        ({"until": "2026-03-01T12:01:00Z", "provider": "sandbox", "error_class": "permanent"}, "0"),
        ({"status": "failed", "reason": "rejected", "sender_domain": "Example.COM"}, "210"),
        ({"status": "bounced"}, ""),
    ],
)
def test_filters(api: Api, dead: list[str], params: dict[str, Any], found: str) -> None:
    assert "".join(str(dead.index(letter["id"])) for letter in letters(api, **params)) == found


def test_pages_follow_one_another_both_ways(api: Api, dead: list[str]) -> None:
    newest, middle, oldest = letters(api)
    assert letters(api, after=newest["position"]) == [middle, oldest]
    assert letters(api, after=newest["position"], limit=1) == [middle]
    assert letters(api, before=oldest["position"], limit=1) == [middle]


def test_a_tenant_sees_and_sends_its_own(api: Api, dead: list[str]) -> None:
    follow(api)
    assert api.get("/dead-letters", headers=OTHER).json()["data"] == []
    told = api.post("/dead-letters/retry", json={"filter": {}, "reason": "x"}, headers=OTHER).json()
    assert (told["matched"], told["retried"]) == (0, 0)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ("status=delivered", "status"),
        ("error_class=odd", "error_class"),
        ("recipient=nobody", "recipient"),
        ("since=yesterday", "since"),
        ("after=x", "after"),
        ("after=1&before=2", "before"),
        ("limit=101", "limit"),
        ("colour=red", "colour"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, params: str, field: str) -> None:
    response = api.get(f"/dead-letters?{params}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_those_that_fit_are_sent_again_and_are_gone(api: Api, dead: list[str]) -> None:
    told = retried(api, {"stream": "transactional"}, provider="backup", priority="critical")
    assert (told["matched"], told["retried"], told["skipped"], told["has_more"]) == (2, 2, [], False)
    assert [letter["id"] for letter in letters(api)] == [dead[1]]
    event = api.get(f"/emails/{dead[0]}/events").json()["data"][-1]
    assert (event["type"], event["data"]["reason"]) == ("email.requeued.v2", "mended")
    assert (event["data"]["provider"], event["data"]["priority"]) == ("backup", "critical")


def test_its_position_lets_a_read_wait_for_it(api: Api, dead: list[str]) -> None:
    follow(api)
    answer = api.post("/dead-letters/retry", json={"filter": {}, "reason": "x"})
    waiting = {"Postledger-Wait-For": answer.headers["postledger-position"]}
    assert api.get("/dead-letters", headers=waiting).json()["data"] == []


def test_a_dry_run_changes_nothing(api: Api, dead: list[str]) -> None:
    told = retried(api, {}, dry_run=True)
    assert (told["matched"], told["retried"], told["dry_run"]) == (3, 0, True)
    assert len(letters(api)) == 3


def test_one_call_sends_no_more_than_its_limit_the_oldest_first(api: Api, dead: list[str]) -> None:
    told = retried(api, {}, limit=2)
    assert (told["matched"], told["retried"], told["has_more"]) == (3, 2, True)
    assert [letter["id"] for letter in letters(api)] == [dead[2]]
    rest = retried(api, {}, before=told["before"])
    assert (rest["retried"], rest["has_more"]) == (1, False)


def test_what_was_sent_again_meanwhile_is_skipped_and_says_why(api: Api, dead: list[str]) -> None:
    follow(api)
    api.post(f"/emails/{dead[0]}/retry", json={"reason": "x"})
    answer = api.post("/dead-letters/retry", json={"filter": {}, "reason": "x"}).json()  # the read model is behind
    assert (answer["matched"], answer["retried"]) == (3, 2)
    assert answer["skipped"] == [{"id": dead[0], "why": "This email is queued; it cannot be sent again now."}]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (None, ["reason", "filter"]),
        ({"filter": {}}, ["reason"]),
        ({"reason": "x"}, ["filter"]),
        ({"reason": "x", "filter": {"status": "sent"}}, ["filter.status"]),
        ({"reason": "x", "filter": {"since": 2026}}, ["filter.since"]),
        ({"reason": "x", "filter": {}, "provider": "other"}, ["provider"]),
        ({"reason": "x", "filter": {}, "limit": 1001}, ["limit"]),
        ({"reason": "x", "filter": {}, "before": -1}, ["before"]),
    ],
)
def test_a_bad_wish_names_its_field(api: Api, body: dict[str, Any] | None, fields: list[str]) -> None:
    follow(api)
    response = api.post("/dead-letters/retry", **({} if body is None else {"json": body}))
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == fields


def test_an_expired_email_is_sent_again_without_its_end(api: Api) -> None:
    id = api.send(expires_at="in 1 minute")
    assert api.get(f"/emails/{id}").json()["expires_at"] == "2026-03-01T12:01:00Z"
    api.world.clock.pass_time(timedelta(minutes=2))
    api.run(api.world.expire(id))
    assert [letter["reason"] for letter in letters(api, status="expired")] == ["expired"]
    assert api.post(f"/emails/{id}/retry", json={"reason": "still wanted"}).status_code == 200
    shown = api.get(f"/emails/{id}").json()
    assert (shown["status"], shown["expires_at"], shown["reason"]) == ("queued", None, None)
    assert letters(api) == []


# -- in doubt --------------------------------------------------------------------------------------------------------


def doubts(api: Api, **params: Any) -> list[dict[str, Any]]:
    follow(api)
    found: list[dict[str, Any]] = api.get("/unconfirmed", params=params).json()["data"]
    return found


def test_emails_in_doubt_are_shown_the_oldest_first_until_they_are_settled(api: Api) -> None:
    ids = [api.send() for _ in range(2)]
    for id in ids:
        api.run(api.world.lose_answer(id))
        api.world.clock.pass_time(timedelta(minutes=1))
    first, second = doubts(api)
    assert (first["id"], second["id"]) == tuple(ids)
    assert (first["provider"], first["attempt"], first["reason"]) == ("sandbox", 1, "answer_lost")
    assert (first["since"], first["settle_at"], first["parked"]) == (
        *("2026-03-01T12:00:00Z", "2026-03-01T12:15:00Z", False),
    )
    assert doubts(api, after=first["position"]) == doubts(api, limit=5)[1:] == [second]
    assert doubts(api, until="2026-03-01T12:00:30Z", provider="sandbox") == [first]
    assert doubts(api, provider="backup") == []
    assert api.get("/unconfirmed", headers=OTHER).json()["data"] == []
    api.post(f"/emails/{ids[0]}/resolve", json={"resolution": "accepted", "reason": "seen"})
    assert doubts(api) == [second]


def test_settling_twice_says_how_it_stands(api: Api) -> None:
    id = api.send()
    api.run(api.world.lose_answer(id))
    wish = {"resolution": "accepted", "reason": "seen"}
    assert api.post(f"/emails/{id}/resolve", json=wish).status_code == 200
    again = api.post(f"/emails/{id}/resolve", json=wish)
    assert (again.status_code, again.json()["detail"]) == (409, "This email is dispatched; it cannot be resolved now.")


@pytest.mark.parametrize("params", ["limit=0", "after=x", "until=soon", "status=parked"])
def test_a_bad_parameter_about_doubts_is_named(api: Api, params: str) -> None:
    response = api.get(f"/unconfirmed?{params}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, params.partition("=")[0])


# -- why, and what next ----------------------------------------------------------------------------------------------


def why(api: Api, id: str) -> tuple[Any, ...]:
    shown = api.get(f"/emails/{id}").json()
    return tuple(shown[name] for name in ("error_class", "reason", "provider", "attempts", "retry_at", "settle_at"))


def test_an_email_says_why_it_stands_so_and_what_is_next(api: Api) -> None:
    id = api.send()
    assert why(api, id) == (None, None, None, 0, None, None)
    api.run(api.world.put_off(id))
    assert why(api, id) == ("transient", "connection_refused", "sandbox", 1, "2026-03-01T12:01:00Z", None)
    api.world.clock.pass_time(timedelta(minutes=1))
    api.run(api.world.lose_answer(id))
    assert why(api, id) == ("unknown", "answer_lost", "sandbox", 2, None, "2026-03-01T12:16:00Z")
    api.post(f"/emails/{id}/resolve", json={"resolution": "not_accepted", "reason": "x"})
    assert why(api, id) == (None, None, "sandbox", 2, None, None)
    api.run(api.world.fail(id))
    assert why(api, id) == ("permanent", "rejected", "sandbox", 3, None, None)
