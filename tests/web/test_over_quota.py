"""A tenant whose quota rejects: counted when accepted, told when to come back, and repetitions are free."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.web.conftest import Api, email
from tests.web.world import OTHER_KEY, World


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        limits = {"default": {"rate": "3/hour", "over_quota": "reject"}, "*": {"rate": "1/day", "over_quota": "defer"}}
        world = World(tmp_path, tenants=limits)
        try:
            yield Api(world, runner)
        finally:
            runner.run(world.close())


def accepted(api: Api) -> int:
    return api.run(api.world.ledger.position())


def check_refusal(response: httpx2.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    assert response.status_code == answer["status"] == answer["statusCode"] == 429
    assert (answer["code"], answer["name"]) == ("over_quota", "rate_limit_exceeded")
    assert response.headers["content-type"] == "application/problem+json"
    assert 0 < int(response.headers["retry-after"]) <= 3600 * 21 / 20
    return answer


def test_what_is_over_the_quota_is_not_accepted_until_retry_after(api: Api) -> None:
    for _ in range(3):
        api.send()
    refused = api.post("/emails", json=email())
    check_refusal(refused)
    assert accepted(api) == 3
    api.world.clock.pass_time(timedelta(seconds=int(refused.headers["retry-after"])))
    api.send()


def test_a_batch_goes_in_whole_or_not_at_all(api: Api) -> None:
    api.send()
    check_refusal(api.post("/emails/batch", json=[email()] * 3))
    assert accepted(api) == 1
    assert api.post("/emails/batch", json=[email()] * 2).status_code == 202
    check_refusal(api.post("/emails", json=email()))
    assert accepted(api) == 3


def test_a_batch_larger_than_the_whole_quota_is_told_so(api: Api) -> None:
    answer = check_refusal(api.post("/emails/batch", json=[email()] * 4))
    assert "3/hour" in answer["detail"]
    assert api.post("/emails/batch", json=[email()] * 3).status_code == 202  # nothing was counted


def test_of_a_permissive_batch_the_good_ones_count(api: Api) -> None:
    batch = [email(), email(to=["nobody"]), email(), email()]
    assert api.post("/emails/batch", json=batch, headers={"x-batch-validation": "permissive"}).status_code == 202
    check_refusal(api.post("/emails", json=email()))


def test_a_repetition_is_not_counted_and_gets_the_first_answer(api: Api) -> None:
    key, batch_key = {"Idempotency-Key": "one"}, {"Idempotency-Key": "two"}
    first = api.post("/emails", json=email(), headers=key)
    batch = api.post("/emails/batch", json=[email()], headers=batch_key)
    for _ in range(5):
        again = api.post("/emails", json=email(), headers=key)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["idempotent-replayed"] == "true"
    api.send()
    check_refusal(api.post("/emails", json=email()))
    assert api.post("/emails", json=email(), headers=key).json() == first.json()
    assert api.post("/emails/batch", json=[email()], headers=batch_key).json() == batch.json()
    assert api.post("/emails", json=email(subject="Other"), headers=key).status_code == 409
    check_refusal(api.post("/emails", json=email(), headers={"Idempotency-Key": "new"}))


def test_where_what_is_over_the_quota_waits_it_is_accepted(api: Api) -> None:
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    assert [api.post("/emails", json=email(), headers=other).status_code for _ in range(3)] == [202] * 3
