"""What providers say, and what the aggregate makes of it: once, corrected when misread, and as evidence."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import events as e
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.feedback import Feedback, Kind
from domain.standing import Standing
from domain.status import EmailStatus, RecipientStatus
from tests.samples import LEASE, NOW, queued, stamp

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
RAW, OTHER_RAW = UUID(int=900), UUID(int=901)
DELIVERED = Feedback(kind=Kind.DELIVERED, provider_type="delivered", keys=("d",), occurred_at=NOW, recipient=ADA)
BOUNCED = Feedback(
    kind=Kind.BOUNCED,
    provider_type="bounce",
    keys=("b",),
    occurred_at=NOW + timedelta(seconds=5),
    recipient=ADA,
    bounce_class="hard",
    reason="invalid_address",
    terminal=True,
    add_to_suppression=True,
)


def sent(*people: str, separate: bool = False, **fields: Any) -> Email:
    """An email that provider `main` has taken for everyone."""
    email = started(*people, separate=separate, **fields)
    email.conclude(1, Answer(messages=messages(email)), stamp(), chance=0)
    email.collect_events()
    return email


def started(*people: str, separate: bool = False, **fields: Any) -> Email:
    email = queued(*(people or (ADA,)), **fields)
    email.start_delivery("main", "default", LEASE, stamp(), separate=separate)
    return email


def doubted(*people: str, separate: bool = False, **fields: Any) -> Email:
    email = started(*people, separate=separate, **fields)
    email.conclude(1, Answer(error_class=ErrorClass.UNKNOWN), stamp(), chance=0)
    email.collect_events()
    return email


def messages(email: Email, *ids: UUID) -> tuple[e.ProviderMessage, ...]:
    everyone = ids or tuple(email.standing.recipients)
    return tuple(e.ProviderMessage(recipient_id=id, message_id=f"m-{id}") for id in everyone)


def hear(email: Email, *said: Feedback, raw: UUID = RAW) -> list[e.Event]:
    for each in said:
        assert email.hear(each, "main", NOW + timedelta(minutes=1), stamp(), raw)
    return email.collect_events()


def stands(email: Email) -> str:
    return email.status.value


def status(email: Email, place: int = 0) -> RecipientStatus:
    return list(email.standing.recipients.values())[place].status


# -- whom, and once ----------------------------------------------------------------------------------------------------


def test_a_report_names_its_recipient_by_address_in_any_spelling() -> None:
    email = sent(ADA, BOB)
    hear(email, replace(DELIVERED, recipient="BOB@EXAMPLE.com"))
    assert (status(email, 0), status(email, 1)) == (RecipientStatus.SENT, RecipientStatus.DELIVERED)


def test_an_address_of_ours_comes_before_the_id_the_call_carried() -> None:
    email = sent(ADA, BOB)
    first = next(iter(email.standing.recipients))
    hear(email, replace(DELIVERED, recipient=BOB, recipient_id=first))
    assert (status(email, 0), status(email, 1)) == (RecipientStatus.SENT, RecipientStatus.DELIVERED)


def test_a_strangers_address_leaves_it_to_our_id() -> None:
    email = sent(ADA, BOB)
    first = next(iter(email.standing.recipients))
    hear(email, replace(DELIVERED, recipient="forwarded@elsewhere.example", recipient_id=first))
    assert status(email, 0) is RecipientStatus.DELIVERED


def test_what_names_nobody_is_kept_on_the_email_and_never_guessed() -> None:
    email = sent(ADA, BOB)
    said = replace(DELIVERED, kind=Kind.OPENED, recipient=None)
    (event,) = hear(email, said)
    assert isinstance(event, e.EmailFeedbackUnattributed)
    assert (event.kind, event.raw, event.keys) == ("opened", RAW, ("d",))
    assert hear(email, said, raw=OTHER_RAW) == []
    assert [r.opened_at for r in email.standing.recipients.values()] == [None, None]


def test_of_a_single_recipient_there_is_no_doubt_whom_it_is_about() -> None:
    email = sent(ADA)
    hear(email, replace(DELIVERED, recipient=None))
    assert status(email) is RecipientStatus.DELIVERED


def test_a_provider_that_was_never_asked_has_nothing_to_say() -> None:
    email = sent(ADA)
    assert not email.hear(DELIVERED, "another", NOW, stamp(), RAW)
    assert email.collect_events() == []


@given(copies=st.lists(st.sampled_from(["d", "x"]), min_size=1, max_size=4))
def test_any_shared_key_makes_two_statements_one(copies: list[str]) -> None:
    email = sent(ADA)
    events = hear(email, replace(DELIVERED, keys=("d", "x")))
    for number, key in enumerate(copies):
        events += hear(email, replace(DELIVERED, keys=(f"new-{number}", key)), raw=OTHER_RAW)
    assert len(events) == 1


def test_a_clock_that_is_far_ahead_does_not_outrank_everything() -> None:
    email = sent(ADA)
    (event,) = hear(email, replace(DELIVERED, occurred_at=NOW + timedelta(days=4000)))
    assert isinstance(event, e.EmailRecipientDelivered)
    assert event.provider_at == NOW + timedelta(minutes=1)


def test_an_automatic_reply_that_looks_like_a_bounce_never_undoes_a_delivery() -> None:
    reply = replace(BOUNCED, keys=("r",), bounce_class="soft", terminal=False, add_to_suppression=False)
    for order in permutations([DELIVERED, reply]):
        email = sent(ADA)
        hear(email, *order)
        assert status(email) is RecipientStatus.DELIVERED


# -- corrections -------------------------------------------------------------------------------------------------------

CORRECTED = replace(BOUNCED, bounce_class="soft", reason="mailbox_full", add_to_suppression=False)


def test_the_same_delivery_read_again_by_the_same_translator_changes_nothing() -> None:
    email = sent(ADA)
    hear(email, DELIVERED, BOUNCED)
    assert hear(email, DELIVERED, BOUNCED) == []


def test_a_better_translation_of_the_same_delivery_corrects_what_was_said() -> None:
    email = sent(ADA)
    (first,) = hear(email, BOUNCED)
    (event,) = hear(email, CORRECTED)
    assert isinstance(event, e.EmailRecipientDeliveryFailed)
    assert event.corrects is not None
    assert (event.corrects.event_id, event.corrects.status) == (first.event_id, RecipientStatus.SENT)
    assert (event.bounce_class, event.reason) == ("soft", "mailbox_full")
    assert hear(email, CORRECTED) == []


def test_another_delivery_of_the_same_words_corrects_nothing() -> None:
    email = sent(ADA)
    hear(email, BOUNCED)
    assert hear(email, CORRECTED, raw=OTHER_RAW) == []


def test_a_corrected_bounce_gives_way_to_the_delivery_it_had_hidden() -> None:
    email = sent(ADA)
    hear(email, DELIVERED, BOUNCED)
    assert stands(email) == EmailStatus.BOUNCED
    hear(email, replace(BOUNCED, kind=Kind.DEFERRED, bounce_class=None))
    assert stands(email) == EmailStatus.DELIVERED


def test_what_turns_out_to_say_nothing_is_withdrawn_and_can_come_back() -> None:
    email = sent(ADA)
    (first,) = hear(email, BOUNCED)
    (withdrawn,) = hear(email, replace(BOUNCED, kind=Kind.IGNORED))
    assert isinstance(withdrawn, e.EmailRecipientReportWithdrawn)
    assert withdrawn.corrects is not None
    assert withdrawn.corrects.event_id == first.event_id
    assert status(email) is RecipientStatus.SENT
    assert hear(email, replace(BOUNCED, kind=Kind.IGNORED)) == []
    hear(email, BOUNCED)
    assert status(email) is RecipientStatus.BOUNCED


@given(data=st.data())
def test_after_any_corrections_it_stands_as_if_only_the_last_translation_had_been(data: st.DataObject) -> None:
    kinds = [Kind.DELIVERED, Kind.DEFERRED, Kind.BOUNCED, Kind.COMPLAINED, Kind.OPENED, Kind.IGNORED, Kind.SUPPRESSED]
    said = [replace(DELIVERED, keys=(str(n),), occurred_at=NOW + timedelta(seconds=n)) for n in range(3)]
    email, last = sent(ADA), {}
    for _ in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, 2))
        last[number] = replace(said[number], kind=data.draw(st.sampled_from(kinds)), terminal=True)
        hear(email, last[number], raw=UUID(int=number))
    plain = sent(ADA)
    for number, each in last.items():
        hear(plain, each, raw=UUID(int=number))
    assert status(email) is status(plain)
    assert [r.opened_at for r in email.standing.recipients.values()] == [
        r.opened_at for r in plain.standing.recipients.values()
    ]
    assert Standing.of(email.history) == email.standing


# -- evidence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.SENT, Kind.DELIVERED, Kind.BOUNCED, Kind.OPENED])
def test_any_word_about_it_proves_a_call_for_all_taken(kind: Kind) -> None:
    email = doubted(ADA, BOB)
    events = hear(email, replace(DELIVERED, kind=kind))
    (resolved,) = [event for event in events if isinstance(event, e.EmailDeliveryResolved)]
    assert (resolved.evidence, resolved.resolution) == ("feedback", e.Resolution.ACCEPTED)
    assert len(resolved.recipients) == 2
    assert email.due_at is None


def test_a_word_that_names_nobody_proves_it_too() -> None:
    email = doubted(ADA, BOB)
    hear(email, replace(DELIVERED, recipient=None))
    assert stands(email) == EmailStatus.DISPATCHED


def test_a_call_of_its_own_proves_only_itself() -> None:
    email = doubted(ADA, BOB, separate=True)
    ada, bob = email.standing.recipients
    (_, resolved) = hear(email, DELIVERED)
    assert isinstance(resolved, e.EmailDeliveryResolved)
    assert (resolved.recipients, resolved.doubtful) == ((ada,), (bob,))
    assert stands(email) == EmailStatus.UNCONFIRMED
    hear(email, replace(DELIVERED, recipient=BOB))
    assert stands(email) == EmailStatus.DELIVERED
    assert email.due_at is None


def test_another_providers_word_proves_nothing_about_this_attempt() -> None:
    email = started(ADA)
    email.conclude(1, Answer(error_class=ErrorClass.TRANSIENT), stamp(), chance=0)
    email.start_delivery("backup", "default", LEASE, stamp())
    email.conclude(2, Answer(error_class=ErrorClass.UNKNOWN), stamp(), chance=0)
    hear(email, replace(DELIVERED, kind=Kind.SENT))
    assert stands(email) == EmailStatus.UNCONFIRMED


def test_a_partial_answer_is_in_doubt_for_one_only() -> None:
    email = started(ADA, BOB, EVE, separate=True)
    ada, bob, eve = email.standing.recipients
    answer = Answer(
        messages=messages(email, ada), doubtful=(bob,), put_off=(eve,), error_class=ErrorClass.UNKNOWN, reason="lost"
    )
    email.conclude(1, answer, stamp(), chance=0)
    dispatched, unconfirmed = email.collect_events()[-2:]
    assert isinstance(dispatched, e.EmailDispatched)
    assert isinstance(unconfirmed, e.EmailDeliveryUnconfirmed)
    assert (dispatched.put_off, unconfirmed.recipients) == ((bob, eve), (bob,))
    assert stands(email) == EmailStatus.UNCONFIRMED
    email.settle(Answer(messages=messages(email, bob)), stamp())
    (resolved,) = email.collect_events()
    assert isinstance(resolved, e.EmailDeliveryResolved)
    assert (resolved.recipients, resolved.put_off) == ((bob,), (eve,))
    assert stands(email) == EmailStatus.QUEUED
    assert email.standing.outstanding == (eve,)


def test_a_partial_doubt_that_finds_no_evidence_is_sent_again_to_those_alone() -> None:
    email = started(ADA, BOB, separate=True)
    ada, bob = email.standing.recipients
    answer = Answer(messages=messages(email, ada), doubtful=(bob,), error_class=ErrorClass.UNKNOWN)
    email.conclude(1, answer, stamp(), chance=0)
    email.settle(None, stamp())
    assert email.standing.outstanding == (bob,)
    assert stands(email) == EmailStatus.QUEUED


def test_a_partial_doubt_may_be_parked() -> None:
    email = started(ADA, BOB, separate=True, policy=DeliveryPolicy(in_doubt="at_most_once"))
    ada, bob = email.standing.recipients
    answer = Answer(messages=messages(email, ada), doubtful=(bob,), error_class=ErrorClass.UNKNOWN)
    email.conclude(1, answer, stamp(), chance=0)
    email.settle(None, stamp())
    parked = email.collect_events()[-1]
    assert isinstance(parked, e.EmailDeliveryUnconfirmed)
    assert (parked.recipients, parked.settle_at) == ((bob,), None)


def test_what_is_told_while_the_call_is_under_way_settles_the_doubt_that_follows() -> None:
    email = started(ADA, BOB, separate=True)
    hear(email, DELIVERED)
    email.doubt(stamp())
    *_, unconfirmed, resolved = email.collect_events()
    assert isinstance(unconfirmed, e.EmailDeliveryUnconfirmed)
    assert isinstance(resolved, e.EmailDeliveryResolved)
    assert resolved.doubtful == tuple(email.standing.recipients)[1:]


def test_mere_evidence_waits_until_the_call_is_over() -> None:
    email, accepted = started(ADA), replace(DELIVERED, kind=Kind.ACCEPTED)
    assert not email.hear(accepted, "main", NOW, stamp(), RAW)
    email.doubt(stamp())
    assert email.hear(accepted, "main", NOW, stamp(), RAW)
    assert stands(email) == EmailStatus.DISPATCHED


# -- suppression -------------------------------------------------------------------------------------------------------


def test_a_suppressed_recipient_is_left_out_by_name_of_its_rule() -> None:
    email = queued(ADA, BOB)
    email.collect_events()
    ada, bob = email.standing.recipients
    email.suppress({ada: "complaint"}, stamp())
    (event,) = email.collect_events()
    assert isinstance(event, e.EmailRecipientSuppressed)
    assert (event.recipient_id, event.rule, event.provider) == (ada, "complaint", "postledger")
    assert email.standing.outstanding == (bob,)


def test_when_all_are_suppressed_the_email_has_ended() -> None:
    email = queued(ADA)
    email.suppress(dict.fromkeys(email.standing.recipients, "hard_bounce"), stamp())
    assert stands(email) == EmailStatus.SUPPRESSED
    assert email.due_at is None


# -- order and copies --------------------------------------------------------------------------------------------------

_KINDS = [kind for kind in Kind if kind not in (Kind.SUPPRESSION_ADDED, Kind.PROVIDER_ACCOUNT)]


@st.composite
def statements(draw: st.DrawFn) -> list[Feedback]:
    """What a provider may tell about one email, each statement under a key of its own."""
    return [
        Feedback(
            kind=draw(st.sampled_from(_KINDS)),
            provider_type="word",
            keys=(f"k{number}",),
            occurred_at=NOW + timedelta(seconds=draw(st.integers(0, 5))),
            recipient=draw(st.sampled_from([ADA, BOB, None])),
            bounce_class=draw(st.sampled_from(["hard", "soft", "undetermined"])),
            terminal=draw(st.booleans()),
            machine=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@given(said=statements(), data=st.data(), doubtful=st.booleans(), separate=st.booleans())
def test_late_repeated_and_shuffled_statements_end_in_the_same_state(
    said: list[Feedback], data: st.DataObject, doubtful: bool, separate: bool
) -> None:
    shuffled = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=4))))
    make = doubted if doubtful else sent
    one, other = make(ADA, BOB, separate=separate), make(ADA, BOB, separate=separate)
    hear(one, *said)
    for number, each in enumerate(shuffled):
        hear(other, each, raw=UUID(int=number))
    assert one.status == other.status
    assert [vars_of(r) for r in one.standing.recipients.values()] == [
        vars_of(r) for r in other.standing.recipients.values()
    ]


def vars_of(recipient: Any) -> dict[str, Any]:
    return {name: getattr(recipient, name) for name in ("status", "handed_over", "opened_at", "clicked_at", "at")}
