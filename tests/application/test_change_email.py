"""Changing an accepted email on a real ledger: the stream's version decides, and the answer is true."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from application.commands import Receipt, Reschedule, Resolve, Retry
from application.deciding import decide
from application.errors import EmailNotFound, InvalidField
from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from domain.email import Email
from domain.errors import NotAllowedInThisState
from domain.status import EmailStatus
from tests.application.desk import ACME, GLOBEX, Desk, at_the_desk, command
from tests.samples import LEASE, stamp, taken


async def accepted(desk: Desk) -> UUID:
    return (await desk.send(command(), ACME)).id


async def standing(desk: Desk, email_id: UUID) -> Email:
    email = Email.of(await desk.history(email_id))
    assert email is not None
    return email


async def attempt(desk: Desk, email_id: UUID, answer: Answer | None) -> None:
    """What a worker does: intent, then outcome; without an answer the worker was killed in between."""
    await decide(desk.ledger, email_id, lambda email: start(desk, email))
    if answer is None:
        return
    await decide(desk.ledger, email_id, lambda email: email.conclude(1, answer, stamp(desk.now), chance=0.5))


def start(desk: Desk, email: Email) -> None:
    email.start_delivery("main", "default", LEASE, stamp(desk.now))


def test_cancelling_twice_answers_the_same(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        first = await desk.change.cancel(email_id, ACME)
        assert await desk.change.cancel(email_id, ACME) == first
        assert [type(event) for event in await desk.history(email_id)] == [e.EmailQueued, e.EmailCancelled]

    at_the_desk(tmp_path, scenario)


def test_cancel_and_dispatch_race_and_exactly_one_wins_with_a_true_answer(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for number in range(30):
            email_id = await accepted(desk)
            cancelling, starting = desk.change.cancel(email_id, ACME), decide(desk.ledger, email_id, begin)
            race = [cancelling, starting] if number % 2 else [starting, cancelling]
            results: Sequence[object] = await asyncio.gather(*race, return_exceptions=True)
            refused = [result for result in results if isinstance(result, NotAllowedInThisState)]
            assert len(refused) == 1
            cancelled = any(isinstance(result, Receipt) for result in results)
            status = (await standing(desk, email_id)).status
            assert status is (EmailStatus.CANCELLED if cancelled else EmailStatus.SENDING)

    def begin(email: Email) -> None:
        email.start_delivery("main", "default", LEASE, stamp())

    at_the_desk(tmp_path, scenario)


def test_an_email_of_another_tenant_is_not_there(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for email_id in (await accepted(desk), uuid4()):
            for change in (
                desk.change.cancel(email_id, GLOBEX),
                desk.change.retry(email_id, Retry(reason="x"), GLOBEX),
                desk.change.reschedule(email_id, Reschedule(scheduled_at=timedelta(hours=1)), GLOBEX),
                desk.change.resolve(email_id, Resolve(resolution="accepted", reason="x"), GLOBEX),
            ):
                with pytest.raises(EmailNotFound):
                    await change

    at_the_desk(tmp_path, scenario)


def test_rescheduling_moves_the_time_within_its_limit(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await desk.change.reschedule(email_id, Reschedule(scheduled_at=timedelta(days=30)), ACME)
        assert (await standing(desk, email_id)).due_at == desk.now + timedelta(days=30)
        with pytest.raises(InvalidField):
            await desk.change.reschedule(email_id, Reschedule(scheduled_at=timedelta(days=31)), ACME)

    at_the_desk(tmp_path, scenario)


def test_what_went_out_is_neither_cancelled_nor_rescheduled_nor_retried(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await attempt(desk, email_id, taken(await standing(desk, email_id)))
        for change in (
            desk.change.cancel(email_id, ACME),
            desk.change.retry(email_id, Retry(reason="x"), ACME),
            desk.change.reschedule(email_id, Reschedule(scheduled_at=timedelta(hours=1)), ACME),
            desk.change.resolve(email_id, Resolve(resolution="accepted", reason="x"), ACME),
        ):
            with pytest.raises(NotAllowedInThisState):
                await change

    at_the_desk(tmp_path, scenario)


def test_a_failed_email_is_retried_once_with_reason_and_priority(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await attempt(desk, email_id, Answer(error_class=ErrorClass.PERMANENT))
        wish = Retry(reason="mended", priority=e.Priority.CRITICAL)
        results = await asyncio.gather(
            *(desk.change.retry(email_id, wish, ACME) for _ in range(5)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["NotAllowedInThisState"] * 4 + ["Receipt"]
        requeued = (await desk.history(email_id))[-1]
        assert isinstance(requeued, e.EmailRequeued)
        assert (requeued.reason, requeued.priority) == ("mended", e.Priority.CRITICAL)

    at_the_desk(tmp_path, scenario)


@pytest.mark.parametrize(
    ("resolution", "status"), [("accepted", EmailStatus.DISPATCHED), ("not_accepted", EmailStatus.QUEUED)]
)
def test_an_operator_resolves_a_doubt(tmp_path: Path, resolution: str, status: EmailStatus) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await attempt(desk, email_id, Answer(error_class=ErrorClass.UNKNOWN))
        wish = Resolve.model_validate({"resolution": resolution, "reason": "seen in its log"})
        receipt = await desk.change.resolve(email_id, wish, ACME)
        assert (await standing(desk, email_id)).status is status
        assert receipt.position == await desk.ledger.position()
        with pytest.raises(NotAllowedInThisState):
            await desk.change.resolve(email_id, wish, ACME)

    at_the_desk(tmp_path, scenario)


def test_an_attempt_under_way_cannot_be_resolved_yet(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await attempt(desk, email_id, None)
        with pytest.raises(NotAllowedInThisState):
            await desk.change.resolve(email_id, Resolve(resolution="accepted", reason="x"), ACME)

    at_the_desk(tmp_path, scenario)


def test_the_same_feedback_from_many_hands_is_recorded_once(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        email_id = await accepted(desk)
        await attempt(desk, email_id, taken(await standing(desk, email_id)))
        person = (await desk.queued(email_id)).recipients[0].id
        report = RecipientReport(e.EmailRecipientDelivered, person, "main", desk.now, "evt-1")
        await asyncio.gather(*(desk.change.record_feedback(email_id, report, ACME) for _ in range(5)))
        history = await desk.history(email_id)
        assert [type(event) for event in history].count(e.EmailRecipientDelivered) == 1
        assert (await standing(desk, email_id)).status is EmailStatus.DELIVERED

    at_the_desk(tmp_path, scenario)
