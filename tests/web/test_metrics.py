"""/metrics: what was counted, in a form that Prometheus reads, and nobody's personal data."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from application.errors import StoreUnavailable
from infrastructure.metrics import Metrics
from tests.feedback_source import SIGNED, WordForWord
from tests.web.conftest import Api


def counted(text: str) -> dict[tuple[str, ...], float]:
    """The samples by name and labels, without the buckets and times of creation."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for sample in samples
        if not sample.name.endswith(("_created", "_bucket", "_sum"))
    }


def scraped(api: Api) -> dict[tuple[str, ...], float]:
    response = api.get("/metrics", headers={"Authorization": ""})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return counted(response.text)


def test_it_needs_no_key_and_no_store(api: Api) -> None:
    api.world.ledger.trouble = StoreUnavailable()
    assert scraped(api) == {}


def test_deliveries_are_counted_by_what_became_of_them(api: Api) -> None:
    api.run(api.world.inbox.prepare())
    source = api.world.sources["main"] = WordForWord("main")
    for headers in (SIGNED, SIGNED, {}):
        api.post("/hooks/main", headers=headers, content=b"[]")
    source.away = True
    api.post("/hooks/main", headers=SIGNED, content=b"[]")
    assert scraped(api) == {
        ("postledger_hooks_total", f"outcome={outcome}", "provider=main"): 1
        for outcome in ("stored", "duplicate", "bad_signature", "unavailable")
    }


@pytest.mark.parametrize("name", ["nobody", "ada@example.com", "main%0A", "x" * 500])
def test_a_stranger_cannot_make_labels(api: Api, name: str) -> None:
    api.post(f"/hooks/{name}", content=b"[]")
    assert scraped(api) == {("postledger_hooks_total", "outcome=unknown_provider", "provider=unknown"): 1}


def test_statements_and_send_calls_are_counted(api: Api) -> None:
    metrics = api.world.service.metrics
    metrics.feedback("main", "bounced", "recorded")
    metrics.send("main", "accepted", 0.2)
    metrics.send("main", "transient", 3)
    assert scraped(api) == {
        ("postledger_feedback_total", "kind=bounced", "outcome=recorded", "provider=main"): 1,
        ("postledger_sends_total", "outcome=accepted", "provider=main"): 1,
        ("postledger_sends_total", "outcome=transient", "provider=main"): 1,
        ("postledger_send_seconds_count", "provider=main"): 2,
    }


def test_two_services_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.hook("main", "stored")
    assert counted(second.text().decode()) == {}
