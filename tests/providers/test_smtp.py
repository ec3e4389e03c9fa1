"""SMTP against a real server that misbehaves by script."""

import asyncio
import dataclasses
from datetime import timedelta
from itertools import repeat

import pytest

from application.ports import EmailProvider
from domain.address import Mailbox
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailRecipientDeliveryFailed
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import NOW, attach, outgoing
from tests.providers.smtp_relay import ADA, ALL_THREE, BOB, EVE, MESSAGE_ID, large, scripted, sent, with_provider
from tests.smtp_server import HANG_UP, SILENCE, Rudeness, SmtpSink

# -- what is sent ------------------------------------------------------------------------------------------------------


def test_it_is_an_email_provider() -> None:
    async def use(provider: EmailProvider) -> None:
        assert provider.name == "relay"
        assert await provider.look_up(outgoing()) is None
        assert await provider.check() is None

    with_provider(SmtpSink(), use)


def test_a_message_is_handed_over_and_known_by_its_message_id() -> None:
    sink = SmtpSink()
    answer = sent(sink, outgoing(["ada@example.com"], bcc=["bob@example.com"]))
    assert [(m.recipient_id, m.message_id) for m in answer.messages] == [(ADA, MESSAGE_ID), (BOB, MESSAGE_ID)]
    assert (answer.error_class, answer.put_off, answer.reports) == (None, (), ())
    assert answer.words == "2.0.0 OK queued as 2"
    assert [received.recipients for received in sink.messages] == [("ada@example.com",), ("bob@example.com",)]
    assert {received.sender for received in sink.messages} == {"news@sender.example"}
    assert {received.message_id for received in sink.messages} == {f"<{MESSAGE_ID}>"}


def test_only_the_attempts_recipients_are_in_the_envelope() -> None:
    sink, message = SmtpSink(), outgoing(ALL_THREE, attempt=2)
    attempt = message.attempt.model_copy(update={"recipients": (BOB,)})
    answer = sent(sink, dataclasses.replace(message, attempt=attempt))
    assert sink.messages[0].recipients == ("bob@example.com",)
    assert [m.recipient_id for m in answer.messages] == [BOB]


def test_lines_that_begin_with_a_dot_come_through() -> None:
    sink = SmtpSink()
    sent(sink, outgoing(content=Content(text=".\n..two\n.one\nend")))
    assert sink.messages[0].raw.endswith(b"\r\n\r\n.\r\n..two\r\n.one\r\nend\r\n")


def test_a_message_of_many_blocks_comes_through() -> None:
    sink, message = SmtpSink(), large()
    assert sent(sink, message).messages
    assert len(sink.messages[0].raw) > 8_000_000
    assert sink.messages[0].raw.count(b"dull boy.\r\n") == 200_000


def test_attachments_are_read_from_the_blob_store() -> None:
    sink, file = SmtpSink(), attach(b"%PDF", "invoice.pdf")
    sent(sink, outgoing(attachments=[file]))
    (found,) = sink.messages[0].parsed().iter_attachments()
    assert (found.get_filename(), found.get_content()) == ("invoice.pdf", b"%PDF")


# -- recipients --------------------------------------------------------------------------------------------------------


