"""How a provider stands follows from its own stream, and nothing is recorded that changes nothing."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import provider_events as p
from domain.delivery import ErrorClass
from domain.events import Event
from domain.provider import Breakdown, Provider, Rest, Rule
from domain.provider_state import Circuit
from tests.samples import NOW, stamp

REST = Rest(timedelta(seconds=30), timedelta(minutes=5))
SECOND = timedelta(seconds=1)


def trouble(rule: Rule = "consecutive_failures", retry_after: timedelta | None = None) -> Breakdown:
    return Breakdown(rule, 5, 5, 60.0, ErrorClass.TRANSIENT, "http_503", "out of order", retry_after)


def degraded(rule: Rule = "consecutive_failures", *, retry_after: timedelta | None = None) -> Provider:
    provider = Provider("main")
    provider.degrade(trouble(rule, retry_after), REST, stamp())
    return provider


def open_for(provider: Provider) -> timedelta:
    assert provider.state.degraded_until is not None
    assert provider.state.since is not None
    return provider.state.degraded_until - provider.state.since


def test_nobody_said_anything_and_it_is_well() -> None:
    assert Provider("main").state.circuit(NOW) is Circuit.CLOSED


def test_a_breakdown_opens_the_circuit_and_says_why() -> None:
    (event,) = degraded().collect_events()
    assert isinstance(event, p.ProviderDegraded)
    assert (event.tenant, event.provider, event.cause, event.openings) == ("", "main", "sends", 1)
    assert event.until == NOW + timedelta(seconds=30)


def test_each_opening_in_a_row_lasts_twice_as_long_up_to_the_longest() -> None:
    provider, now, lasted = degraded(), NOW, []
    for _ in range(6):
        lasted.append(open_for(provider).total_seconds())
        now += open_for(provider)
        provider.degrade(trouble("probe_failed"), REST, stamp(now))
    assert lasted == [30, 60, 120, 240, 300, 300]
    provider.recover("send", stamp(now + timedelta(hours=1)))
    provider.degrade(trouble(), REST, stamp(now + timedelta(hours=1)))
    assert open_for(provider) == timedelta(seconds=30)


def test_the_providers_own_hint_wins_when_it_is_longer() -> None:
    assert open_for(degraded(retry_after=timedelta(hours=1))) == timedelta(hours=1)
    assert open_for(degraded(retry_after=SECOND)) == timedelta(seconds=30)


def test_what_others_have_said_already_is_not_said_again() -> None:
    provider = degraded()
    provider.collect_events()
    provider.degrade(trouble(), REST, stamp(NOW + SECOND))
    provider.recover("send", stamp(NOW + SECOND))  # began before the breakdown
    assert provider.collect_events() == []
    Provider("main").recover("send", stamp())


def test_a_late_failed_probe_does_not_undo_a_recovery() -> None:
    provider, later = degraded(), stamp(NOW + timedelta(minutes=1))
    provider.recover("send", later)
    provider.collect_events()
    provider.degrade(trouble("probe_failed"), REST, later)
    assert provider.collect_events() == []


def test_a_check_ends_what_checks_found_and_nothing_else() -> None:
    by_check, by_sends = degraded("health_check"), degraded()
    for provider in (by_check, by_sends):
        provider.recover("check", stamp(NOW + SECOND))
    assert by_check.state.circuit(NOW) is Circuit.CLOSED
    assert by_sends.state.circuit(NOW) is Circuit.OPEN


def test_failing_checks_keep_open_what_checks_opened_and_leave_the_rest_to_the_probe() -> None:
    later = stamp(NOW + timedelta(minutes=1))
    by_check, by_sends = degraded("health_check"), degraded()
    for provider in (by_check, by_sends):
        provider.degrade(trouble("health_check"), REST, later)
    assert (by_check.state.openings, by_sends.state.openings) == (2, 1)
    assert by_sends.state.circuit(later.now) is Circuit.HALF_OPEN


def test_a_paused_provider_is_out_of_use_and_nothing_else_is_learned_about_it() -> None:
    provider = degraded()
    provider.pause("maintenance", stamp())
    provider.collect_events()
    provider.pause("again", stamp())
    provider.degrade(trouble(), REST, stamp(NOW + timedelta(hours=1)))
    provider.recover("send", stamp(NOW + timedelta(hours=1)))
    assert provider.collect_events() == []
    assert provider.state.circuit(NOW + timedelta(hours=1)) is Circuit.OPEN


def test_resuming_is_the_operators_word_that_it_works() -> None:
    provider = degraded()
    provider.pause("maintenance", stamp())
    provider.resume("over", stamp())
    assert provider.state.circuit(NOW) is Circuit.CLOSED
    assert provider.state.openings == 0
    by_hand = degraded()
    by_hand.resume("mended", stamp())
    assert by_hand.state.circuit(NOW) is Circuit.CLOSED


def test_a_drill_runs_until_its_end_or_an_operators() -> None:
    provider, until = Provider("main"), NOW + timedelta(minutes=5)
    provider.end_drill(stamp())
    provider.start_drill("5xx", 0.5, until, stamp())
    provider.start_drill("5xx", 0.5, until, stamp())
    assert (provider.state.drill(NOW), provider.state.drill(until)) == ("5xx", None)
    provider.end_drill(stamp(until))
    provider.end_drill(stamp())
    assert [event.TYPE for event in provider.collect_events()] == ["provider.drill_started", "provider.drill_ended"]


def asks(chance: Random, now: datetime) -> Callable[[Provider], None]:
    """Anything that may be asked of a provider."""
    rule: Rule = chance.choice(("consecutive_failures", "probe_failed", "health_check"))
    return chance.choice(
        (
            lambda provider: provider.degrade(trouble(rule), REST, stamp(now)),
            lambda provider: provider.recover(chance.choice(("send", "check")), stamp(now)),
            lambda provider: provider.pause("x", stamp(now)),
            lambda provider: provider.resume("x", stamp(now)),
            lambda provider: provider.start_drill("5xx", 0.5, now + SECOND, stamp(now)),
            lambda provider: provider.end_drill(stamp(now)),
        )
    )


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_stream_rebuilds_what_stands_and_each_of_its_events_changed_something(chance: Random) -> None:
    provider, now, history = Provider("main"), NOW, list[Event]()
    for _ in range(chance.randrange(30)):
        now += timedelta(seconds=chance.choice((0, 1, 45, 400)))
        before = Provider.of("main", history).state
        asks(chance, now)(provider)
        recorded = provider.collect_events()
        history += recorded
        assert len(recorded) <= 1
        assert provider.state == Provider.of("main", history).state
        before.version, before.since = provider.state.version, provider.state.since
        assert (before != provider.state) == bool(recorded)
