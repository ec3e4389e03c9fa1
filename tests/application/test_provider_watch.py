"""Every process follows how the providers stand; what one of them records, all agree on."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from application.breaker import BreakerPolicy
from application.errors import StoreUnavailable
from application.ports import Recorded
from application.provider_watch import ProviderWatch
from application.providers import Providers
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.ids import provider_id
from domain.provider import Rest
from domain.provider_state import Circuit, ProviderState
from infrastructure.bootstrap import PROJECTIONS
from infrastructure.bootstrap import now as real_now
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.ledger.ledger import EventLedger
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.provider_states import SqlProviderStates
from tests.application.test_breaker import DOWN, TAKEN
from tests.fakes import MemoryLedger
from tests.ledger.conftest import open_store
from tests.samples import NOW, stamp

SECOND = timedelta(seconds=1)
POLICY = BreakerPolicy(5, 0.5, 20, 60 * SECOND, Rest(30 * SECOND, 300 * SECOND))
GREYLISTED = Answer(error_class=ErrorClass.TRANSIENT, about_message=True)


class FakeStates:
    """Implements the port KnownStates from the streams themselves."""

    def __init__(self, streams: Providers, *names: str) -> None:
        self._streams = streams
        self._names = names

    async def all(self) -> Mapping[str, ProviderState]:
        found = [(await self._streams.load(name)).state for name in self._names]
        return {state.name: state for state in found if state.version}

    async def wait(self, timeout: float) -> None:
        await asyncio.sleep(0.01)


class BreakableLedger(MemoryLedger):
    """`away` makes it unavailable."""

    away = False

    async def append(self, events: Any, contents: Any = ()) -> int:
        self._sound()
        return await super().append(events, contents)

    async def load(self, stream_id: Any) -> list[Recorded]:
        self._sound()
        return await super().load(stream_id)

    def _sound(self) -> None:
        if self.away:
            raise StoreUnavailable


class Ward:
    """A ledger, a clock to set, and as many processes that watch as a test wants."""

    def __init__(self) -> None:
        self.now = NOW
        self.ledger = BreakableLedger()

    def watch(self) -> ProviderWatch:
        streams = Providers(self.ledger)
        return ProviderWatch(("main", "backup"), FakeStates(streams, "main"), streams, POLICY, lambda: self.now)

    async def recorded(self) -> list[str]:
        return [each.event.TYPE.removeprefix("provider.") for each in await self.ledger.load(provider_id("main"))]


def play(scenario: Callable[[Ward], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario(Ward()))


async def fail(watch: ProviderWatch, times: int = 5) -> None:
    for _ in range(times):
        await watch.observe("main", DOWN)


def circuit(watch: ProviderWatch, now: datetime) -> Circuit:
    return watch.of("main").circuit(now)


def test_failures_in_a_row_open_the_circuit_at_once() -> None:
    async def scenario(ward: Ward) -> None:
        watch = ward.watch()
        await fail(watch, 4)
        assert circuit(watch, ward.now) is Circuit.CLOSED
        await fail(watch, 1)
        assert circuit(watch, ward.now) is Circuit.OPEN
        assert watch.of("main").degraded_until == NOW + 30 * SECOND

    play(scenario)


def test_many_answers_at_once_are_one_event() -> None:
    async def scenario(ward: Ward) -> None:
        watches = [ward.watch() for _ in range(3)]
        await asyncio.gather(*(watch.observe("main", DOWN) for watch in watches for _ in range(40)))
        assert await ward.recorded() == ["degraded"]
        assert {circuit(watch, ward.now) for watch in watches} <= {Circuit.OPEN}

    play(scenario)


def test_what_another_process_recorded_is_followed_and_not_said_again() -> None:
    async def scenario(ward: Ward) -> None:
        one, other = ward.watch(), ward.watch()
        await fail(one)
        await fail(other)  # which has not heard of it yet
        await other.refresh()
        assert await ward.recorded() == ["degraded"]
        assert one.of("main") == other.of("main")

    play(scenario)


@pytest.mark.parametrize(("answer", "then"), [(TAKEN, Circuit.CLOSED), (DOWN, Circuit.OPEN), (GREYLISTED, None)])
def test_a_probe_decides(answer: Answer, then: Circuit | None) -> None:
    async def scenario(ward: Ward) -> None:
        watch = ward.watch()
        await fail(watch)
        ward.now += 30 * SECOND
        assert circuit(watch, ward.now) is Circuit.HALF_OPEN
        await watch.observe("main", answer)
        assert circuit(watch, ward.now) is (then or Circuit.HALF_OPEN)
        assert watch.of("main").openings == {Circuit.CLOSED: 0, Circuit.OPEN: 2, None: 1}[then]

    play(scenario)


def test_after_a_recovery_old_failures_count_no_more() -> None:
    async def scenario(ward: Ward) -> None:
        one, other = ward.watch(), ward.watch()
        await fail(other, 4)
        await fail(one)
        ward.now += 30 * SECOND
        await one.observe("main", TAKEN)
        await other.refresh()
        await other.observe("main", DOWN)
        assert circuit(other, ward.now) is Circuit.CLOSED

    play(scenario)


def test_the_read_model_being_behind_takes_nothing_back() -> None:
    async def scenario(ward: Ward) -> None:
        watch = ward.watch()
        await fail(watch)
        behind = ProviderState("main", version=0)
        watch._follow(behind)
        assert circuit(watch, ward.now) is Circuit.OPEN

    play(scenario)


def test_what_operators_decide_is_followed_and_survives_a_restart() -> None:
    async def scenario(ward: Ward) -> None:
        watch = ward.watch()
        await Providers(ward.ledger).decide("main", lambda provider: provider.pause("maintenance", stamp()))
        await watch.refresh()
        assert circuit(watch, ward.now) is Circuit.OPEN
        again = ward.watch()
        assert circuit(again, ward.now) is Circuit.CLOSED
        await again.load()
        assert again.of("main") == watch.of("main")

    play(scenario)


def test_a_store_that_is_away_is_survived_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(ward: Ward) -> None:
        watch = ward.watch()
        ward.ledger.away = True
        await fail(watch)
        assert circuit(watch, ward.now) is Circuit.CLOSED
        ward.ledger.away = False
        await fail(watch, 1)
        assert circuit(watch, ward.now) is Circuit.OPEN

    play(scenario)
    assert "how the provider main stands was not recorded" in caplog.text


def test_operators_get_one_line_for_each_change_and_nobodys_words(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(ward: Ward) -> None:
        watch, streams = ward.watch(), Providers(ward.ledger)
        await fail(watch)
        ward.now += 30 * SECOND
        await fail(watch, 1)
        ward.now += 60 * SECOND
        await watch.observe("main", TAKEN)
        await streams.decide("main", lambda provider: provider.pause("moving house", stamp(ward.now)))
        await watch.refresh()
        await streams.decide("main", lambda provider: provider.resume("moved", stamp(ward.now)))
        await watch.refresh()

    with caplog.at_level(logging.INFO, "application"):
        play(scenario)
    said = [(record.levelname, record.getMessage().partition(" (")[0]) for record in caplog.records]
    assert said == [
        ("WARNING", "The provider main is degraded"),
        ("INFO", "The provider main is well again."),
        ("INFO", "The provider main is paused."),
        ("INFO", "The provider main is in use again."),
    ]
    assert not [words for words in ("out of order", "moving house", "moved") if words in caplog.text]


def test_two_processes_agree_within_the_refresh_over_real_stores(database_url: str) -> None:
    async def scenario() -> None:
        database, stop = Database.open(database_url), asyncio.Event()
        wakeups = [Wakeups(database_url), Wakeups(database_url)]
        ledger = EventLedger(open_store(database_url), wakeups[0].events)
        runner = ProjectionRunner(ledger, database, PROJECTIONS, wakeups[0], real_now)
        await ledger.position()
        await runner.prepare()
        streams = Providers(ledger)
        one, other = (
            ProviderWatch(("main",), SqlProviderStates(database, each), streams, POLICY, real_now) for each in wakeups
        )
        for each in wakeups:
            each.start()
        running = [asyncio.create_task(run(stop)) for run in (runner.run, one.run, other.run)]
        async with asyncio.timeout(30):
            await fail(one)
            while other.of("main") != one.of("main"):
                await asyncio.sleep(0.02)
            assert circuit(other, real_now()) is Circuit.OPEN
            await streams.decide("main", lambda provider: provider.resume("mended", stamp(real_now())))
            while one.of("main").degraded or other.of("main").degraded:
                await asyncio.sleep(0.02)
            assert one.of("main") == other.of("main")
        stop.set()
        await asyncio.gather(*running)
        for each in wakeups:
            await each.stop()
        await ledger.close()
        database.close()

    asyncio.run(scenario())
