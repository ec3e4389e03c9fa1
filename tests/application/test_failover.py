"""From one provider to the next on a real ledger: what moves an email on, what does not, and what is recorded."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.deciding import decide
from application.delivery import Delivery
from application.lanes import Held
from application.limits import LimitSettings, Quotas
from application.ports import OutgoingMessage, StoredContent, Want
from application.quiet_hours import QuietHours
from application.routes import Route, RouteProvider
from application.routing import Router
from domain import events as e
from domain.answer import Answer
from domain.content import Content, content_ref
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.provider_state import ProviderState
from domain.status import EmailStatus
from infrastructure.ledger.ledger import EventLedger
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.fakes import FakeLimits, FakeStates, MemoryLedger
from tests.ledger.conftest import open_ledger
from tests.mail import attach
from tests.providers_fake import MemoryBlobs, ScriptedProvider, accepted
from tests.samples import LEASE, NOW, queued, stamp, stored_content
from tests.smtp_server import SmtpSink
from tests.tools import through, tools

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MOVING = (ErrorClass.CONFIG, ErrorClass.QUOTA, ErrorClass.RATE_LIMITED, ErrorClass.TRANSIENT)
UNKNOWN = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
_E = TypeVar("_E", bound=e.Event)


def trouble(error: ErrorClass = ErrorClass.TRANSIENT, after: timedelta | None = None) -> Answer:
    return Answer(error_class=error, retry_after=after)


def named(name: str, *script: Any) -> ScriptedProvider:
    provider = ScriptedProvider(*script)
    provider.name = name
    return provider


@dataclass
class Bench:
    """One email at a time, some providers, and a clock that is turned by hand."""

    ledger: EventLedger | MemoryLedger
    providers: list[ScriptedProvider]
    now: datetime = NOW
    states: FakeStates = field(default_factory=FakeStates)
    router: Router = field(default_factory=lambda: through("a", "b"))
    quotas: Quotas = field(default_factory=Quotas)
    limits: FakeLimits = field(default_factory=FakeLimits)

    async def accept(self, *to: str, **fields: Any) -> UUID:
        email = queued(*to, **fields)
        await self.ledger.append(email.collect_events(), [stored_content(email)])
        return email.id

    async def step(self, id: UUID, after: timedelta = timedelta(0)) -> Held | None:
        """Let this much time pass and take the step that is due."""
        self.now += after
        given: dict[str, Any] = {
            "router": self.router,
            "states": self.states,
            "quotas": self.quotas,
            "limits": self.limits,
        }
        given |= {"clock": lambda: self.now, "lease": LEASE}
        return await Delivery(tools(self.ledger, *self.providers, **given))(id, lambda: True)

    async def run(self, id: UUID, most: int = 1000) -> int:
        """Take every step when it is due until nothing is; returns how many were taken."""
        for steps in range(most):
            email = await self.email(id)
            if email.due_at is None:
                return steps
            await self.step(id, max(email.due_at - self.now, timedelta(0)))
        raise AssertionError

    async def email(self, id: UUID) -> Email:
        email = Email.of(recorded.event for recorded in await self.ledger.load(id))
        assert email is not None
        return email

    async def status(self, id: UUID) -> EmailStatus:
        return (await self.email(id)).status

    async def last(self, id: UUID, kind: type[_E]) -> _E:
        return (await self.all(id, kind))[-1]

    async def all(self, id: UUID, kind: type[_E]) -> list[_E]:
        return [each.event for each in await self.ledger.load(id) if isinstance(each.event, kind)]

    @property
    def sent(self) -> list[int]:
        return [len(provider.sent) for provider in self.providers]


Run = Callable[..., None]


@pytest.fixture
def bench(sqlite_url: str) -> Run:
    """Runs a scenario with the providers `a`, `b` …, each of which answers by its script."""

    def run(scenario: Callable[[Bench], Coroutine[Any, Any, None]], *scripts: Any) -> None:
        async def play() -> None:
            ledger = open_ledger(sqlite_url)
            providers = [named(name, *script) for name, script in zip("abcdef", scripts, strict=False)]
            try:
                await scenario(Bench(ledger, providers, router=through(*(each.name for each in providers))))
            finally:
                await ledger.close()

        asyncio.run(play())

    return run


# -- what moves on


@pytest.mark.parametrize("error", MOVING)
def test_trouble_of_the_provider_moves_on_at_once_with_one_recorded_reason(bench: Run, error: ErrorClass) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)
        deferred = await b.last(id, e.EmailDeliveryDeferred)
        assert (deferred.provider, deferred.error_class, deferred.retry_at) == ("a", error, NOW)
        assert deferred.again_at is not None
        assert deferred.again_at > NOW
        await b.step(id)
        assert await b.status(id) is EmailStatus.DISPATCHED
        first, second = await b.all(id, e.EmailDeliveryStarted)
        assert (first.provider, first.route) == ("a", "route default: a (priority 1)")
        assert (second.provider, second.route) == (
            "b",
            f"route default: b (priority 2), because a failed at 12:00:00 UTC ({error})",
        )
        assert len(await b.ledger.load(id)) == 5

    bench(scenario, [trouble(error)], [accepted])


def test_an_open_circuit_is_not_even_tried(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.states = FakeStates(ProviderState("a", degraded_until=NOW + MINUTE))
        id = await b.accept()
        await b.step(id)
        assert b.sent == [0, 1]
        reason = (await b.last(id, e.EmailDeliveryStarted)).route
        assert reason == "route default: b (priority 2), because a is degraded until 12:01:00 UTC"

    bench(scenario, [accepted], [accepted])


@pytest.mark.parametrize("error", [ErrorClass.PERMANENT, ErrorClass.SUPPRESSED, ErrorClass.CONFLICT])
def test_trouble_of_the_message_does_not_move_on(bench: Run, error: ErrorClass) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.run(id)
        ended = EmailStatus.SUPPRESSED if error is ErrorClass.SUPPRESSED else EmailStatus.FAILED
        assert (await b.status(id), b.sent) == (ended, [1, 0])

    bench(scenario, [trouble(error)], [accepted])


def test_what_is_in_doubt_moves_on_only_once_that_is_settled(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)
        b.states = FakeStates(ProviderState("a", paused=True))
        for _ in range(14):
            await b.step(id, MINUTE)
        assert (await b.status(id), b.sent) == (EmailStatus.UNCONFIRMED, [1, 0])
        await b.step(id, MINUTE)  # settled, by the policy
        await b.step(id)
        assert (await b.status(id), b.sent) == (EmailStatus.DISPATCHED, [1, 1])

    bench(scenario, [UNKNOWN], [accepted])


def test_what_is_in_doubt_and_may_be_sent_once_only_never_moves_on(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(in_doubt="at_most_once"))
        await b.run(id)
        assert (await b.status(id), b.sent) == (EmailStatus.UNCONFIRMED, [1, 0])

    bench(scenario, [UNKNOWN], [accepted])


def test_only_those_move_on_whom_the_first_provider_did_not_take(bench: Run) -> None:
    def half(message: OutgoingMessage) -> Answer:
        one, *others = message.recipients
        taken = (e.ProviderMessage(recipient_id=one.id, message_id="m"),)
        return Answer(taken, put_off=tuple(other.id for other in others), error_class=ErrorClass.RATE_LIMITED)

    async def scenario(b: Bench) -> None:
        id = await b.accept("ada@example.com", "bob@example.com", "cy@example.com")
        await b.step(id)
        await b.step(id)
        assert await b.status(id) is EmailStatus.DISPATCHED
        assert [r.address for r in b.providers[1].sent[0].recipients] == ["bob@example.com", "cy@example.com"]

    bench(scenario, [half], [accepted])


# -- when all fail


@pytest.mark.parametrize(
    ("first", "second", "wait"),
    [
        (trouble(), trouble(), 30 * SECOND),
        (trouble(after=10 * SECOND), trouble(ErrorClass.CONFIG), 30 * SECOND),
        (trouble(after=HOUR), trouble(after=5 * MINUTE), 5 * MINUTE),
        (trouble(ErrorClass.QUOTA), trouble(ErrorClass.CONFIG), 150 * SECOND),
        (trouble(after=2 * HOUR), trouble(ErrorClass.QUOTA), 30 * MINUTE),
    ],
)
def test_when_all_fail_the_soonest_useful_time_counts(
    bench: Run, first: Answer, second: Answer, wait: timedelta
) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)
        await b.step(id)
        email = await b.email(id)
        assert (email.status, email.due_at) == (EmailStatus.DEFERRED, NOW + wait)
        await b.step(id, wait - SECOND)
        assert sum(b.sent) == 2, "nobody is asked before"
        await b.step(id, SECOND)
        assert sum(b.sent) == 3

    bench(scenario, [first], [second])


def test_a_circuit_that_is_tried_again_soon_is_the_soonest_useful_time(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.states = FakeStates(ProviderState("b", degraded_until=NOW + 20 * SECOND))
        id = await b.accept()
        await b.step(id)
        assert (await b.email(id)).due_at == NOW + 20 * SECOND
        await b.step(id, 20 * SECOND)
        assert (await b.status(id), b.sent) == (EmailStatus.DISPATCHED, [1, 1])
        assert "a probe: b was degraded" in (await b.last(id, e.EmailDeliveryStarted)).route

    bench(scenario, [trouble(ErrorClass.QUOTA)], [accepted])


@pytest.mark.parametrize(("most", "providers"), [(1, 2), (3, 2), (2, 4)])
def test_attempts_are_bounded_for_each_provider_and_then_it_has_failed(bench: Run, most: int, providers: int) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(max_attempts=most))
        await b.run(id)
        assert b.sent == [most] * providers
        failed = await b.last(id, e.EmailDeliveryFailed)
        assert failed.reason == "retries_exhausted"
        assert await b.status(id) is EmailStatus.FAILED

    bench(scenario, *[[trouble()]] * providers)


@given(
    scripts=st.lists(
        st.lists(st.sampled_from([*MOVING, ErrorClass.UNKNOWN, None]), min_size=1), min_size=1, max_size=3
    ),
    most=st.integers(1, 3),
)
def test_whatever_they_answer_attempts_are_bounded_and_there_is_an_end(
    scripts: list[list[ErrorClass | None]], most: int
) -> None:
    async def play() -> None:
        answers = [[trouble(error) if error else accepted for error in script] for script in scripts]
        providers = [named(name, *script) for name, script in zip("abc", answers, strict=False)]
        b = Bench(MemoryLedger(), providers, router=through(*(each.name for each in providers)))
        id = await b.accept(policy=DeliveryPolicy(max_attempts=most))
        await b.run(id)
        assert all(sent <= most for sent in b.sent)
        status = await b.status(id)
        assert status in (EmailStatus.DISPATCHED, EmailStatus.FAILED)
        if status is EmailStatus.FAILED and (await b.last(id, e.EmailDeliveryFailed)).reason != "too_old":
            assert b.sent == [most] * len(providers), "nobody who might have taken it was left out"

    asyncio.run(play())


def test_a_requeue_begins_anew_with_every_provider(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(max_attempts=1))
        await b.run(id)
        await decide(b.ledger, id, lambda email: email.requeue("they are back", stamp(b.now)))
        await b.run(id)
        assert (await b.status(id), b.sent) == (EmailStatus.DISPATCHED, [2, 1])

    bench(scenario, [trouble(), accepted], [trouble()])


def test_a_requeue_through_one_provider_asks_no_other(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(max_attempts=2))
        await b.run(id)
        await decide(b.ledger, id, lambda email: email.requeue("this way", stamp(b.now), provider="b"))
        await b.run(id)
        assert (await b.status(id), b.sent) == (EmailStatus.FAILED, [2, 4])
        assert {each.route for each in (await b.all(id, e.EmailDeliveryStarted))[4:]} == {"chosen by an operator"}

    bench(scenario, [trouble()], [trouble()])


def test_nothing_is_lost_in_a_long_outage_of_all(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.states = FakeStates(*(ProviderState(name, degraded_until=NOW + 9 * HOUR) for name in "ab"))
        id = await b.accept()
        for _ in range(9):
            held = await b.step(id, 59 * MINUTE)
            assert held == Held("route:default", NOW + 9 * HOUR)
        assert len(await b.ledger.load(id)) == 1, "waiting for a provider is no event"
        await b.step(id, 9 * MINUTE)
        assert await b.status(id) is EmailStatus.DISPATCHED

    bench(scenario, [accepted], [accepted])


# -- no room


LIMITS = LimitSettings.model_validate({"providers": {"a": {"rate": "1/second"}}})
PEERS = Router([Route(name="peers", providers=(RouteProvider(name="a", weight=1000), RouteProvider(name="b")))])


def test_of_those_equally_preferred_the_next_takes_over_at_once(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.router, b.quotas = PEERS, Quotas(LIMITS)
        for number in range(3):
            id = await b.accept(id=UUID(int=number))  # each draws `a`
            assert await b.step(id) is None
        assert b.sent == [1, 2]
        reason = (await b.last(id, e.EmailDeliveryStarted)).route
        assert reason == "route peers: 1 of 1001 by weight; a had no room until 12:00:01 UTC"

    bench(scenario, [accepted], [accepted])


def test_what_is_preferred_is_waited_for_when_it_has_room_soon(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.quotas = Quotas(LIMITS)
        await b.step(await b.accept())
        held = await b.step(await b.accept())
        assert held is not None
        assert (held.lane, b.sent) == ("route:default", [1, 0])

    bench(scenario, [accepted], [accepted])


def test_nobody_waits_for_a_probe_who_has_a_choice(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.states = FakeStates(ProviderState("a", degraded_until=NOW))
        await b.limits.take(UUID(int=1), [Want("probe:a", slots=1)], NOW, NOW + SECOND)
        await b.step(await b.accept())
        assert b.sent == [0, 1]

    bench(scenario, [accepted], [accepted])


# -- waiting


def test_an_email_that_waits_of_its_own_says_so_once_and_closes_nothing(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)  # `b` is next, at once
        b.states = FakeStates(ProviderState("b", paused=True))
        for _ in range(5):
            held = await b.step(id, 11 * SECOND if b.now == NOW else timedelta(0))
            assert held is None or held.lane is None
        reasons = [each.reason for each in await b.all(id, e.EmailDeliveryDeferred) if each.provider is None]
        assert reasons == ["no_provider"]

    bench(scenario, [trouble(ErrorClass.QUOTA)], [accepted])


def test_waiting_for_a_paused_provider_does_not_fill_the_history(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(max_attempts=1))
        await b.step(id)
        b.states = FakeStates(ProviderState("b", paused=True))
        for _ in range(100):
            held = await b.step(id, 5 * MINUTE)
            assert held is None or (held.lane is None and held.until > b.now)
        assert len(await b.ledger.load(id)) == 4
        b.states = FakeStates()
        await b.step(id, 5 * MINUTE)
        assert await b.status(id) is EmailStatus.DISPATCHED

    bench(scenario, [trouble()], [accepted])


def test_an_email_that_is_given_up_closes_no_lane(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        b.states = FakeStates(*(ProviderState(name, degraded_until=NOW + 99 * HOUR) for name in "ab"))
        id = await b.accept()
        assert await b.step(id, 73 * HOUR) is None
        assert (await b.last(id, e.EmailDeliveryFailed)).reason == "too_old"

    bench(scenario, [accepted], [accepted])


def test_who_waits_for_the_chosen_provider_says_that_it_is_paused(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.run(id)
        await decide(b.ledger, id, lambda email: email.requeue("this way", stamp(b.now), provider="b"))
        b.states = FakeStates(ProviderState("b", paused=True))
        await b.step(id)
        assert (await b.last(id, e.EmailDeliveryDeferred)).reason == "chosen_provider_paused"
        assert b.sent == [1, 0]

    bench(scenario, [trouble(ErrorClass.PERMANENT)], [accepted])


def test_quiet_hours_put_an_email_off_until_they_end_and_say_so(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        quiet = QuietHours.model_validate({"from": "11:00", "to": "14:00"})
        b.router = Router([b.router.route("", queued().queued).model_copy(update={"quiet_hours": quiet})])
        id = await b.accept()
        assert await b.step(id) is None
        deferred = await b.last(id, e.EmailDeliveryDeferred)
        assert (deferred.provider, deferred.reason, deferred.retry_at) == (None, "quiet_hours", NOW + 2 * HOUR)
        assert deferred.error_class is ErrorClass.HELD
        await b.step(id, 2 * HOUR)
        assert await b.status(id) is EmailStatus.DISPATCHED

    bench(scenario, [accepted], [accepted])


# -- the message


def test_every_attempt_has_the_same_message_whoever_is_asked(sqlite_url: str) -> None:
    logo, logo_bytes = attach(bytes(range(256)), "logo.png", "image/png", "logo@shop")
    bill, bill_bytes = attach(b"%PDF-1.7 " * 999, "bill.pdf")
    body = Content(text="Your bill", html='<p>Your bill <img src="cid:logo@shop"></p>').encode()

    async def scenario(ledger: EventLedger, one: SmtpSink, two: SmtpSink) -> None:
        relays = [
            SmtpProvider(name, SmtpSettings.from_url(f"{at.url}?helo=client.test"), lambda: NOW)
            for name, at in (("one", one), ("two", two))
        ]
        email = queued(content=content_ref(body), attachments=(logo, bill))
        await ledger.append(email.collect_events(), [StoredContent(email.id, body)])
        clock = iter(NOW + SECOND * seconds for seconds in range(1000))  # one goes by with every look
        deliver = Delivery(
            tools(ledger, *relays, blobs=MemoryBlobs(NOW, logo_bytes, bill_bytes), clock=lambda: next(clock))
        )
        try:
            await deliver(email.id, lambda: True)
            await deliver(email.id, lambda: True)
        finally:
            for relay in relays:
                await relay.close()

    async def play() -> None:
        ledger = open_ledger(sqlite_url)
        try:
            async with refusing, taking:
                await scenario(ledger, refusing, taking)
        finally:
            await ledger.close()

    refusing, taking = SmtpSink({"TAKEN": ["451 4.3.0 The disk is full"]}), SmtpSink()
    asyncio.run(play())
    (first,), (second,) = refusing.messages, taking.messages
    assert first.raw == second.raw
    found = {part.get_content_type(): part for part in second.parsed().walk()}
    assert found["image/png"].get_payload(decode=True) == logo_bytes
    assert found["image/png"]["Content-ID"] == "<logo@shop>"
    assert found["application/pdf"].get_payload(decode=True) == bill_bytes
