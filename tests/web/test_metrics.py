"""/metrics: what was counted, and how the service is doing, for Prometheus to read, and nobody's personal data."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from application.alert_rules import RULES
from application.errors import StoreUnavailable
from application.incidents import Incident
from application.vitals import ReadModel, Signs
from domain.ids import uuid7
from domain.provider_state import ProviderState
from infrastructure.gauges import Gauges
from infrastructure.metrics import Metrics
from infrastructure.web.app import create_app, create_probes
from tests.application.test_alerts import FakeVitals, MemoryIncidents
from tests.fakes import FakeStates
from tests.feedback_source import SIGNED, WordForWord
from tests.samples import NOW
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


# -- gauges

SIGNS = Signs(
    queue={"critical": 0, "normal": 7, "bulk": 10_000},
    queue_oldest=timedelta(seconds=90),
    scheduled=3,
    unconfirmed=2,
    unconfirmed_oldest=timedelta(hours=1),
    parked=1,
    dead_letters=5,
    dead_letters_lately=4,
    read_models=[ReadModel("emails", 12), ReadModel("activity", 0, held=True)],
    unchained=6,
)


class Watched:
    """The gauges over numbers that a test sets."""

    def __init__(self, *providers: ProviderState, incidents: Sequence[Incident] = ()) -> None:
        self.vitals, self.incidents, self.metrics = FakeVitals(), MemoryIncidents(), Metrics()
        self.vitals.signs = SIGNS
        self.incidents.known = {incident.id: incident for incident in incidents}
        names = [state.name for state in providers]
        parts = (self.vitals, FakeStates(*providers), names, self.incidents, self.metrics)
        self.gauges = Gauges(*parts, lambda: NOW)

    def scraped(self, api: Api, path: str = "/metrics") -> Mapping[tuple[str, ...], float]:
        """Over HTTP, as of a worker, which answers nothing else."""
        service = replace(api.world.service, metrics=self.metrics, gauges=self.gauges.text)
        transport = httpx2.ASGITransport(app=create_probes(service))

        async def ask() -> str:
            async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
                return (await client.get(path)).text

        return counted(api.run(ask()))


def test_gauges_tell_how_the_service_is_doing(api: Api) -> None:
    found = Watched().scraped(api)
    assert {name: value for (name, *labels), value in found.items() if not labels} == {
        "postledger_queue_oldest_seconds": 90,
        "postledger_scheduled": 3,
        "postledger_unconfirmed": 2,
        "postledger_unconfirmed_oldest_seconds": 3600,
        "postledger_parked": 1,
        "postledger_dead_letters": 5,
        "postledger_dead_letters_lately": 4,
        "postledger_audit_chain_lag": 6,
    }
    assert found["postledger_queue", "priority=bulk"] == 10_000
    assert found["postledger_read_model_lag", "name=emails"] == 12
    assert found["postledger_read_model_held", "name=activity"] == 1


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (ProviderState("main"), "closed"),
        (ProviderState("main", degraded_until=NOW + timedelta(seconds=1)), "open"),
        (ProviderState("main", degraded_until=NOW), "half_open"),
        (ProviderState("main", degraded_until=NOW, paused=True), "paused"),
    ],
)
def test_a_provider_is_in_one_state(api: Api, state: ProviderState, word: str) -> None:
    found = {key: value for key, value in Watched(state).scraped(api).items() if key[0] == "postledger_provider_state"}
    assert len(found) == 4
    assert [key for key, value in found.items() if value] == [
        ("postledger_provider_state", "provider=main", f"state={word}")
    ]


def test_incidents_are_counted_by_kind_while_they_go_on(api: Api) -> None:
    kept = [Incident(uuid7(NOW), "provider_down", name, "warning", {}, NOW) for name in ("main", "backup", "old")]
    kept[2] = replace(kept[2], resolved_at=NOW)
    found = Watched(incidents=kept).scraped(api)
    open_ = {key[1]: value for key, value in found.items() if key[0] == "postledger_incidents_open"}
    assert open_ == {f"kind={rule.kind}": 2 if rule.kind == "provider_down" else 0 for rule in RULES}


def test_without_the_database_the_rest_is_told_and_that_is_counted(api: Api) -> None:
    watched = Watched(ProviderState("main"))
    watched.vitals.away = True
    watched.metrics.send("main", "accepted", 0.2)
    for times in (1, 2):
        found = watched.scraped(api)
        assert ("postledger_sends_total", "outcome=accepted", "provider=main") in found
        assert found["postledger_gauges_unread_total", "error=StoreUnavailable"] == times
        assert not any(key[0] == "postledger_queue" for key in found)
        assert found["postledger_provider_state", "provider=main", "state=closed"] == 1


class Hanging:
    """Implements the port Vitals on a database that never answers."""

    async def read(self) -> Signs:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_database_that_hangs_holds_nobody_up(api: Api) -> None:
    watched = Watched()
    watched.gauges = Gauges(
        *(Hanging(), FakeStates(), list[str](), watched.incidents, watched.metrics), lambda: NOW, within=0.05
    )
    assert watched.scraped(api)["postledger_gauges_unread_total", "error=TimeoutError"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/emails", 404), ("/hooks/main", 404), ("/docs", 404)],
)
def test_a_worker_answers_its_probes_and_nothing_else(api: Api, path: str, status: int) -> None:
    async def ask() -> int:
        transport = httpx2.ASGITransport(app=create_probes(api.world.service))
        async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
            return (await client.get(path)).status_code

    assert api.run(ask()) == status


def test_a_series_has_one_name_in_both_halves(api: Api) -> None:
    """Two families of one name in one answer would be refused by Prometheus."""
    watched = Watched(ProviderState("main"))
    watched.metrics.send("main", "accepted", 0.2)
    app = create_app(replace(api.world.service, metrics=watched.metrics, gauges=watched.gauges.text))

    async def ask() -> str:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api") as client:
            return (await client.get("/metrics")).text

    names = [line.split()[2] for line in api.run(ask()).splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))
