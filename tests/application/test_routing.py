"""Which providers an attempt may be made with, in which order, and why; and when to look again where there is none."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.quiet_hours import QuietHours
from application.routes import Route, RouteProvider, with_default
from application.routing import Plan, Router, lot
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.events import Priority
from domain.provider_state import ProviderState
from tests.fakes import FakeStates
from tests.samples import LEASE, NOW, queued, stamp
from tests.tools import through

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WEIGHTS = (RouteProvider(name="main", weight=70), RouteProvider(name="second", weight=30))
RECEIPTS = Router([Route(name="receipts", providers=(*WEIGHTS, RouteProvider(name="backup", priority=2)))])
NIGHT = QuietHours.model_validate({"from": "22:00", "to": "07:00"})


def an_email(first: str = "main", **fields: Any) -> Email:
    """An email for which this provider comes first by weight."""
    for number in range(1, 100):
        id = UUID(int=number)
        if min(WEIGHTS, key=lambda provider: lot(id, provider)).name == first:
            return queued(id=id, **fields)
    raise AssertionError


def tried(email: Email, provider: str, error: ErrorClass = ErrorClass.TRANSIENT, at: datetime = NOW) -> Email:
    """After an attempt that failed, whereupon the next one is due at once."""
    attempt = email.start_delivery(provider, "test", LEASE, stamp(at))
    email.conclude(attempt, Answer(error_class=error), stamp(at), chance=0.0, elsewhere=at)
    return email


def paused(name: str) -> ProviderState:
    return ProviderState(name, paused=True)


def degraded(name: str, until: datetime = NOW + MINUTE) -> ProviderState:
    return ProviderState(name, degraded_until=until)


def plan(router: Router, email: Email, *states: ProviderState, now: datetime = NOW) -> Plan:
    return router.plan(email, FakeStates(*states).of, now)


def order(found: Plan) -> list[str]:
    return [choice.provider for choice in found.choices]


# -- order


def test_two_providers_and_nothing_else_mean_failover_from_the_first_to_the_second() -> None:
    found = plan(Router(with_default([], ["main", "backup"])), queued())
    assert order(found) == ["main", "backup"]
    assert (found.route, found.until, found.own) == ("default", None, False)


def test_weights_come_out_as_shares_without_any_chance() -> None:
    ids = [UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for number in range(20_000)]
    firsts = Counter(min(WEIGHTS, key=lambda provider: lot(id, provider)).name for id in ids)
    assert firsts["main"] / len(ids) == pytest.approx(0.7, abs=0.01)


@given(st.uuids(), st.integers(1, 1000))
def test_a_new_provider_moves_only_what_it_gets(id: UUID, weight: int) -> None:
    new = RouteProvider(name="new", weight=weight)
    before = sorted(WEIGHTS, key=lambda provider: lot(id, provider))
    after = sorted((*WEIGHTS, new), key=lambda provider: lot(id, provider))
    assert [provider for provider in after if provider != new] == before


@given(st.uuids(), st.integers(1, 999))
def test_more_weight_never_takes_an_email_away(id: UUID, weight: int) -> None:
    lighter, heavier = (RouteProvider(name="main", weight=each) for each in (weight, weight + 1))
    assert lot(id, heavier) < lot(id, lighter)


def test_priority_comes_before_weight() -> None:
    for number in range(50):
        assert order(plan(RECEIPTS, queued(id=UUID(int=number))))[-1] == "backup"


def test_an_email_stays_with_the_provider_of_its_latest_attempt() -> None:
    email = an_email("main")
    assert order(plan(RECEIPTS, email)) == ["main", "second", "backup"]
    email = tried(tried(email, "main"), "second", at=NOW + SECOND)
    found = plan(RECEIPTS, email, now=NOW + HOUR)
    assert order(found) == ["second", "main", "backup"]
    assert found.choices[0].reason == "route receipts: second, as in attempt 2"


def test_an_email_goes_back_from_a_backup_to_what_is_preferred() -> None:
    email = tried(tried(an_email("main"), "main"), "backup")
    assert order(plan(RECEIPTS, email, now=NOW + HOUR))[0] == "main"


# -- reasons


@pytest.mark.parametrize(
    ("router", "states", "email", "reason"),
    [
        (through("main"), [], queued(), "the only provider"),
        (Router([Route(name="r", providers=WEIGHTS[:1])]), [], queued(), "route r: the only provider"),
        (through("main", "backup"), [], queued(), "route default: main (priority 1)"),
        (RECEIPTS, [], an_email("main"), "route receipts: 70 of 100 by weight"),
        (RECEIPTS, [], an_email("second"), "route receipts: 30 of 100 by weight"),
        (
            RECEIPTS,
            [degraded("main")],
            an_email("main"),
            "route receipts: 30 of 100 by weight, because main is degraded until 12:01:00 UTC",
        ),
        (
            RECEIPTS,
            [degraded("main", NOW + 24 * HOUR)],
            tried(an_email("main"), "second", ErrorClass.RATE_LIMITED),
            "route receipts: backup (priority 2), because second failed at 12:00:00 UTC (rate_limited) and main is"
            " degraded until 2026-03-02 12:00:00 UTC",
        ),
        (
            through("main", "backup"),
            [paused("main")],
            queued(),
            "route default: backup (priority 2), because main is paused",
        ),
        (
            through("main", "backup"),
            [],
            tried(queued(policy=DeliveryPolicy(max_attempts=1)), "main"),
            "route default: backup (priority 2), because main has had all its attempts (1)",
        ),
        (through("main"), [degraded("main", NOW)], queued(), "the only provider; a probe: main was degraded"),
    ],
)
def test_the_first_choice_says_why(router: Router, states: list[ProviderState], email: Email, reason: str) -> None:
    assert plan(router, email, *states).choices[0].reason == reason


def test_reasons_name_no_person() -> None:
    email = tried(queued("secret@person.example"), "main")
    found = plan(through("main", "backup"), email, paused("backup"), now=NOW + HOUR)
    assert "person" not in " ".join(choice.reason for choice in found.choices)


# -- left out


def test_a_degraded_provider_is_probed_when_its_time_is_over() -> None:
    during = plan(through("main"), queued(), degraded("main"))
    assert (during.choices, during.until, during.own) == ((), NOW + MINUTE, False)
    (probe,) = plan(through("main"), queued(), degraded("main"), now=NOW + MINUTE).choices
    assert probe.probe


def test_a_provider_that_is_paused_is_looked_at_again_in_time_to_come() -> None:
    state = ProviderState("main", paused=True, degraded_until=NOW - HOUR)  # degraded once, long ago
    found = plan(through("main"), queued(), state)
    assert found.choices == ()
    assert found.until is not None
    assert found.until > NOW


def test_nobody_is_left_when_all_attempts_are_used_up() -> None:
    email = tried(tried(queued(policy=DeliveryPolicy(max_attempts=1)), "main"), "backup")
    found = plan(through("main", "backup"), email, paused("backup"), now=NOW + 9 * HOUR)
    assert (found.choices, found.until) == ((), None)


AFFAIRS: list[tuple[str, Callable[[], Email], list[ProviderState], bool]] = [
    ("nothing was tried", queued, [paused("main"), degraded("backup")], False),
    ("the other one would take new emails", lambda: tried(queued(), "backup"), [paused("main")], True),
    ("nobody takes anything", lambda: tried(queued(), "backup"), [paused("main"), paused("backup")], False),
    ("it failed with both", lambda: tried(tried(queued(), "main"), "backup"), [], True),
    (
        "attempts are used up where nothing goes",
        lambda: tried(queued(policy=DeliveryPolicy(max_attempts=1)), "main"),
        [degraded("main"), degraded("backup")],
        False,
    ),
    (
        "attempts are used up where others may go",
        lambda: tried(queued(policy=DeliveryPolicy(max_attempts=1)), "main"),
        [degraded("backup")],
        True,
    ),
]


@pytest.mark.parametrize(("email", "states", "own"), [each[1:] for each in AFFAIRS], ids=[each[0] for each in AFFAIRS])
def test_a_wait_is_the_emails_own_when_others_would_find_a_choice(
    email: Callable[[], Email], states: list[ProviderState], own: bool
) -> None:
    subject, router = email(), through("main", "backup")
    found = plan(router, subject, *states)
    assert (found.choices, found.own) == ((), own)
    assert bool(plan(router, queued(), *states).choices) is own, "so it is what a new email finds"


def test_a_closed_circuit_and_ones_own_backoff_both_have_to_pass() -> None:
    email = tried(queued(), "main")  # may ask it again after 30 seconds
    assert plan(through("main"), email, degraded("main", NOW + HOUR)).until == NOW + HOUR
    assert plan(through("main"), email, degraded("main", NOW + SECOND)).until == NOW + 30 * SECOND


# -- elsewhere


def test_elsewhere_is_now_later_or_nowhere() -> None:
    email, router = queued(), through("main", "backup")
    states = FakeStates(degraded("backup"))
    assert router.elsewhere(email, "main", FakeStates().of, NOW) == NOW
    assert router.elsewhere(email, "main", states.of, NOW) == NOW + MINUTE
    assert through("main").elsewhere(email, "main", FakeStates().of, NOW) is None
    used_up = tried(queued(policy=DeliveryPolicy(max_attempts=1)), "backup")
    assert router.elsewhere(used_up, "main", FakeStates().of, NOW) is None


def test_elsewhere_respects_quiet_hours() -> None:
    router = Router([Route(providers=WEIGHTS, quiet_hours=NIGHT)])
    night = NOW + 11 * HOUR
    assert router.elsewhere(queued(), "main", FakeStates().of, night) == NOW + 19 * HOUR
    assert router.elsewhere(queued(priority=Priority.CRITICAL), "main", FakeStates().of, night) == night


# -- quiet hours


def test_in_quiet_hours_only_what_is_critical_goes() -> None:
    router = Router([Route(name="r", providers=WEIGHTS, quiet_hours=NIGHT)])
    night = NOW + 11 * HOUR
    for priority in (Priority.NORMAL, Priority.BULK):
        found = plan(router, queued(priority=priority), now=night)
        assert found == Plan("r", (), NOW + 19 * HOUR, rule="quiet_hours")
    assert plan(router, queued(priority=Priority.CRITICAL), now=night).choices
    assert plan(router, queued(), now=NOW).choices


def test_an_email_that_was_requeued_as_critical_goes_in_quiet_hours() -> None:
    email = tried(queued(), "main", ErrorClass.PERMANENT)
    email.requeue("they wait for it", stamp(NOW), Priority.CRITICAL)
    assert plan(Router([Route(providers=WEIGHTS, quiet_hours=NIGHT)]), email, now=NOW + 11 * HOUR).choices


def test_who_has_nobody_left_to_ask_does_not_wait_for_the_morning() -> None:
    email = tried(queued(policy=DeliveryPolicy(max_attempts=1)), "main")
    router = Router([Route(providers=WEIGHTS[:1], quiet_hours=NIGHT)])
    assert plan(router, email, now=NOW + 11 * HOUR) == Plan("default", (), None, own=True)


# -- chosen by an operator


def requeued(provider: str, **fields: Any) -> Email:
    email = tried(queued(**fields), "main", ErrorClass.PERMANENT)
    email.requeue("by another way", stamp(NOW), provider=provider)
    return email


def test_the_chosen_provider_is_the_only_candidate_in_its_route_or_not() -> None:
    for name in ("backup", "elsewhere"):
        found = plan(
            Router([Route(providers=(*WEIGHTS, RouteProvider(name="backup")))], ["elsewhere", "backup"]), requeued(name)
        )
        assert [(choice.provider, choice.reason) for choice in found.choices] == [(name, "chosen by an operator")]


def test_while_the_chosen_provider_is_paused_the_email_waits_by_itself() -> None:
    found = plan(through("main", "backup"), requeued("backup"), paused("backup"))
    assert (found.choices, found.own, found.wait) == ((), True, "chosen_provider_paused")


def test_a_failure_of_the_chosen_provider_moves_nothing_on() -> None:
    assert through("main", "backup").elsewhere(requeued("backup"), "backup", FakeStates().of, NOW) is None


def test_when_the_chosen_provider_is_gone_the_route_decides_and_says_so() -> None:
    found = plan(through("main", "backup"), requeued("old"))
    assert order(found) == ["main", "backup"]
    assert found.choices[0].reason == (
        "route default: main (priority 1); old, chosen by an operator, is not configured any more"
    )
