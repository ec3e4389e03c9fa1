"""POST /emails/batch: all or nothing, unless asked to be permissive."""

import pytest

from tests.web.conftest import Api, email

PERMISSIVE = {"x-batch-validation": "permissive"}
BAD = email(to=["bob@example.com", "nobody"])


def test_a_batch_is_one_commit_with_an_id_for_each(api: Api) -> None:
    response = api.post("/emails/batch", json=[email(subject="One"), email(subject="Two")])
    ids = [item["id"] for item in response.json()["data"]]
    assert response.status_code == 202
    assert response.headers["postledger-position"] == "2"
    assert [api.get(f"/emails/{id}").json()["subject"] for id in ids] == ["One", "Two"]
    assert response.json()["errors"] == []


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (BAD, "[1].to[1]"),
        (email(colour="red"), "[1].colour"),
        (email(scheduled_at="in 31 days"), "[1].scheduled_at"),
        (email(expires_at="2020-01-01T00:00:00Z"), "[1].expires_at"),
        (email(attachments=[{"filename": "a", "content": "no!"}]), "[1].attachments[0].content"),
        (17, "[1]"),
    ],
)
def test_one_bad_item_refuses_a_strict_batch_by_name(api: Api, item: object, field: str) -> None:
    response = api.post("/emails/batch", json=[email(), item])
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert api.run(api.world.ledger.position()) == 0


def test_a_permissive_batch_accepts_the_good_and_reports_the_bad(api: Api) -> None:
    batch = [BAD, email(subject="Good"), email(scheduled_at="in 40 days")]
    response = api.post("/emails/batch", json=batch, headers=PERMISSIVE)
    answer = response.json()
    assert response.status_code == 202
    assert api.get(f"/emails/{answer['data'][0]['id']}").json()["subject"] == "Good"
    assert [error["index"] for error in answer["errors"]] == [0, 2]
    assert "to[1]" in answer["errors"][0]["message"]
    assert api.run(api.world.ledger.position()) == 1


def test_a_permissive_batch_without_a_good_item_accepts_nothing(api: Api) -> None:
    response = api.post("/emails/batch", json=[BAD], headers=PERMISSIVE)
    assert response.json()["data"] == []
    assert "postledger-position" not in response.headers
    assert api.run(api.world.ledger.position()) == 0


def test_one_key_stands_for_the_whole_batch(api: Api) -> None:
    batch, key = [email(subject="One"), email(subject="Two")], {"Idempotency-Key": "batch"}
    first = api.post("/emails/batch", json=batch, headers=key)
    again = api.post("/emails/batch", json=batch, headers=key)
    other = api.post("/emails/batch", json=batch[:1], headers=key)
    single = api.post("/emails", json=batch[0], headers=key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, single.status_code) == (409, 409)
    assert api.run(api.world.ledger.position()) == 2


@pytest.mark.parametrize("body", ["[]", "{}", "null", "[" + "{}," * 100 + "{}]"])
def test_what_is_no_batch_is_refused(api: Api, body: str) -> None:
    response = api.post("/emails/batch", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422


def test_an_unknown_mode_is_refused(api: Api) -> None:
    response = api.post("/emails/batch", json=[email()], headers={"x-batch-validation": "lax"})
    assert response.json()["errors"][0]["field"] == "x-batch-validation"
