"""A drill hits the share of calls that it names, and nothing it hits is lost or sent twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.delivery import Delivery
from application.ports import OutgoingMessage
from domain import events as e
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.provider_state import ProviderState
from domain.status import EmailStatus
from infrastructure.providers.drilled import Drilled
from tests.fakes import FakeStates, MemoryLedger
from tests.mail import NOW, outgoing
from tests.providers_fake import ScriptedProvider, accepted
from tests.samples import queued, stored_content
from tests.tools import tools

MESSAGE = outgoing()


async def at_once(seconds: float) -> None:
    """Nobody waits here."""


def drilled(
    fault: str | None = "5xx",
    rate: float = 1.0,
    *,
    provider: ScriptedProvider | None = None,
    wait: Callable[[float], Awaitable[None]] = at_once,
) -> Drilled:
    until = NOW + timedelta(minutes=10)
    state = ProviderState("scripted", drill_fault=fault, drill_rate=rate, drill_until=until if fault else None)
    return Drilled(provider or ScriptedProvider(accepted), FakeStates(state), lambda: NOW, wait)


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("5xx", ErrorClass.TRANSIENT),
        ("429", ErrorClass.RATE_LIMITED),
        ("reset", ErrorClass.TRANSIENT),
        ("timeout", ErrorClass.UNKNOWN),
    ],
)
def test_a_call_that_is_hit_does_not_reach_the_provider(fault: str, error_class: ErrorClass) -> None:
    provider = ScriptedProvider(accepted)
    answer = asyncio.run(drilled(fault, provider=provider).send(MESSAGE))
    assert (answer.error_class, answer.reason, answer.messages) == (error_class, f"drill_{fault}", ())
    assert (answer.retry_after is not None) == (fault == "429")
    assert provider.sent == []


def test_a_slow_call_reaches_the_provider_late() -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    answer = asyncio.run(drilled("slow", wait=wait).send(MESSAGE))
    assert (answer, len(waited), waited[0] > 1) == (accepted(MESSAGE), 1, True)


def test_without_a_drill_every_call_goes_through() -> None:
    assert asyncio.run(drilled(None).send(MESSAGE)) == accepted(MESSAGE)


def test_a_drill_ends_by_itself() -> None:
    state = ProviderState("scripted", drill_fault="5xx", drill_rate=1.0, drill_until=NOW)
    late = Drilled(ScriptedProvider(accepted), FakeStates(state), lambda: NOW)
    assert asyncio.run(late.send(MESSAGE)) == accepted(MESSAGE)


@given(rate=st.floats(0.05, 1.0))
@settings(max_examples=10, deadline=None)
def test_about_that_share_of_the_calls_is_hit_and_the_same_ones_for_whoever_asks(rate: float) -> None:
    async def all_hits() -> list[bool]:
        provider = drilled("5xx", rate)
        return [(await provider.send(message)).error_class is not None for message in messages]

    numbers = ({"token": f"t{n}", "attempt": 1 + n % 3} for n in range(200))
    messages = [replace(MESSAGE, attempt=MESSAGE.attempt.model_copy(update=each)) for each in numbers]
    hits = asyncio.run(all_hits())
    assert hits == asyncio.run(all_hits())
    assert abs(sum(hits) / 200 - rate) < 0.15


def test_an_email_that_may_go_out_once_at_most_is_spared_the_lost_answer() -> None:
    email = MESSAGE.email.model_copy(update={"policy": DeliveryPolicy(in_doubt="at_most_once")})
    message = replace(MESSAGE, email=email)
    assert asyncio.run(drilled("timeout").send(message)) == accepted(message)
    assert asyncio.run(drilled("5xx").send(message)).reason == "drill_5xx"


@pytest.mark.parametrize(("doubt", "found"), [("drill_timeout", Answer()), ("answer_lost", None), (None, None)])
def test_what_a_drill_lost_was_not_taken_and_of_the_rest_the_provider_is_asked(
    doubt: str | None, found: Answer | None
) -> None:
    assert asyncio.run(drilled(None).look_up(replace(MESSAGE, doubt=doubt))) == found


def test_a_lost_answer_is_settled_by_evidence_and_the_email_goes_out_once() -> None:
    async def scenario() -> None:
        ledger, provider, now = MemoryLedger(), ScriptedProvider(accepted), NOW
        email = queued(now=NOW, policy=DeliveryPolicy(settle_after=timedelta(minutes=1)))
        await ledger.append(email.collect_events(), [stored_content(email)])
        state = ProviderState("scripted", drill_fault="timeout", drill_rate=1.0, drill_until=NOW + timedelta(seconds=9))
        faulty = Drilled(provider, FakeStates(state), lambda: now)

        async def step() -> Email:
            await Delivery(tools(ledger, faulty, clock=lambda: now))(email.id, lambda: True)
            known = Email.of(recorded.event for recorded in await ledger.load(email.id))
            assert known is not None
            return known

        assert (await step()).status is EmailStatus.UNCONFIRMED
        now += timedelta(minutes=1)
        settled = (await step()).history[-1]
        assert isinstance(settled, e.EmailDeliveryResolved)
        assert (settled.resolution, settled.evidence) == (e.Resolution.NOT_ACCEPTED, "look_up")
        assert (await step()).status is EmailStatus.DISPATCHED
        assert len(provider.sent) == 1

    asyncio.run(scenario())


def test_it_is_checked_and_closed_like_the_provider_behind_it() -> None:
    async def scenario() -> None:
        provider = drilled()
        assert (provider.name, provider.separate, await provider.check()) == ("scripted", False, None)
        await provider.close()

    asyncio.run(scenario())


def test_a_message_is_handed_on_as_it_is() -> None:
    provider = ScriptedProvider(accepted)
    asyncio.run(drilled(None, provider=provider).send(MESSAGE))
    given: list[OutgoingMessage] = provider.sent
    assert given == [MESSAGE]
