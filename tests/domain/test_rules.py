"""Single rules of the aggregate that a random history seldom meets, each once broken."""

from datetime import timedelta

import pytest

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.errors import NotAllowedInThisState
from domain.status import EmailStatus, RecipientStatus
from tests.samples import LEASE, NOW, queued, stamp, taken

HOUR = timedelta(hours=1)
LATER = NOW + 10 * HOUR
LOST = Answer(error_class=ErrorClass.UNKNOWN)
BUSY = Answer(error_class=ErrorClass.TRANSIENT)
NO = Answer(error_class=ErrorClass.PERMANENT)


def attempt(email: Email, answer: Answer, at: timedelta = timedelta(0)) -> int:
    number = email.start_delivery("main", "default", LEASE, stamp(NOW + at))
    email.conclude(number, answer, stamp(NOW + at), chance=0.5)
    return number


def word(email: Email, kind: type[e.RecipientEvent], place: int = 0, at: timedelta = HOUR) -> RecipientReport:
    details = {"bounce_class": "hard"} if kind is e.EmailRecipientDeliveryFailed else {}
    details |= {"rule": "provider"} if kind is e.EmailRecipientSuppressed else {}
    return RecipientReport(kind, email.queued.recipients[place].id, "main", NOW + at, details=details)


def test_a_requeue_never_sends_again_to_who_has_got_it() -> None:
    email = queued("ada@example.com", "bob@example.com")
    attempt(email, taken(email))
    email.report(word(email, e.EmailRecipientDelivered, 0), stamp(LATER))
    email.report(word(email, e.EmailRecipientSuppressed, 1), stamp(LATER))
    assert email.status is EmailStatus.PARTIALLY_DELIVERED
    email.requeue("address was mended", stamp(LATER))
    assert email.standing.outstanding == (email.queued.recipients[1].id,)


def test_a_requeue_with_nobody_left_to_send_to_is_refused() -> None:
    email = queued("ada@example.com", "bob@example.com")
    number = attempt(email, LOST)
    email.settle(None, stamp(NOW + HOUR))
    email.cancel(stamp(NOW + HOUR))
    email.conclude(number, Answer(taken(email).messages[:1]), stamp(LATER), chance=0.5)
    email.report(word(email, e.EmailRecipientDelivered, 0), stamp(LATER))
    assert email.status is EmailStatus.PARTIALLY_DELIVERED
    with pytest.raises(NotAllowedInThisState):
        email.requeue("please", stamp(LATER))


def test_a_provider_that_never_has_it_is_not_asked_for_ever() -> None:
    email = queued(policy=DeliveryPolicy(max_attempts=3))
    for hour in range(3):
        attempt(email, LOST, hour * HOUR)
        email.settle(Answer(), stamp(NOW + hour * HOUR))
    assert email.status is EmailStatus.FAILED
    assert email.due_at is None


def test_the_date_does_not_change_once_an_attempt_was_made() -> None:
    email = queued()
    attempt(email, BUSY)
    email.reschedule(LATER, stamp())
    assert email.first_due == NOW


def test_an_email_rescheduled_before_its_first_attempt_is_dated_then() -> None:
    email = queued()
    email.reschedule(LATER, stamp())
    assert email.first_due == LATER


def test_an_old_word_about_what_was_sent_before_a_requeue_is_no_evidence() -> None:
    email = queued()
    attempt(email, taken(email))
    email.report(word(email, e.EmailRecipientDeliveryFailed), stamp(LATER))
    email.requeue("mailbox was full", stamp(LATER))
    email.start_delivery("main", "default", LEASE, stamp(LATER))
    email.doubt(stamp(LATER + HOUR))
    email.report(word(email, e.EmailRecipientOpened, at=HOUR), stamp(LATER + HOUR))
    assert email.standing.in_doubt
    email.report(word(email, e.EmailRecipientOpened, at=11 * HOUR), stamp(LATER + HOUR))
    assert not email.standing.in_doubt


def test_a_report_in_the_very_second_of_a_requeue_counts() -> None:
    email = queued()
    attempt(email, taken(email))
    email.report(word(email, e.EmailRecipientDeliveryFailed), stamp(LATER))
    email.requeue("mended", stamp(LATER + timedelta(milliseconds=700)))
    attempt(email, taken(email), 10 * HOUR + timedelta(milliseconds=750))
    email.report(word(email, e.EmailRecipientSuppressed, at=10 * HOUR), stamp(LATER))  # whose clock has seconds only
    assert email.status is EmailStatus.SUPPRESSED


def test_a_refusal_after_a_requeue_counts_even_when_the_workers_clock_is_behind() -> None:
    email = queued("ada@example.com", "bob@example.com")
    attempt(email, NO)
    email.requeue("mended", stamp(LATER))
    refusal = word(email, e.EmailRecipientDeliveryFailed, 1, at=10 * HOUR - timedelta(milliseconds=5))
    number = email.start_delivery("main", "default", LEASE, stamp(LATER))
    answer = Answer(taken(email).messages[:1], reports=(refusal,), error_class=ErrorClass.PERMANENT)
    email.conclude(number, answer, stamp(LATER), chance=0.5)
    assert email.standing.recipients[refusal.recipient_id].status is RecipientStatus.BOUNCED
    assert email.status is EmailStatus.DISPATCHED


@pytest.mark.parametrize("kind", [e.EmailRecipientDelivered, e.EmailRecipientSuppressed])
def test_a_put_off_email_whose_recipients_are_all_dealt_with_waits_for_nothing(kind: type[e.RecipientEvent]) -> None:
    email = queued()
    attempt(email, BUSY)
    email.report(word(email, kind), stamp())
    assert email.due_at is None
    assert isinstance(email.collect_events()[-1], e.EmailDeliveryResolved)


def test_the_content_of_an_email_in_doubt_is_not_purged() -> None:
    email = queued(policy=DeliveryPolicy(in_doubt="at_most_once"))
    attempt(email, LOST)
    email.settle(None, stamp(NOW + HOUR))
    assert email.due_at is None
    with pytest.raises(NotAllowedInThisState):
        email.purge_content("retention", stamp(LATER))


def test_a_late_refusal_defers_as_a_prompt_one_would() -> None:
    email = queued()
    number = attempt(email, LOST)
    email.conclude(number, BUSY, stamp(NOW + HOUR), chance=0.5)
    assert email.status is EmailStatus.DEFERRED


@pytest.mark.parametrize("words", ["x" * 5000, "caf\udce9", "a\0b"])
def test_no_words_of_a_provider_keep_an_outcome_from_being_recorded(words: str) -> None:
    email = queued()
    attempt(email, Answer(error_class=ErrorClass.TRANSIENT, words=words))
    deferred = email.collect_events()[-1]
    assert isinstance(deferred, e.EmailDeliveryDeferred)
    assert 0 < len(deferred.words) <= 1000
    deferred.model_dump_json()


def test_cancelling_is_refused_once_a_provider_may_have_it() -> None:
    email = queued()
    attempt(email, LOST)
    with pytest.raises(NotAllowedInThisState):
        email.cancel(stamp())


def test_cancelling_twice_says_it_once() -> None:
    email = queued()
    email.cancel(stamp())
    email.cancel(stamp())
    assert [type(event) for event in email.collect_events()] == [e.EmailQueued, e.EmailCancelled]
