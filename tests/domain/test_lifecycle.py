"""Whatever happens to an email, in any order: the rules that hold all the same."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events as e
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email, Step
from domain.status import EmailStatus
from tests.samples import LEASE, stamp
from tests.strategies import Life, chances

MANY = settings(max_examples=400, deadline=None)
WAITING = {EmailStatus.SCHEDULED, EmailStatus.QUEUED, EmailStatus.DEFERRED}
ENDED = {EmailStatus.CANCELLED, EmailStatus.EXPIRED, EmailStatus.FAILED}
CLOSING = (e.EmailDispatched, e.EmailDeliveryDeferred, e.EmailDeliveryFailed, e.EmailExpired, e.EmailCancelled)


def lived(chance: Random, steps: int) -> Life:
    life = Life(chance, "acme")
    for _ in range(steps):
        life.step()
    return life


def replayed(life: Life) -> Email:
    email = Email.of(life.events)
    assert email is not None
    return email


def state(email: Email) -> dict[str, Any]:
    return {name: value for name, value in vars(email).items() if name != "_pending"}


def any_answer(chance: Random, started: e.EmailDeliveryStarted) -> Answer:
    """Some are taken, and of the others nothing more is known than a reason."""
    taken = [id for id in started.recipients if chance.random() < 0.3]
    trouble = None if len(taken) == len(started.recipients) else chance.choice(tuple(ErrorClass))
    return Answer(tuple(e.ProviderMessage(recipient_id=id, message_id="m") for id in taken), error_class=trouble)


lives = st.builds(lived, chances, st.integers(0, 40))


@given(life=lives)
@MANY
def test_replay_equals_the_live_state(life: Life) -> None:
    again = replayed(life)
    assert state(again) == state(life.email)
    assert again.standing.status == life.email.status


@given(life=lives, seed=st.integers(0, 2**32))
@MANY
def test_a_replayed_email_decides_as_the_live_one(life: Life, seed: int) -> None:
    def goes_on(email: Email) -> list[dict[str, Any]]:
        twin = Life(Random(0), "acme")
        twin.email, twin.now, twin.chance = email, life.now, Random(seed)
        twin.events = []
        for _ in range(5):
            twin.step()
        return [event.model_dump(exclude={"event_id"}) for event in twin.events]

    again = replayed(life)
    assert goes_on(again) == goes_on(life.email)


@given(life=lives)
@MANY
def test_versions_and_attempts_are_numbered_without_a_gap(life: Life) -> None:
    assert [event.originator_version for event in life.events] == list(range(1, len(life.events) + 1))
    started = [event.attempt for event in life.events if isinstance(event, e.EmailDeliveryStarted)]
    assert started == list(range(1, len(started) + 1))


@given(life=lives)
@MANY
def test_no_attempt_starts_while_another_is_open(life: Life) -> None:
    open_attempt = None
    for event in life.events:
        if isinstance(event, e.EmailDeliveryStarted):
            assert open_attempt is None
            open_attempt = event.attempt
        elif isinstance(event, e.EmailDeliveryUnconfirmed):
            open_attempt = event.attempt  # it may have been taken for some in the same commit
        elif isinstance(event, CLOSING) or (
            isinstance(event, e.EmailDeliveryResolved) and event.attempt == open_attempt and not event.doubtful
        ):
            open_attempt = None
    assert open_attempt == life.email.standing.open_attempt


@given(life=lives)
@MANY
def test_an_attempt_is_dispatched_at_most_once(life: Life) -> None:
    dispatched = [event.attempt for event in life.events if isinstance(event, e.EmailDispatched)]
    assert len(dispatched) == len(set(dispatched))


@given(life=lives)
@MANY
def test_nobody_whom_a_provider_took_is_sent_to_again_unless_requeued(life: Life) -> None:
    taken: set[object] = set()
    for event in life.events:
        if isinstance(event, e.EmailDispatched):
            taken |= {message.recipient_id for message in event.messages}
        elif isinstance(event, e.EmailDeliveryResolved) and event.resolution is e.Resolution.ACCEPTED:
            taken |= set(event.recipients)
        elif isinstance(event, e.EmailRequeued):
            taken -= set(event.recipients)
        elif isinstance(event, e.EmailDeliveryStarted):
            assert event.recipients
            assert not taken & set(event.recipients)


@given(life=lives)
@MANY
def test_nothing_is_due_exactly_when_nothing_is_waited_for(life: Life) -> None:
    email = life.email
    parked = isinstance(life.events[-1], e.EmailDeliveryUnconfirmed) and life.events[-1].settle_at is None
    if email.status in ENDED:
        assert email.due_at is None
    if email.status in WAITING or email.status is EmailStatus.SENDING:
        assert email.due_at is not None
    elif email.status is EmailStatus.UNCONFIRMED:
        assert email.due_at is not None or parked or email.queued.policy.in_doubt == "at_most_once"
    elif email.attempts:
        assert email.due_at is None
    if email.due_at is None:
        assert email.step(life.now + timedelta(days=365)) is Step.NOTHING


@given(life=lives)
@MANY
def test_the_message_and_its_token_stay_the_same_for_every_attempt_between_requeues(life: Life) -> None:
    dates: set[datetime] = set()
    tokens: list[tuple[int, str]] = []
    requeues = 0
    for event in life.events:
        requeues += isinstance(event, e.EmailRequeued)
        if isinstance(event, e.EmailDeliveryStarted):
            email = Email.of(life.events[: event.originator_version])
            assert email is not None
            dates.add(email.first_due)
            tokens.append((requeues, event.token))
    assert len(dates) <= 1
    assert len({token for _, token in tokens}) == len(set(tokens)) == len({number for number, _ in tokens})


@given(life=lives)
@MANY
def test_an_email_whose_due_steps_are_taken_reaches_an_end(life: Life) -> None:
    email = life.email
    for _ in range(4 * (email.queued.policy.max_attempts + 2)):
        if email.due_at is None:
            break
        life.now = max(life.now, email.due_at)
        take_due_step(life)
    assert email.due_at is None or not email.attempts
    in_doubt = email.status is EmailStatus.UNCONFIRMED
    assert email.status not in WAITING | {EmailStatus.SENDING}
    assert not in_doubt or email.queued.policy.in_doubt == "at_most_once"


def take_due_step(life: Life) -> None:
    email, chance = life.email, life.chance
    match email.step(life.now):
        case Step.START:
            attempt = email.start_delivery("main", "default", LEASE, stamp(life.now))
            if chance.random() < 0.9:
                said = any_answer(life.chance, email.attempts[attempt])
                email.conclude(attempt, said, stamp(life.now), chance=chance.random())
        case Step.EXPIRE:
            email.expire(stamp(life.now))
        case Step.DOUBT:
            email.doubt(stamp(life.now))
        case Step.SETTLE:
            started = email.attempts[email.standing.attempt]
            email.settle(any_answer(life.chance, started) if chance.random() < 0.5 else None, stamp(life.now))
        case Step.NOTHING:
            assert not email.attempts  # everyone was reported on before anything was sent: nonsense, but no harm
            email.due_at = None
