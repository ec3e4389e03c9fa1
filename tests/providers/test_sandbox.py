"""The parts that sandbox addresses play."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from email import policy
from email.parser import BytesParser
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.ports import EmailProvider, OutgoingMessage
from domain import events as e
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.ids import recipient_id
from infrastructure.mime import build_mime
from infrastructure.providers.sandbox import ACTS, SandboxProvider
from tests.mail import EMAIL_ID, NOW, attach, outgoing


def sandbox(directory: Path) -> SandboxProvider:
    return SandboxProvider("sandbox", directory, lambda: NOW)


def sent(directory: Path, *to: str, attempt: int = 1) -> Answer:
    message = outgoing([f"{each}@sandbox.test" for each in to], attempt=attempt)
    return asyncio.run(sandbox(directory).send(message))


def looked_up(directory: Path, *to: str, attempt: int = 1) -> Answer | None:
    message = outgoing([f"{each}@sandbox.test" for each in to], attempt=attempt)
    return asyncio.run(sandbox(directory).look_up(message))


def kinds(answer: Answer) -> list[type[e.RecipientEvent]]:
    return [report.kind for report in answer.reports]


def taken(answer: Answer) -> list[UUID]:
    return [message.recipient_id for message in answer.messages]


def kept(directory: Path) -> bool:
    return (directory / f"{EMAIL_ID}.eml").exists()


FIRST, SECOND = recipient_id(EMAIL_ID, 0), recipient_id(EMAIL_ID, 1)


def test_it_is_an_email_provider(tmp_path: Path) -> None:
    provider: EmailProvider = sandbox(tmp_path / "not there yet")
    assert asyncio.run(provider.check()) is None
    asyncio.run(provider.close())


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert asyncio.run(sandbox(tmp_path / "file" / "mail").check()) is not None
    assert sent(tmp_path / "file" / "mail", "delivered").error_class is ErrorClass.TRANSIENT


def test_the_mail_is_kept_as_it_would_have_been_sent(tmp_path: Path) -> None:
    file = attach(b"%PDF", "invoice.pdf")
    message = outgoing(["ada@example.com"], attachments=[file])
    asyncio.run(sandbox(tmp_path).send(message))
    raw = (tmp_path / f"{EMAIL_ID}.eml").read_bytes()
    assert raw == build_mime(message, [file])
    assert BytesParser(policy=policy.default).parsebytes(raw)["To"] == "ada@example.com"


@pytest.mark.parametrize(
    ("local", "reported"),
    [
        ("delivered", [e.EmailRecipientDelivered]),
        ("delivered+order-7", [e.EmailRecipientDelivered]),
        ("Delivered", [e.EmailRecipientDelivered]),
        ("anyone", [e.EmailRecipientDelivered]),
        ("bounced+1", [e.EmailRecipientDeliveryFailed]),
        ("complained", [e.EmailRecipientDelivered, e.EmailRecipientComplained]),
        ("opened", [e.EmailRecipientDelivered, e.EmailRecipientOpened]),
        ("clicked", [e.EmailRecipientDelivered, e.EmailRecipientOpened, e.EmailRecipientClicked]),
    ],
)
def test_taken_and_then_reported(tmp_path: Path, local: str, reported: list[type[e.RecipientEvent]]) -> None:
    answer = sent(tmp_path, local)
    assert taken(answer) == [FIRST]
    assert kinds(answer) == reported
    assert answer.error_class is None
    assert kept(tmp_path)


def test_a_bounce_is_hard_and_the_addresss_fault(tmp_path: Path) -> None:
    details = sent(tmp_path, "bounced").reports[0].details
    assert (details["bounce_class"], details["smtp_status"], details["enhanced_status"]) == ("hard", 550, "5.1.1")
    assert details["add_to_suppression"] is True


def test_parts_are_played_at_the_sandboxs_domain_only(tmp_path: Path) -> None:
    answer = asyncio.run(sandbox(tmp_path).send(outgoing(["bounced@example.com"])))
    assert kinds(answer) == [e.EmailRecipientDelivered]


def test_a_suppressed_recipient_is_not_sent_to(tmp_path: Path) -> None:
    answer = sent(tmp_path, "suppressed")
    assert answer.error_class is ErrorClass.SUPPRESSED
    assert answer.refused() == (FIRST,)
    assert answer.reports[0].details == {"rule": "sandbox"}
    assert not kept(tmp_path)


@pytest.mark.parametrize(
    ("local", "error_class"), [("deferred", ErrorClass.TRANSIENT), ("throttled", ErrorClass.RATE_LIMITED)]
)
def test_put_off_once_and_then_delivered(tmp_path: Path, local: str, error_class: ErrorClass) -> None:
    answer = sent(tmp_path, local)
    assert (answer.error_class, answer.put_off, answer.messages) == (error_class, (FIRST,), ())
    assert answer.retry_after == timedelta(seconds=1)
    assert not kept(tmp_path)
    assert kinds(sent(tmp_path, local, attempt=2)) == [e.EmailRecipientDelivered]


def test_down_is_down_for_ever(tmp_path: Path) -> None:
    for attempt in (1, 2, 12):
        assert sent(tmp_path, "down", attempt=attempt).error_class is ErrorClass.TRANSIENT


def test_a_lost_answer_can_be_looked_up(tmp_path: Path) -> None:
    assert sent(tmp_path, "timeout").in_doubt
    assert kept(tmp_path)
    found = looked_up(tmp_path, "timeout")
    assert found is not None
    assert taken(found) == [FIRST]
    assert kinds(found) == [e.EmailRecipientDelivered]


def test_a_lost_request_is_known_to_be_lost(tmp_path: Path) -> None:
    assert sent(tmp_path, "timeout+lost").in_doubt
    assert not kept(tmp_path)
    assert looked_up(tmp_path, "timeout+lost") == Answer()
    assert taken(sent(tmp_path, "timeout+lost", attempt=2)) == [FIRST]


def test_silence_is_no_evidence(tmp_path: Path) -> None:
    assert sent(tmp_path, "timeout+silent").in_doubt
    assert looked_up(tmp_path, "timeout+silent") is None
    assert taken(sent(tmp_path, "timeout+silent", attempt=2)) == [FIRST]


def test_an_earlier_attempt_is_no_evidence_about_a_later_one(tmp_path: Path) -> None:
    sent(tmp_path, "bounced", attempt=1)
    assert looked_up(tmp_path, "bounced", attempt=2) == Answer()


def test_recipients_of_one_email_play_their_own_parts(tmp_path: Path) -> None:
    answer = sent(tmp_path, "delivered", "deferred", "suppressed", "bounced")
    assert taken(answer) == [FIRST, recipient_id(EMAIL_ID, 3)]
    assert answer.put_off == (SECOND,)
    assert answer.refused() == (recipient_id(EMAIL_ID, 2),)
    assert answer.error_class is ErrorClass.TRANSIENT


def test_a_lost_answer_is_lost_for_everybody(tmp_path: Path) -> None:
    answer = sent(tmp_path, "delivered", "timeout", "down")
    assert answer == Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
    found = looked_up(tmp_path, "delivered", "timeout", "down")
    assert found is not None
    assert taken(found) == [FIRST, SECOND]


PARTS = st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=50)  # each example goes to the disk
@given(PARTS, st.integers(1, 3))
def test_everybody_is_accounted_for_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, parts: Sequence[str], attempt: int
) -> None:
    message = _cast(parts, attempt)
    answer = asyncio.run(sandbox(tmp_path_factory.getbasetemp() / "sandbox").send(message))
    if not answer.in_doubt:
        told = [*taken(answer), *answer.put_off, *answer.refused()]
        assert sorted(told) == sorted(message.attempt.recipients)


@settings(deadline=None, max_examples=50)  # each example goes to the disk
@given(PARTS)
def test_reports_are_in_time_and_told_twice_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: Sequence[str]
) -> None:
    provider, message = sandbox(tmp_path_factory.getbasetemp() / "sandbox"), _cast(parts, 2)
    first, again = (asyncio.run(provider.send(message)).reports for _ in range(2))
    assert first == again
    times = [report.provider_at for report in first]
    assert times == sorted(set(times))
    assert len({report.provider_event_id for report in first}) == len(first)


def _cast(parts: Sequence[str], attempt: int) -> OutgoingMessage:
    """An email to one recipient for each part; the same part may be played by several."""
    return outgoing([f"{part}@sandbox.test" for part in parts], attempt=attempt)
