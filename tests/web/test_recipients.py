"""GET /recipients: who got mail and what became of it."""

from datetime import timedelta
from typing import Any

import pytest

from tests.web.conftest import Api
from tests.web.world import OTHER_KEY


def found(api: Api, **params: Any) -> list[dict[str, Any]]:
    api.run(api.world.read_models.wait_for(0, 0))
    response = api.get("/recipients", params=params)
    assert response.status_code == 200, response.text
    people: list[dict[str, Any]] = response.json()["data"]
    return people


@pytest.fixture
def sent(api: Api) -> list[str]:
    """To Ada; to Bob and Ada a minute later; and to Bob, which failed."""
    ids = []
    for to in (["Ada@Example.com"], ["bob@example.org", "Ada@Example.com"], ["bob@example.org"]):
        ids.append(api.send(to=to))
        api.world.clock.pass_time(timedelta(minutes=1))
    api.run(api.world.fail(ids[2]))
    return ids


def test_a_row_says_who_which_email_and_what_became_of_it(api: Api, sent: list[str]) -> None:
    (row,) = found(api, status="failed")
    assert (row["object"], row["email_id"], row["kind"], row["address"], row["status"]) == (
        *("recipient", sent[2], "to", "bob@example.org", "failed"),
    )
    assert row["created_at"] == "2026-03-01T12:02:00Z"


@pytest.mark.parametrize(
    ("params", "emails"),
    [
        ({}, "2110"),
        ({"address": "ada@EXAMPLE.com"}, "10"),
        ({"prefix": "ADA"}, "10"),
        ({"prefix": "bob@example.o"}, "21"),
        ({"prefix": "%"}, ""),
        ({"domain": "Example.ORG"}, "21"),
        ({"domain": "example.org", "status": "pending"}, "1"),
        ({"bounce_class": "hard"}, ""),
        ({"since": "2026-03-01T12:01:00Z", "prefix": "b"}, "21"),
        ({"until": "2026-03-01T12:01:00Z"}, "0"),
    ],
)
def test_filters(api: Api, sent: list[str], params: dict[str, Any], emails: str) -> None:
    assert "".join(str(sent.index(row["email_id"])) for row in found(api, **params)) == emails


def test_cursors_hold_their_place_while_mail_comes_in(api: Api, sent: list[str]) -> None:
    everybody = found(api)
    first = found(api, limit=2)
    api.send(to=["new@example.com"])
    assert found(api, after=first[-1]["cursor"]) == everybody[2:]
    assert found(api, before=everybody[3]["cursor"], limit=1) == [everybody[2]]
    assert [row["address"] for row in found(api, before=everybody[0]["cursor"])] == ["new@example.com"]


def test_a_tenant_finds_its_own(api: Api, sent: list[str]) -> None:
    found(api)
    assert api.get("/recipients", headers={"Authorization": f"Bearer {OTHER_KEY}"}).json()["data"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ("status=lost", "status"),
        ("bounce_class=odd", "bounce_class"),
        ("address=nobody", "address"),
        ("prefix=", "prefix"),
        ("after=x", "after"),
        ("after=1:2", "after"),
        ("after=99999999999999999999:00000000-0000-0000-0000-000000000000", "after"),
        (
            "after=1:00000000-0000-0000-0000-000000000000&before=2:00000000-0000-0000-0000-000000000000",
            "before",
        ),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, params: str, field: str) -> None:
    response = api.get(f"/recipients?{params}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
