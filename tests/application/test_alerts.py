"""Operators are told once per incident, by every channel, and again when it is over; whoever watches."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.alert_rules import RULES, Thresholds
from application.alerts import AlertWatch, WatchPace
from application.errors import StoreUnavailable
from application.incidents import Alert, Incident, Incidents
from application.vitals import ReadModel, Signs
from domain.delivery import ErrorClass
from domain.ids import uuid7
from domain.provider_state import ProviderState
from infrastructure.database.engines import Database
from infrastructure.incidents import SqlIncidents
from tests.fakes import FakeStates
from tests.samples import NOW

NONE = timedelta(0)
WELL = Signs({"critical": 0, "normal": 0, "bulk": 0}, NONE, 0, 0, NONE, 0, 0, 0, [ReadModel("emails", 0)])
EVERY, CALM, LONG = timedelta(seconds=15), timedelta(minutes=2), timedelta(minutes=10)
LIMITS = Thresholds()


class MemoryIncidents:
    """Implements the port Incidents in a dictionary."""

    def __init__(self) -> None:
        self.known: dict[UUID, Incident] = {}

    async def unsettled(self) -> Sequence[Incident]:
        await asyncio.sleep(0)
        return [incident for incident in self.known.values() if not incident.settled]

    async def add(self, incident: Incident) -> bool:
        ongoing = {(i.kind, i.subject) for i in self.known.values() if i.resolved_at is None}
        if (incident.kind, incident.subject) in ongoing:
            return False
        self.known[incident.id] = incident
        return True

    async def get(self, id: UUID) -> Incident | None:
        await asyncio.sleep(0)
        return self.known.get(id)

    async def save(self, incident: Incident) -> bool:
        if self.known[incident.id].version != incident.version:
            return False
        self.known[incident.id] = replace(incident, version=incident.version + 1)
        return True


class FakeVitals:
    """Implements the port Vitals as a test sets it."""

    def __init__(self) -> None:
        self.signs = WELL
        self.away = False

    async def read(self) -> Signs:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable
        return self.signs


class Pager:
    """A channel that remembers, unless it is out of order."""

    def __init__(self, name: str = "pager") -> None:
        self.name = name
        self.told: list[Alert] = []
        self.asked = 0
        self.broken = False

    async def tell(self, alert: Alert) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("no line")
        self.told.append(alert)

    @property
    def words(self) -> list[tuple[str, str, str]]:
        return [(alert.kind, alert.subject, alert.status) for alert in self.told]


class Operations:
    """Any number of watches over one service, with a clock that a test moves."""

    def __init__(self, *pagers: Pager, incidents: Incidents | None = None, watches: int = 1) -> None:
        self.now = NOW
        self.vitals, self.states = FakeVitals(), FakeStates()
        self.pagers = list(pagers) or [Pager()]
        self.incidents = incidents or MemoryIncidents()
        self.watches = [self.watch() for _ in range(watches)]

    def watch(self) -> AlertWatch:
        pace = WatchPace(EVERY, CALM)
        providers = (self.vitals, self.states, ["main", "backup"])
        return AlertWatch(*providers, self.incidents, self.pagers, LIMITS, pace, lambda: self.now)

    async def look(self) -> None:
        await asyncio.gather(*(watch.look() for watch in self.watches))

    async def pass_time(self, by: timedelta) -> None:
        """With a look every so often."""
        end = self.now + by
        while self.now < end:
            self.now += EVERY
            await self.look()

    def break_down(self, *names: str, error_class: ErrorClass | None = None) -> None:
        for name in names:
            until = self.now + timedelta(hours=1)
            state = ProviderState(name, cause="sends", error_class=error_class, degraded_until=until, openings=1)
            self.states.known[name] = state

    def recover(self, *names: str) -> None:
        for name in names:
            self.states.known[name] = ProviderState(name)

    def set(self, **signs: Any) -> None:
        self.vitals.signs = replace(WELL, **signs)


def test_all_is_well_and_nobody_is_told_anything() -> None:
    service = Operations()
    asyncio.run(service.pass_time(LONG))
    assert service.pagers[0].told == []


def test_an_incident_is_told_when_it_begins_and_when_it_is_over_and_not_in_between() -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        await service.look()
        service.break_down("main")
        await service.pass_time(LONG)
        assert pager.words == [("provider_down", "main", "raised")]
        service.recover("main")
        await service.pass_time(LONG)

    asyncio.run(course())
    raised, resolved = pager.told
    assert (raised.id, raised.severity, raised.facts["provider"]) == (resolved.id, "warning", "main")
    assert (raised.status, resolved.status, resolved.since) == ("raised", "resolved", raised.since)
    assert resolved.text.startswith("The provider main is not taken for down any more. It lasted 1")


def test_what_comes_and_goes_is_one_incident() -> None:
    service = Operations()

    async def course() -> None:
        for _ in range(20):
            service.break_down("main")
            await service.pass_time(timedelta(seconds=30))
            service.recover("main")
            await service.pass_time(timedelta(seconds=90))
        await service.pass_time(LONG)

    asyncio.run(course())
    assert [status for *_, status in service.pagers[0].words] == ["raised", "resolved"]


def test_the_same_trouble_later_is_another_incident() -> None:
    service = Operations()

    async def course() -> None:
        for _ in range(2):
            service.break_down("main")
            await service.look()
            service.recover("main")
            await service.pass_time(LONG)

    asyncio.run(course())
    assert [status for *_, status in service.pagers[0].words] == ["raised", "resolved"] * 2
    assert len({alert.id for alert in service.pagers[0].told}) == 2


def test_two_watches_over_one_store_tell_once() -> None:
    service = Operations(watches=3)

    async def course() -> None:
        service.break_down("main", "backup")
        await service.pass_time(LONG)
        service.recover("main", "backup")
        await service.pass_time(LONG)

    asyncio.run(course())
    words = service.pagers[0].words
    assert len(words) == len(set(words)) == 6


def test_a_watch_that_takes_over_knows_what_was_told_and_ends_what_another_began() -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        service.break_down("main")
        await service.look()
        service.watches = [service.watch()]
        await service.pass_time(LONG)
        assert len(pager.told) == 1
        service.recover("main")
        service.watches = [service.watch()]
        await service.look()
        assert len(pager.told) == 1  # it has not yet seen for how long all has been well
        await service.pass_time(CALM)

    asyncio.run(course())
    assert [status for *_, status in pager.words] == ["raised", "resolved"]


def test_a_channel_that_failed_is_tried_again_ever_more_seldom_and_the_others_are_not_told_twice() -> None:
    service = Operations(Pager("log"), Pager("webhook"))
    log, webhook = service.pagers

    async def course() -> None:
        webhook.broken = True
        service.break_down("main")
        await service.look()
        assert (len(log.told), webhook.asked) == (1, 1)
        await service.pass_time(timedelta(hours=1))
        assert 8 <= webhook.asked <= 12
        webhook.broken = False
        await service.pass_time(LONG)

    asyncio.run(course())
    assert log.words == webhook.words == [("provider_down", "main", "raised")]


def test_who_could_not_be_told_of_the_beginning_is_told_of_the_end_alone() -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        pager.broken = True
        service.break_down("main")
        await service.look()
        service.recover("main")
        await service.pass_time(LONG)
        pager.broken = False
        await service.pass_time(LONG)

    asyncio.run(course())
    assert pager.words == [("provider_down", "main", "resolved")]


def test_a_channel_that_is_gone_for_days_is_given_up_after_the_end() -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        pager.broken = True
        service.break_down("main")
        await service.look()
        service.recover("main")
        await service.pass_time(CALM + EVERY)
        assert await service.incidents.unsettled()
        service.now += timedelta(days=1)
        await service.look()
        assert await service.incidents.unsettled() == []

    asyncio.run(course())


def test_a_watch_that_dies_while_it_tells_leaves_the_telling_to_the_next_one() -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        service.break_down("main")
        telling = asyncio.create_task(service.look())
        while not pager.asked:
            await asyncio.sleep(0)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        assert pager.told == []
        service.watches = [service.watch()]
        await service.look()
        assert pager.told == []  # it may still be at it
        await service.pass_time(EVERY)

    asyncio.run(course())
    assert pager.words == [("provider_down", "main", "raised")]


SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
BAD: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [  # kind, over, between, under the threshold
    *[("dead_letters", {"dead_letters_lately": 21}, {"dead_letters_lately": 20}, {"dead_letters_lately": 16})],
    *[("queue_age", {"queue_oldest": 6 * MINUTE}, {"queue_oldest": 5 * MINUTE}, {"queue_oldest": 4 * MINUTE})],
    *[("in_doubt", {"unconfirmed": 51}, {"unconfirmed": 50}, {"unconfirmed": 40})],
    *[
        (
            *("in_doubt", {"unconfirmed": 1, "unconfirmed_oldest": HOUR + SECOND}),
            *({"unconfirmed": 1, "unconfirmed_oldest": HOUR}, {"unconfirmed": 1, "unconfirmed_oldest": 45 * MINUTE}),
        )
    ],
    (
        *("read_model_behind", {"read_models": [ReadModel("emails", 10_001)]}),
        *({"read_models": [ReadModel("emails", 10_000)]}, {"read_models": [ReadModel("emails", 8_000)]}),
    ),
    *[("audit_chain_behind", {"unchained": 10_001}, {"unchained": 10_000}, {"unchained": 8_000})],
    *[("read_model_held", {"read_models": [ReadModel("emails", 3, held=True)]}, {}, {})],
]


@pytest.mark.parametrize(("kind", "over", "between", "under"), BAD)
def test_a_threshold_begins_an_incident_above_it_and_ends_it_well_below(
    kind: str, over: dict[str, Any], between: dict[str, Any], under: dict[str, Any]
) -> None:
    service = Operations()
    (pager,) = service.pagers

    async def course() -> None:
        service.set(**between)
        await service.pass_time(LONG)
        assert pager.told == []
        service.set(**over)
        await service.look()
        assert [alert.kind for alert in pager.told] == [kind]
        if between:
            service.set(**between)
            await service.pass_time(LONG)
            assert len(pager.told) == 1
        service.set(**under)
        await service.pass_time(LONG)

    asyncio.run(course())
    assert [status for *_, status in pager.words] == ["raised", "resolved"]


@pytest.mark.parametrize("paused", [(), ("main",), ("main", "backup")])
def test_when_nothing_can_go_out_that_is_told_as_such(paused: Sequence[str]) -> None:
    service = Operations()
    service.break_down("main", "backup")
    for name in paused:
        service.states.known[name].paused = True
    asyncio.run(service.look())
    (alert,) = [alert for alert in service.pagers[0].told if alert.kind == "all_providers_down"]
    assert (alert.severity, alert.facts["degraded"], alert.facts["paused"]) == (
        "critical",
        2 - len(paused),
        len(paused),
    )
    down = {alert.subject for alert in service.pagers[0].told if alert.kind == "provider_down"}
    assert down == {"main", "backup"} - {*paused}  # what an operator did is no news to operators


def test_a_provider_that_refuses_us_is_told_apart_from_one_that_is_down() -> None:
    service = Operations()
    service.break_down("main", error_class=ErrorClass.CONFIG)
    asyncio.run(service.look())
    told = {alert.kind: alert for alert in service.pagers[0].told}
    assert told.keys() == {"provider_down", "provider_config"}
    assert (told["provider_config"].severity, told["provider_config"].subject) == ("critical", "main")


def test_a_drill_is_called_one() -> None:
    service = Operations()
    service.break_down("main")
    service.states.known["main"].drill_fault = "timeout"
    service.states.known["main"].drill_until = NOW + HOUR
    asyncio.run(service.look())
    assert service.pagers[0].told[0].facts["drill"] == "timeout"


def test_counts_that_stop_say_so() -> None:
    service = Operations()
    service.set(dead_letters_lately=10_000)
    asyncio.run(service.look())
    assert "10,000 or more emails" in service.pagers[0].told[0].text


def test_it_goes_on_when_the_store_is_back_and_only_where_it_leads() -> None:
    service = Operations()
    (pager,) = service.pagers
    watch = AlertWatch(
        *(service.vitals, service.states, ["main"], service.incidents, [pager], LIMITS),
        *(WatchPace(timedelta(milliseconds=1), CALM), lambda: service.now),
    )
    asked = 0

    async def course() -> None:
        stop = asyncio.Event()

        async def leads() -> bool:
            nonlocal asked
            asked += 1
            service.vitals.away = asked == 5
            return asked > 3

        service.break_down("main")
        running = asyncio.create_task(watch.run(leads, stop))
        while asked < 8 or not pager.told:
            assert asked > 3 or not pager.told
            await asyncio.sleep(0)
        stop.set()
        await running

    asyncio.run(course())
    assert len(pager.told) == 2  # the one provider, and with it all of them


def test_every_rule_has_a_kind_of_its_own() -> None:
    assert len({rule.kind for rule in RULES}) == len(RULES)


# -- the port Incidents: in memory, and as a table


def incident(kind: str = "queue_age", since: datetime = NOW) -> Incident:
    return Incident(uuid7(since), kind, "", "warning", {"waiting": 3, "provider": "main"}, since)


async def contract(store: Incidents) -> None:
    first = incident()
    assert await store.add(first)
    assert await store.get(first.id) == first
    assert not await store.add(incident())  # one of these goes on already
    assert await store.add(incident("in_doubt"))
    claimed = first.claimed(["log"], NOW)
    assert await store.save(claimed)
    assert not await store.save(claimed)  # somebody was faster
    stored = await store.get(first.id)
    assert stored == replace(claimed, version=2)
    over = replace(stored.told(["log"], "raised"), resolved_at=NOW + CALM)
    assert await store.save(over)
    assert {i.kind for i in await store.unsettled()} == {"queue_age", "in_doubt"}
    assert await store.save(replace(over, version=3, settled=True))
    assert {i.kind for i in await store.unsettled()} == {"in_doubt"}
    assert await store.add(incident())
    assert await store.get(uuid7(NOW)) is None


def test_incidents_in_memory() -> None:
    asyncio.run(contract(MemoryIncidents()))


def test_incidents_in_a_table(database_url: str) -> None:
    async def course() -> None:
        database = Database.open(database_url)
        try:
            store = SqlIncidents(database)
            await asyncio.gather(store.prepare(), store.prepare())
            await contract(store)
            assert {i.kind for i in await store.recent(10, ongoing=True)} == {"queue_age", "in_doubt"}
            assert len(await store.recent(10)) == 3
            later = incident("dead_letters", NOW + timedelta(days=100))
            assert await store.add(later)
            assert (await store.recent(1)) == [later]
            assert len(await store.recent(10)) == 3  # the one that was over long ago made room
        finally:
            database.close()

    asyncio.run(course())


def test_two_processes_tell_once(database_url: str) -> None:
    """As two watches in one, but over a real store."""

    async def course() -> None:
        database = Database.open(database_url)
        try:
            store = SqlIncidents(database)
            await store.prepare()
            service = Operations(incidents=store, watches=2)
            service.break_down("main")
            for _ in range(3):
                service.now += EVERY
                await service.look()
            service.recover("main")
            for _ in range(12):
                service.now += EVERY
                await service.look()
            assert [status for *_, status in service.pagers[0].words] == ["raised", "resolved"]
        finally:
            database.close()

    asyncio.run(course())
