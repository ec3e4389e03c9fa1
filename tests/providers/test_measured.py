"""A measured provider does what it does, and is counted."""

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from application.errors import BlobMissing
from application.ports import EmailProvider
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from domain.events import EmailRecipientDeliveryFailed, ProviderMessage
from infrastructure.metrics import Metrics
from infrastructure.providers.measured import Measured
from tests.mail import NOW, outgoing
from tests.providers_fake import ScriptedProvider, accepted

MESSAGE = outgoing(["ada@example.com", "bob@example.com"])
ADA, BOB = (recipient.id for recipient in MESSAGE.recipients)
TAKEN = (ProviderMessage(recipient_id=ADA, message_id="m-1"),)
REFUSED = (RecipientReport(EmailRecipientDeliveryFailed, BOB, "scripted", NOW),)


def counts(metrics: Metrics) -> dict[str, float]:
    """Send calls by outcome; `timed` are those with a duration."""
    samples = [
        sample for family in text_string_to_metric_families(metrics.text().decode()) for sample in family.samples
    ]
    calls = {sample.labels["outcome"]: sample.value for sample in samples if sample.name == "postledger_sends_total"}
    return calls | {"timed": sum(s.value for s in samples if s.name == "postledger_send_seconds_count")}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (accepted(MESSAGE), "accepted"),
        (Answer(messages=TAKEN, reports=REFUSED), "partial"),
        (Answer(messages=TAKEN, put_off=(BOB,)), "partial"),
        (Answer(messages=TAKEN, put_off=(BOB,), error_class=ErrorClass.QUOTA), "partial"),
        (Answer(messages=TAKEN, doubtful=(BOB,), error_class=ErrorClass.UNKNOWN), "partial"),
        (Answer(reports=REFUSED), "refused"),
        *((Answer(error_class=error_class), error_class.value) for error_class in ErrorClass),
    ],
)
def test_the_answer_is_passed_on_and_counted(answer: Answer, outcome: str) -> None:
    metrics, provider = Metrics(), ScriptedProvider(answer)
    assert asyncio.run(Measured(provider, metrics).send(MESSAGE)) is answer
    assert provider.sent == [MESSAGE]
    assert counts(metrics) == {outcome: 1, "timed": 1}


def test_what_is_raised_is_passed_on_and_counted() -> None:
    metrics = Metrics()
    with pytest.raises(BlobMissing):
        asyncio.run(Measured(ScriptedProvider(BlobMissing()), metrics).send(MESSAGE))
    assert counts(metrics) == {"raised": 1, "timed": 1}


def test_all_else_goes_through_uncounted() -> None:
    class Other(ScriptedProvider):
        closed = False

        async def check(self) -> str | None:
            return "no key"

        async def close(self) -> None:
            self.closed = True

    evidence, metrics = accepted(MESSAGE), Metrics()
    inner = Other(evidence=evidence)
    measured: EmailProvider = Measured(inner, metrics)

    async def use() -> list[Any]:
        said = [await measured.look_up(MESSAGE), await measured.check()]
        await measured.close()
        return said

    assert asyncio.run(use()) == [evidence, "no key"]
    assert (measured.name, measured.separate, inner.closed) == ("scripted", False, True)
    assert counts(metrics) == {"timed": 0}