def test_a_refused_recipient_has_bounced_and_the_others_are_taken() -> None:
    sink = SmtpSink({"RCPT bob@example.com": ["550 5.1.1 User unknown"]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA, EVE]
    assert (answer.error_class, answer.refused()) == (None, (BOB,))
    (report,) = answer.reports
    assert (report.kind, report.provider, report.provider_at) == (EmailRecipientDeliveryFailed, "relay", NOW)
    assert dict(report.details) == {
        "bounce_class": "hard",
        "reason": "invalid_address",
        "smtp_status": 550,
        "enhanced_status": "5.1.1",
        "words": "5.1.1 User unknown",
        "add_to_suppression": True,
    }


def test_a_recipient_put_off_is_tried_again_and_not_reported() -> None:
    sink = SmtpSink({"RCPT bob@example.com": ["450 4.2.0 Greylisted"]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA, EVE]
    assert (answer.put_off, answer.reports) == ((BOB,), ())
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "greylisted")
    assert answer.retry_after == timedelta(minutes=5)


@pytest.mark.parametrize("reply", ["251 User not local; will forward", "252 Cannot VRFY user, but will accept message"])
def test_251_and_252_are_acceptance(reply: str) -> None:
    sink = scripted(RCPT=[reply])
    assert sent(sink).messages
    assert sink.messages[0].recipients == ("ada@example.com",)


def test_when_everybody_is_refused_nothing_is_sent() -> None:
    sink = scripted(RCPT=repeat("550 5.1.1 User unknown"))
    answer = sent(sink, outgoing(ALL_THREE))
    assert (answer.messages, answer.refused()) == ((), (ADA, BOB, EVE))
    assert (answer.error_class, answer.reason) == (ErrorClass.PERMANENT, "invalid_address")
    assert not any(command.startswith("DATA") for command in sink.commands)


def test_relaying_denied_is_the_channels_fault() -> None:
    answer = sent(scripted(RCPT=["550 5.7.1 Relaying denied"]))
    assert (answer.error_class, answer.reason, answer.reports) == (ErrorClass.CONFIG, "relay_denied", ())


def test_what_is_over_soonest_decides_when_to_try_again() -> None:
    replies = ["550 5.7.1 Relaying denied", "451 4.3.0 later", "250 ok"]
    answer = sent(scripted(RCPT=replies), outgoing(ALL_THREE))
    assert answer.put_off == (ADA, BOB)
    assert answer.error_class is ErrorClass.TRANSIENT


# -- the message refused -----------------------------------------------------------------------------------------------


def test_a_message_refused_at_its_end_failed_for_its_recipient() -> None:
    answer = sent(scripted(END=["554 5.7.1 Spam message rejected"]))
    assert (answer.error_class, answer.reason, answer.messages) == (ErrorClass.PERMANENT, "content", ())
    assert answer.reports[0].details["bounce_class"] == "soft"


@pytest.mark.parametrize("point", ["MAIL", "DATA", "END"])
@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        ("451 4.3.0 try later", ErrorClass.TRANSIENT),
        ("421 4.3.2 shutting down", ErrorClass.TRANSIENT),
        ("421 4.7.0 too many messages from you", ErrorClass.RATE_LIMITED),
        ("454 Throttling failure: Maximum sending rate exceeded", ErrorClass.RATE_LIMITED),
        ("454 Throttling failure: Daily message quota exceeded", ErrorClass.QUOTA),
    ],
)
def test_put_off_at_any_stage(point: str, reply: str, error_class: ErrorClass) -> None:
    sink = SmtpSink({point: [reply]})
    answer = sent(sink)
    assert (answer.error_class, answer.messages, answer.reports) == (error_class, (), ())
    assert sink.messages == []


def test_a_refused_sender_is_a_matter_for_the_operator() -> None:
    answer = sent(scripted(MAIL=["550 5.7.1 Sender address rejected: not owned by user"]))
    assert (answer.error_class, answer.reason) == (ErrorClass.CONFIG, "sender")


def test_a_message_above_the_servers_size_is_not_even_offered() -> None:
    sink = SmtpSink(size=2000)
    answer = sent(sink, outgoing(content=Content(text="x\n" * 2000)))
    assert (answer.error_class, answer.reason) == (ErrorClass.PERMANENT, "too_large")
    assert not any(command.startswith("MAIL") for command in sink.commands)


# -- addresses outside ASCII -------------------------------------------------------------------------------------------


def test_smtputf8_is_used_when_needed_and_offered() -> None:
    sink = SmtpSink()
    assert sent(sink, outgoing(["büro@bücher.example"])).messages
    assert sink.messages[0].recipients == ("büro@bücher.example",)
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(sink.messages[0].options)


