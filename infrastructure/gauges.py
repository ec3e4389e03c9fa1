"""How the service is doing, for Prometheus: the same in every process, whichever is asked."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from application.alert_rules import BY_KIND
from application.incidents import Incident, Incidents
from application.ports import Clock, ProviderStates
from application.vitals import Signs, Vitals
from domain.provider_state import Circuit, ProviderState
from infrastructure.metrics import Metrics

_WITHIN = 2.0  # seconds; whoever scrapes does not wait for long
_STATES = (*(circuit.value for circuit in Circuit), "paused")


class Gauges:
    """Reads the vitals when it is asked; when they cannot be read, there are none, and that is counted."""

    def __init__(
        self,
        vitals: Vitals,
        states: ProviderStates,
        providers: Sequence[str],
        incidents: Incidents,
        metrics: Metrics,
        clock: Clock,
        *,
        within: float = _WITHIN,
    ) -> None:
        """`within` is in seconds, for the database."""
        self._vitals = vitals
        self._states = states
        self._providers = providers
        self._incidents = incidents
        self._metrics = metrics
        self._clock = clock
        self._within = within

    async def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        states = [self._states.of(name) for name in self._providers]
        families = [*_providers(states, self._clock()), *await self._from_the_database()]
        registry = CollectorRegistry()
        registry.register(_Families(families))
        return generate_latest(registry)

    async def _from_the_database(self) -> list[GaugeMetricFamily]:
        try:
            async with asyncio.timeout(self._within):
                return [*_vitals(await self._vitals.read()), *_incidents(await self._incidents.unsettled())]
        except Exception as error:  # noqa: BLE001 - what this process has counted is worth telling, whatever it is
            self._metrics.unread(type(error).__name__)
            return []


class _Families(Collector):
    """What was read, as a registry wants it."""

    def __init__(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _vitals(signs: Signs) -> Iterator[GaugeMetricFamily]:
    queue = GaugeMetricFamily("postledger_queue", "Emails that are due and not begun.", labels=["priority"])
    for priority, emails in signs.queue.items():
        queue.add_metric([priority], emails)
    yield queue
    for name, help, value in (
        ("queue_oldest_seconds", "For how long the oldest of these has been due.", signs.queue_oldest.total_seconds()),
        ("scheduled", "Emails that are due later, or to be tried again later.", signs.scheduled),
        ("unconfirmed", "Emails in doubt.", signs.unconfirmed),
        ("unconfirmed_oldest_seconds", "The age of the oldest doubt.", signs.unconfirmed_oldest.total_seconds()),
        ("parked", "Emails in doubt that wait for an operator.", signs.parked),
        ("dead_letters", "Emails that ended while somebody has not got them.", signs.dead_letters),
        ("dead_letters_lately", "Those that did so within the window of the alert.", signs.dead_letters_lately),
        ("audit_chain_lag", "Events that the audit chain does not hold yet.", signs.unchained),
    ):
        yield GaugeMetricFamily(f"postledger_{name}", help, value=value)
    lag = GaugeMetricFamily("postledger_read_model_lag", "Events that a read model is behind.", labels=["name"])
    age = GaugeMetricFamily(
        "postledger_read_model_lag_seconds", "How old the first event is that it has not folded.", labels=["name"]
    )
    held = GaugeMetricFamily("postledger_read_model_held", "1 when it cannot go on by itself.", labels=["name"])
    parked = GaugeMetricFamily("postledger_read_model_parked", "Streams that it could not follow.", labels=["name"])
    for model in signs.read_models:
        lag.add_metric([model.name], model.lag)
        age.add_metric([model.name], model.lag_seconds)
        held.add_metric([model.name], model.held)
        parked.add_metric([model.name], model.parked)
    yield from (lag, age, held, parked)


def _providers(states: Sequence[ProviderState], now: datetime) -> Iterator[GaugeMetricFamily]:
    gauge = GaugeMetricFamily(
        "postledger_provider_state", "1 for the state that the provider is in.", labels=["provider", "state"]
    )
    for state in states:
        for each in _STATES:
            gauge.add_metric([state.name, each], each == state.word(now))
    yield gauge


def _incidents(incidents: Sequence[Incident]) -> Iterator[GaugeMetricFamily]:
    gauge = GaugeMetricFamily("postledger_incidents_open", "Incidents that go on.", labels=["kind"])
    ongoing = Counter(incident.kind for incident in incidents if incident.resolved_at is None)
    for kind in BY_KIND:
        gauge.add_metric([kind], ongoing[kind])
    yield gauge
