"""Checks tell that a provider is broken though nobody sends, and that it works again."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from application.health import HealthChecks, examine
from application.ports import Misconfigured
from domain.provider_events import ProviderDegraded
from domain.provider_state import Circuit
from tests.application.test_breaker import DOWN, TAKEN
from tests.application.test_provider_watch import SECOND, Ward, circuit, fail
from tests.providers_fake import ScriptedProvider
from tests.samples import NOW, stamp

REFUSED = Misconfigured("It does not accept the API key.")


class Checked(ScriptedProvider):
    """A provider whose check says what `wrong` is, or raises it."""

    def __init__(self, name: str = "main") -> None:
        super().__init__()
        self.name = name
        self.wrong: str | Exception | None = None
        self.checks = 0

    async def check(self) -> str | None:
        self.checks += 1
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong


class Practice(Ward):
    """A watch, one provider, and who checks it."""

    def __init__(self) -> None:
        super().__init__()
        self.provider = Checked()
        self.states = self.watch()
        self.checks = HealthChecks({"main": self.provider}, self.states, 30 * SECOND, lambda: self.now, lambda: 0.5)

    async def rounds(self, *wrong: str | Exception | None) -> None:
        for each in wrong:
            self.provider.wrong = each
            self.now += 30 * SECOND
            await self.checks.round()

    def circuit(self) -> Circuit:
        return circuit(self.states, self.now)


def play(scenario: Callable[[Practice], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await scenario(Practice())

    asyncio.run(run())


def test_three_failures_in_a_row_degrade_it_and_a_success_ends_that() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds("away", None, "away", "away")
        assert practice.circuit() is Circuit.CLOSED
        await practice.rounds("away")
        assert (practice.circuit(), practice.states.of("main").cause) == (Circuit.OPEN, "check")
        await practice.rounds(None)
        assert practice.circuit() is Circuit.CLOSED
        assert await practice.recorded() == ["degraded", "recovered"]

    play(scenario)


def test_as_long_as_checks_fail_it_stays_open_for_longer_and_longer() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds(*["away"] * 20)
        assert await practice.recorded() == ["degraded"] * 5  # after 90, 120, 180, 300 and 540 seconds

    play(scenario)


def test_what_sends_found_only_a_probe_ends() -> None:
    async def scenario(practice: Practice) -> None:
        await fail(practice.states)
        await practice.rounds(None, "away", "away", "away", None)
        assert practice.circuit() is Circuit.HALF_OPEN
        assert await practice.recorded() == ["degraded"]
        await practice.states.observe("main", TAKEN)
        assert practice.circuit() is Circuit.CLOSED

    play(scenario)


def test_a_probe_may_find_out_what_the_checks_cannot() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds(*["away"] * 3)
        practice.now += 30 * SECOND
        await practice.states.observe("main", DOWN)
        assert practice.states.of("main").cause == "sends"
        await practice.rounds(None)
        assert practice.circuit() is not Circuit.CLOSED

    play(scenario)


def test_whom_mail_goes_through_is_well_whatever_the_check_says() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds("away", "away")
        await practice.states.observe("main", TAKEN)
        await practice.rounds(*["away"] * 9)
        assert practice.circuit() is Circuit.CLOSED
        await practice.rounds(None, "away", "away", "away")
        assert practice.circuit() is Circuit.OPEN

    play(scenario)


def test_a_paused_provider_is_not_asked() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.states._streams.decide("main", lambda provider: provider.pause("x", stamp()))
        await practice.states.refresh()
        await practice.rounds("away", "away", "away")
        assert practice.provider.checks == 0

    play(scenario)


def test_what_an_operator_must_mend_is_told_at_once_and_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds("away", REFUSED, "away", REFUSED, Misconfigured("The domain is not verified."), None)
        await practice.rounds(REFUSED)

    with caplog.at_level(logging.ERROR, "application"):
        play(scenario)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "It does not accept the API key",
        "The domain is not verified",
        "It does not accept the API key",
    ]


def test_the_event_says_what_kind_of_trouble_it_is() -> None:
    async def scenario(practice: Practice) -> None:
        await practice.rounds(REFUSED, REFUSED, REFUSED)
        (recorded,) = await practice.ledger.read(0, 10)
        event = recorded.event
        assert isinstance(event, ProviderDegraded)
        assert (event.rule, event.error_class, event.reason) == ("health_check", "config", "misconfigured")
        assert (event.failures, event.words) == (3, REFUSED)

    play(scenario)


def test_a_check_that_hangs_or_breaks_is_a_failure() -> None:
    class Hanging(Checked):
        async def check(self) -> str | None:
            await asyncio.Event().wait()
            return None

    broken = Checked()
    broken.wrong = KeyError("secret")
    assert asyncio.run(examine(Hanging(), 0.01)) == "There was no answer in time."
    assert asyncio.run(examine(broken)) == "The check itself failed: KeyError."


def test_only_the_process_that_leads_asks() -> None:
    async def scenario(practice: Practice) -> None:
        stop, asked, leading = asyncio.Event(), asyncio.Event(), False
        quick = HealthChecks(
            {"main": practice.provider}, practice.states, timedelta(milliseconds=10), lambda: NOW, lambda: 0.5
        )

        async def leads() -> bool:
            asked.set()
            return leading

        running = asyncio.create_task(quick.run(leads, stop))
        await asked.wait()
        assert practice.provider.checks == 0
        leading = True
        async with asyncio.timeout(10):
            while not practice.provider.checks:
                await asyncio.sleep(0.01)
        stop.set()
        await running

    play(scenario)