def test_smtputf8_is_not_asked_for_without_need() -> None:
    sink = SmtpSink()
    assert sent(sink, outgoing(["ada@bücher.example"], subject="Grüße")).messages
    assert sink.messages[0].recipients == ("ada@xn--bcher-kva.example",)
    assert not {"SMTPUTF8", "BODY=8BITMIME"} & set(sink.messages[0].options)


def test_without_smtputf8_only_the_recipient_who_needs_it_fails() -> None:
    sink = SmtpSink(smtputf8=False)
    answer = sent(sink, outgoing(["büro@bücher.example", "bob@example.com"]))
    assert [m.recipient_id for m in answer.messages] == [BOB]
    assert answer.refused() == (ADA,)
    assert answer.reports[0].details["reason"] == "smtputf8_not_offered"
    assert answer.reports[0].details["add_to_suppression"] is False
    assert sink.messages[0].raw.isascii()


def test_without_smtputf8_nobody_is_sent_to_when_all_need_it() -> None:
    sink = SmtpSink(smtputf8=False)
    answer = sent(sink, outgoing(["büro@bücher.example"]))
    assert (answer.error_class, answer.refused()) == (ErrorClass.PERMANENT, (ADA,))
    assert sent(SmtpSink(smtputf8=False), outgoing(sender=Mailbox(address="büro@x.example"))).reason == (
        "smtputf8_not_offered"
    )


# -- broken connections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rude", [HANG_UP, SILENCE])
@pytest.mark.parametrize("point", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_connection_lost_before_the_message_is_no_doubt(point: str, rude: Rudeness) -> None:
    sink = SmtpSink({point: repeat(rude)})
    answer = sent(sink, options="&timeout=0.1&connect_timeout=0.1")
    assert (answer.error_class, answer.reason, answer.messages) == (ErrorClass.TRANSIENT, "connection", ())
    assert sink.messages == []


@pytest.mark.parametrize("rude", [HANG_UP, SILENCE])
def test_a_connection_lost_inside_a_large_message_is_no_doubt(rude: Rudeness) -> None:
    sink = scripted(BODY=[rude])
    answer = sent(sink, large(), options="&timeout=0.2")
    assert answer.error_class is ErrorClass.TRANSIENT
    assert sink.messages == []


@pytest.mark.parametrize("rude", [HANG_UP, SILENCE])
@pytest.mark.parametrize("point", ["END", "TAKEN"])
def test_an_answer_lost_after_the_final_dot_is_in_doubt(point: str, rude: Rudeness) -> None:
    """Whether the server took it is not to be known from here: END did not, TAKEN did."""
    sink = SmtpSink({point: [rude]})
    answer = sent(sink, options="&data_timeout=0.1")
    assert answer.in_doubt
    assert (answer.reason, answer.messages, answer.put_off) == ("answer_lost", (), ())
    assert len(sink.messages) == (point == "TAKEN")


def test_an_answer_that_makes_no_sense_is_in_doubt() -> None:
    assert sent(scripted(TAKEN=["what?"])).in_doubt
    assert sent(scripted(TAKEN=["354 go on"])).in_doubt


def test_nobody_listening_is_transient() -> None:
    provider = SmtpProvider("relay", SmtpSettings.from_url("smtp://127.0.0.1:1?helo=client.test"), lambda: NOW)
    answer = asyncio.run(provider.send(outgoing()))
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "connection")
    assert "ConnectionRefusedError" in (asyncio.run(provider.check()) or "")


def test_a_relay_that_refuses_to_serve_is_transient() -> None:
    answer = sent(scripted(BANNER=["554 No SMTP service here"]))
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "relay_refused")


def test_words_of_a_server_are_kept_printable() -> None:
    answer = sent(scripted(RCPT=["550 5.1.1 caf\xe9 \x00\x1b[31m " + "x" * 3000]))
    words = answer.reports[0].details["words"]
    assert words.isprintable()
    assert len(words) <= 1000
