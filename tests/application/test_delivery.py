"""The step that is due for one email: what is recorded before and after a provider is called."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.deciding import decide
from application.delivery import Delivery
from application.errors import BlobMissing, BlobStoreUnavailable, StoreUnavailable
from application.ports import OutgoingMessage
from domain import events as e
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.status import EmailStatus
from infrastructure.ledger.ledger import EventLedger
from tests.fakes import FakeSuppressions
from tests.ledger.conftest import open_ledger
from tests.providers_fake import MemoryBlobs, ScriptedProvider, accepted
from tests.samples import LEASE, NOW, queued, stamp, stored_content
from tests.tools import tools

UNKNOWN = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
GREYLISTED = Answer(error_class=ErrorClass.TRANSIENT, reason="greylisted")


@dataclass
class Bench:
    """One email, one provider, and a clock that is turned by hand."""

    ledger: EventLedger
    provider: ScriptedProvider
    now: datetime = NOW
    ours: bool = True
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    suppressions: FakeSuppressions = field(default_factory=FakeSuppressions)

    async def accept(self, *to: str, **fields: Any) -> UUID:
        email = queued(*to, **fields)
        await self.ledger.append(email.collect_events(), [stored_content(email)])
        return email.id

    async def step(self, id: UUID, after: timedelta = timedelta(0)) -> EmailStatus:
        """Let this much time pass, take the step that is due, and say how the email then stands."""
        self.now += after
        given = {"blobs": self.blobs, "suppressions": self.suppressions, "clock": lambda: self.now, "lease": LEASE}
        await Delivery(tools(self.ledger, self.provider, **given))(id, lambda: self.ours)
        return (await self.email(id)).status

    async def email(self, id: UUID) -> Email:
        email = Email.of(recorded.event for recorded in await self.ledger.load(id))
        assert email is not None
        return email

    async def topics(self, id: UUID) -> list[str]:
        return [type(recorded.event).__name__ for recorded in await self.ledger.load(id)]


@pytest.fixture
def bench(sqlite_url: str) -> Callable[..., None]:
    """Runs a scenario on a fresh bench whose provider answers by the given script."""

    def run(
        scenario: Callable[[Bench], Coroutine[Any, Any, None]], *script: Any, evidence: Answer | None = None
    ) -> None:
        async def play() -> None:
            ledger = open_ledger(sqlite_url)
            try:
                await scenario(Bench(ledger, ScriptedProvider(*script, evidence=evidence)))
            finally:
                await ledger.close()

        asyncio.run(play())

    return run


Run = Callable[..., None]


def test_the_intent_is_committed_before_the_provider_is_called(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        seen: list[list[str]] = []

        async def look(message: OutgoingMessage) -> Answer:
            seen.append(await b.topics(message.email.originator_id))
            return accepted(message)

        b.provider = ScriptedProvider(look)
        id = await b.accept()
        assert await b.step(id) is EmailStatus.DISPATCHED
        assert seen == [["EmailQueued", "EmailDeliveryStarted"]]
        assert await b.topics(id) == ["EmailQueued", "EmailDeliveryStarted", "EmailDispatched"]

    bench(scenario)


def test_nothing_is_done_before_its_time(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(send_at=NOW + timedelta(hours=1))
        assert await b.step(id) is EmailStatus.SCHEDULED
        assert await b.step(id, timedelta(minutes=59)) is EmailStatus.SCHEDULED
        assert b.provider.sent == []
        assert await b.step(id, timedelta(minutes=1)) is EmailStatus.DISPATCHED

    bench(scenario)


def test_a_deferred_email_is_tried_again_with_the_same_message(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        assert await b.step(id) is EmailStatus.DEFERRED
        assert await b.step(id) is EmailStatus.DEFERRED, "not due yet"
        assert await b.step(id, timedelta(minutes=5)) is EmailStatus.DISPATCHED
        first, second = b.provider.sent
        assert (first.message_id, first.date, first.attempt.token) == (
            second.message_id,
            second.date,
            second.attempt.token,
        )
        assert (first.attempt.attempt, second.attempt.attempt) == (1, 2)

    bench(scenario, GREYLISTED, accepted)


def test_only_the_outstanding_recipients_are_tried_again(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        def half(message: OutgoingMessage) -> Answer:
            one, other = message.recipients
            taken = (e.ProviderMessage(recipient_id=one.id, message_id="m"),)
            return Answer(messages=taken, put_off=(other.id,), error_class=ErrorClass.TRANSIENT)

        b.provider = ScriptedProvider(half, accepted)
        id = await b.accept("ada@example.com", "bob@example.com")
        assert await b.step(id) is EmailStatus.DEFERRED
        assert await b.step(id, timedelta(minutes=5)) is EmailStatus.DISPATCHED
        assert [r.address for r in b.provider.sent[1].recipients] == ["bob@example.com"]

    bench(scenario)


def test_retries_end_in_a_dead_letter_that_can_be_requeued(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(max_attempts=2))
        await b.step(id)
        assert await b.step(id, timedelta(hours=1)) is EmailStatus.FAILED
        await decide(b.ledger, id, lambda email: email.requeue("the relay is mended", stamp(b.now)))
        b.provider = ScriptedProvider(accepted)
        assert await b.step(id) is EmailStatus.DISPATCHED
        assert "EmailRequeued" in await b.topics(id)

    bench(scenario, GREYLISTED)


def test_an_email_past_its_time_expires_unsent(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(expires_at=NOW + timedelta(minutes=1))
        assert await b.step(id, timedelta(minutes=1)) is EmailStatus.EXPIRED
        assert b.provider.sent == []

    bench(scenario)


def test_an_answer_lost_is_settled_by_evidence(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        assert await b.step(id) is EmailStatus.UNCONFIRMED
        b.provider.evidence = accepted(b.provider.sent[0])
        assert await b.step(id, timedelta(minutes=15)) is EmailStatus.DISPATCHED
        resolved = (await b.ledger.load(id))[-1].event
        assert isinstance(resolved, e.EmailDeliveryResolved)
        assert (resolved.resolution, resolved.evidence) == (e.Resolution.ACCEPTED, "look_up")
        assert len(b.provider.sent) == 1

    bench(scenario, UNKNOWN)


def test_evidence_that_nothing_arrived_sends_again(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)
        assert await b.step(id, timedelta(minutes=15)) is EmailStatus.QUEUED
        assert await b.step(id) is EmailStatus.DISPATCHED

    bench(scenario, UNKNOWN, accepted, evidence=Answer())


def test_without_evidence_at_least_once_sends_again_and_says_why(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await b.step(id)
        assert await b.step(id, timedelta(minutes=14)) is EmailStatus.UNCONFIRMED
        assert await b.step(id, timedelta(minutes=1)) is EmailStatus.QUEUED
        resolved = (await b.ledger.load(id))[-1].event
        assert isinstance(resolved, e.EmailDeliveryResolved)
        assert (resolved.resolution, resolved.evidence) == (e.Resolution.PRESUMED_LOST, "policy")
        assert await b.step(id) is EmailStatus.DISPATCHED

    bench(scenario, UNKNOWN, accepted)


def test_without_evidence_at_most_once_waits_for_an_operator(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept(policy=DeliveryPolicy(in_doubt="at_most_once"))
        await b.step(id)
        assert await b.step(id, timedelta(minutes=15)) is EmailStatus.UNCONFIRMED
        assert await b.step(id, timedelta(days=9)) is EmailStatus.UNCONFIRMED
        assert len(b.provider.sent) == 1
        await decide(b.ledger, id, lambda email: email.resolve(e.Resolution.NOT_ACCEPTED, "asked them", stamp(b.now)))
        assert await b.step(id) is EmailStatus.DISPATCHED

    bench(scenario, UNKNOWN, accepted)


def test_a_worker_that_died_leaves_its_attempt_in_doubt(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        async def die(message: OutgoingMessage) -> Answer:
            raise asyncio.CancelledError

        b.provider = ScriptedProvider(die, accepted)
        id = await b.accept()
        with pytest.raises(asyncio.CancelledError):
            await b.step(id)
        assert (await b.email(id)).status is EmailStatus.SENDING
        assert await b.step(id, LEASE) is EmailStatus.UNCONFIRMED
        doubt = (await b.ledger.load(id))[-1].event
        assert isinstance(doubt, e.EmailDeliveryUnconfirmed)
        assert doubt.reason == "worker_lost"

    bench(scenario)


def test_an_answer_that_comes_after_the_doubt_settles_it(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        async def held_up(message: OutgoingMessage) -> Answer:
            await decide(b.ledger, message.email.originator_id, lambda email: email.doubt(stamp(b.now)))
            return accepted(message)

        b.provider = ScriptedProvider(held_up)
        id = await b.accept()
        assert await b.step(id) is EmailStatus.DISPATCHED
        resolved = (await b.ledger.load(id))[-1].event
        assert isinstance(resolved, e.EmailDeliveryResolved)
        assert resolved.evidence == "late_answer"

    bench(scenario)


def test_without_its_lease_a_worker_calls_nobody(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        b.ours = False
        assert await b.step(id) is EmailStatus.DEFERRED
        assert b.provider.sent == []

    bench(scenario)


def test_an_adapter_that_raises_leaves_the_attempt_in_doubt(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        assert await b.step(id) is EmailStatus.UNCONFIRMED

    bench(scenario, ZeroDivisionError())


@pytest.mark.parametrize(
    ("error", "status"),
    [(BlobMissing(), EmailStatus.FAILED), (BlobStoreUnavailable(), EmailStatus.DEFERRED)],
)
def test_attachments_that_cannot_be_read(bench: Run, error: Exception, status: EmailStatus) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        assert await b.step(id) is status

    bench(scenario, error)


def test_an_email_without_its_content_fails_instead_of_going_out_empty(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        email = queued()
        await b.ledger.append(email.collect_events())
        assert await b.step(email.id) is EmailStatus.FAILED
        assert b.provider.sent == []

    bench(scenario)


def test_a_cancelled_email_is_not_sent(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        await decide(b.ledger, id, lambda email: email.cancel(stamp(b.now)))
        assert await b.step(id) is EmailStatus.CANCELLED
        assert b.provider.sent == []

    bench(scenario)


def test_a_cancellation_in_the_middle_of_the_decision_wins_or_loses_but_never_both(bench: Run) -> None:
    async def scenario(b: Bench) -> None:
        for _ in range(20):
            id = await b.accept()
            cancel = decide(b.ledger, id, lambda email: email.cancel(stamp(b.now)))
            outcome, _ = await asyncio.gather(cancel, b.step(id), return_exceptions=True)
            cancelled = not isinstance(outcome, BaseException)
            sent = any(message.email.originator_id == id for message in b.provider.sent)
            assert cancelled != sent
            assert (await b.email(id)).status is (EmailStatus.CANCELLED if cancelled else EmailStatus.DISPATCHED)

    bench(scenario)


def test_what_the_provider_said_outlives_an_outage_of_the_store(bench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Bench) -> None:
        id = await b.accept()
        append, outages = b.ledger.append, iter([False, True, True, True])

        async def failing(*args: Any, **kwargs: Any) -> int:
            if next(outages, False):
                raise StoreUnavailable
            return await append(*args, **kwargs)

        monkeypatch.setattr(b.ledger, "append", failing)
        assert await b.step(id) is EmailStatus.DISPATCHED
        assert len(b.provider.sent) == 1

    bench(scenario)
