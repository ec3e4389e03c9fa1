"""The breaker opens when it must, never when it must not, and stays small."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.breaker import Breaker, BreakerPolicy, judge
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import ProviderMessage
from domain.ids import uuid7
from domain.provider import Breakdown, Rest
from tests.samples import NOW

REST = Rest(timedelta(seconds=30), timedelta(minutes=5))
POLICY = BreakerPolicy(failures=5, rate=0.5, calls=20, window=timedelta(seconds=60), rest=REST)
TAKEN = Answer(messages=(ProviderMessage(recipient_id=uuid7(NOW), message_id="m"),))
DOWN = Answer(error_class=ErrorClass.TRANSIENT, reason="http_503", words="out of order")
LIMITED = Answer(error_class=ErrorClass.RATE_LIMITED)


def of(error_class: ErrorClass, *, about_message: bool = False) -> Answer:
    return Answer(error_class=error_class, about_message=about_message)


@pytest.mark.parametrize("error_class", ["transient", "config", "quota", "unknown"])
def test_trouble_of_the_providers_own_is_a_failure(error_class: str) -> None:
    assert judge(of(ErrorClass(error_class))) == "fails"


@pytest.mark.parametrize("error_class", ["permanent", "suppressed", "conflict"])
def test_a_refused_message_is_the_answer_of_a_provider_that_works(error_class: str) -> None:
    assert judge(of(ErrorClass(error_class))) == "works"
    assert judge(Answer()) == "works"


def test_what_is_about_the_message_or_about_the_pace_tells_nothing() -> None:
    assert judge(of(ErrorClass.TRANSIENT, about_message=True)) is None
    assert judge(of(ErrorClass.CONFIG, about_message=True)) is None
    assert judge(LIMITED) is None
    assert judge(of(ErrorClass.HELD)) is None


def test_who_took_some_of_the_recipients_works() -> None:
    assert judge(Answer(messages=TAKEN.messages, error_class=ErrorClass.TRANSIENT)) == "works"


def told(answers: Sequence[tuple[Answer, float]], policy: BreakerPolicy = POLICY) -> list[Breakdown | None]:
    """What the breaker says to each of these, which came so many seconds after the one before."""
    breaker, now, said = Breaker(policy), NOW, []
    for answer, after in answers:
        now += timedelta(seconds=after)
        said.append(breaker.note(answer, now))
    return said


def test_it_opens_with_the_fifth_failure_in_a_row_and_says_what_it_counted() -> None:
    *before, last = told([(TAKEN, 0), *[(DOWN, 10)] * 5])
    assert before == [None] * 5
    assert last == Breakdown("consecutive_failures", 5, 5, 40.0, ErrorClass.TRANSIENT, "http_503", "out of order")


def test_answers_that_tell_nothing_neither_break_a_row_nor_lengthen_it() -> None:
    said = told([(DOWN, 1), (LIMITED, 1)] * 5)
    assert [bool(each) for each in said].index(True) == 8


def test_it_opens_when_half_of_the_last_calls_failed_though_never_five_in_a_row() -> None:
    said = told([(TAKEN, 1), (DOWN, 1)] * 10)
    assert said[:-1] == [None] * 19
    assert said[-1] == Breakdown("error_rate", 10, 20, 60.0, ErrorClass.TRANSIENT, "http_503", "out of order")


def test_what_left_the_window_counts_no_more() -> None:
    assert set(told([(TAKEN, 4), (DOWN, 4)] * 50)) == {None}


def test_what_it_was_told_before_it_forgot_counts_no_more() -> None:
    breaker = Breaker(POLICY)
    for _ in range(5):
        breaker.note(DOWN, NOW)
    breaker.forget()
    assert [breaker.note(DOWN, NOW) for _ in range(4)] == [None] * 4


def test_a_clock_that_was_set_back_does_not_keep_old_failures_for_ever() -> None:
    breaker, earlier = Breaker(BreakerPolicy(99, 0.5, 20, POLICY.window, REST)), NOW - timedelta(hours=1)
    for _ in range(19):
        breaker.note(DOWN, NOW)
    assert breaker.note(DOWN, earlier) is None


policies = st.builds(
    BreakerPolicy,
    failures=st.integers(1, 8),
    rate=st.floats(0.01, 1.0),
    calls=st.integers(1, 30),
    window=st.integers(1, 100).map(lambda seconds: timedelta(seconds=seconds * 60)),
    rest=st.just(REST),
)
runs = st.lists(st.tuples(st.sampled_from([TAKEN, DOWN, DOWN, LIMITED]), st.integers(0, 90)), max_size=80)


def expected(heard: Sequence[tuple[datetime, Answer]], policy: BreakerPolicy) -> str | None:
    """The rule that applies, by counting all over again; slices make the window up to a sixtieth shorter."""
    told = [(at, judge(answer) == "fails") for at, answer in heard if judge(answer)]
    if judge(heard[-1][1]) != "fails":
        return None
    if len(told) >= policy.failures and all(failed for _, failed in told[-policy.failures :]):
        return "consecutive_failures"
    return None


@given(answers=runs, policy=policies)
@settings(max_examples=200, deadline=None)
def test_so_many_failures_in_a_row_always_open_it_and_without_them_only_the_rate_does(
    answers: list[tuple[Answer, int]], policy: BreakerPolicy
) -> None:
    now, heard = NOW, list[tuple[datetime, Answer]]()
    for (answer, after), said in zip(answers, told(answers, policy), strict=True):
        now += timedelta(seconds=after)
        heard.append((now, answer))
        rule = expected(heard, policy)
        assert (said.rule if said else None) in ((rule,) if rule else (None, "error_rate"))
        if said and said.rule == "error_rate":
            rate_bounds_hold(said, heard, policy)


def rate_bounds_hold(said: Breakdown, heard: Sequence[tuple[datetime, Answer]], policy: BreakerPolicy) -> None:
    """It counts nothing that is older than the window, nothing twice, and opens at no smaller share."""
    recent = [judge(answer) for at, answer in heard if judge(answer) and at > heard[-1][0] - policy.window]
    assert policy.calls <= said.calls <= len(recent)
    assert said.failures <= recent.count("fails")
    assert said.failures >= policy.rate * said.calls


@given(answers=runs, policy=policies)
@settings(max_examples=200, deadline=None)
def test_a_rate_that_holds_in_the_window_and_in_all_but_its_oldest_slice_opens_it(
    answers: list[tuple[Answer, int]], policy: BreakerPolicy
) -> None:
    now, heard = NOW, list[tuple[datetime, Answer]]()
    for (answer, after), said in zip(answers, told(answers, policy), strict=True):
        now += timedelta(seconds=after)
        heard.append((now, answer))
        spans = (policy.window, policy.window * 59 / 60)
        if judge(answer) == "fails" and all(rate_holds(heard, span, policy) for span in spans):
            counted = {len(recent(heard, span)) for span in spans}
            assert said or len(counted) > 1


def recent(heard: Sequence[tuple[datetime, Answer]], span: timedelta) -> list[str]:
    end = heard[-1][0]
    return [verdict for at, answer in heard if at > end - span and (verdict := judge(answer))]


def rate_holds(heard: Sequence[tuple[datetime, Answer]], span: timedelta, policy: BreakerPolicy) -> bool:
    verdicts = recent(heard, span)
    return len(verdicts) >= policy.calls and verdicts.count("fails") >= policy.rate * len(verdicts)


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_it_stays_small_however_much_it_is_told(gaps: list[float]) -> None:
    breaker, now = Breaker(POLICY), NOW
    for gap in gaps:
        now += timedelta(seconds=gap)
        breaker.note(TAKEN, now)
    assert len(breaker._slices) <= 60
