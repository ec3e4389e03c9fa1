"""Why an email stands where it does: the reason that counts, of all that were given."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.outlook import Outlook
from domain.status import EmailStatus
from tests.samples import LEASE, NOW, queued, stamp

LATER = NOW + timedelta(minutes=1)
FULL = {"bounce_class": "soft", "reason": "mailbox_full"}
GONE = {"bounce_class": "hard", "reason": "no_mailbox"}


def outlook(email: Email) -> Outlook:
    return Outlook.of(email.history)


def attempt(email: Email, answer: Answer, provider: str = "main") -> None:
    email.conclude(email.start_delivery(provider, "default", LEASE, stamp()), answer, stamp(), chance=0)


def bounced(email: Email, person: UUID, **details: Any) -> RecipientReport:
    return RecipientReport(e.EmailRecipientDeliveryFailed, person, "main", LATER, details=details, raw=UUID(int=1))


def took(*people: UUID) -> Answer:
    return Answer(messages=tuple(e.ProviderMessage(recipient_id=id, message_id="m") for id in people))


def test_where_all_is_well_there_is_nothing_to_say() -> None:
    email = queued()
    attempt(email, took(*email.standing.recipients))
    found = outlook(email)
    assert (found.error_class, found.reason, found.retry_at, found.settle_at) == (None, None, None, None)
    assert found.provider == "main"


def test_what_is_put_off_says_why_and_until_when() -> None:
    email = queued()
    attempt(email, Answer(error_class=ErrorClass.RATE_LIMITED, reason="slow_down", retry_after=timedelta(hours=1)))
    found = outlook(email)
    assert (found.error_class, found.reason) == (ErrorClass.RATE_LIMITED, "slow_down")
    assert (found.retry_at, found.settle_at) == (NOW + timedelta(hours=1), None)


def test_what_is_parked_has_no_time() -> None:
    email = queued(policy=DeliveryPolicy(in_doubt="at_most_once"))
    attempt(email, Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost"))
    assert outlook(email).settle_at == NOW + DeliveryPolicy().settle_after
    email.settle(None, stamp(LATER))
    found = outlook(email)
    assert (found.error_class, found.reason, found.settle_at) == (ErrorClass.UNKNOWN, "no_evidence", None)


def test_of_several_the_first_who_has_not_got_it_says_why() -> None:
    email = queued("ada@example.com", "bob@example.com", "cy@example.com")
    ada, bob, cy = email.standing.recipients
    attempt(email, took(ada, bob, cy))
    for report in (bounced(email, cy, **FULL), bounced(email, bob, **GONE)):
        email.report(report, stamp(LATER))
    email.report(RecipientReport(e.EmailRecipientDelivered, ada, "main", LATER, raw=UUID(int=2)), stamp(LATER))
    found = outlook(email)
    assert (found.standing.status, found.reason) == (EmailStatus.PARTIALLY_DELIVERED, "no_mailbox")
    assert found.reasons == {bob: "no_mailbox", cy: "mailbox_full"}


def test_giving_up_outweighs_one_bounce() -> None:
    email = queued("ada@example.com", "bob@example.com", policy=DeliveryPolicy(max_attempts=1))
    ada, bob = email.standing.recipients
    answer = took(ada)
    attempt(email, Answer(messages=answer.messages, error_class=ErrorClass.TRANSIENT, put_off=(bob,)))
    email.report(bounced(email, ada, **GONE), stamp(LATER))
    found = outlook(email)
    assert (found.standing.status, found.error_class) == (EmailStatus.BOUNCED, ErrorClass.TRANSIENT)
    assert found.reason == "retries_exhausted"


def test_what_expired_tells_what_kept_it_until_then() -> None:
    email = queued(expires_at=NOW + timedelta(seconds=90))
    attempt(email, Answer(error_class=ErrorClass.TRANSIENT, reason="connection_refused"))
    email.expire(stamp(NOW + timedelta(minutes=2)))
    found = outlook(email)
    assert (found.error_class, found.reason, found.retry_at) == (ErrorClass.TRANSIENT, "expired", None)


def test_a_bounce_without_a_word_is_told_by_its_class() -> None:
    email = queued()
    (person,) = email.standing.recipients
    attempt(email, took(person))
    email.report(bounced(email, person, bounce_class="soft"), stamp(LATER))
    assert outlook(email).reason == "soft"


def test_sent_again_what_was_said_before_is_of_the_past() -> None:
    email = queued()
    attempt(email, Answer(error_class=ErrorClass.PERMANENT, reason="refused"))
    email.requeue("mended", stamp(LATER))
    found = outlook(email)
    assert (found.error_class, found.reason, found.reasons) == (None, None, {})
