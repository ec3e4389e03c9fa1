"""SMTP against a real server that misbehaves by script."""

import asyncio
import dataclasses
import ssl
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pytest

from application.ports import EmailProvider, OutgoingMessage
from domain.address import Mailbox
from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailRecipientDeliveryFailed
from domain.ids import recipient_id, uuid7
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.smtp_server import HANG_UP, SILENCE, Rudeness, SmtpSink, self_signed

_T = TypeVar("_T")
MESSAGE_ID = f"{EMAIL_ID}@sender.example"
ADA, BOB, EVE = (recipient_id(EMAIL_ID, index) for index in range(3))
ALL_THREE = ("ada@example.com", "bob@example.com", "eve@example.com")


def with_provider(sink: SmtpSink, use: Callable[[SmtpProvider], Awaitable[_T]], options: str = "") -> _T:
    async def scenario() -> _T:
        async with sink:
            url = f"{sink.url}?helo=client.test{options}"
            provider = SmtpProvider("relay", SmtpSettings.from_url(url), lambda: NOW)
            try:
                return await use(provider)
            finally:
                await provider.close()

    return asyncio.run(scenario())


def sent(sink: SmtpSink, message: OutgoingMessage | None = None, options: str = "") -> Answer:
    return with_provider(sink, lambda provider: provider.send(message or outgoing()), options)


def scripted(**script: Iterable[str | Rudeness | None]) -> SmtpSink:
    return SmtpSink(script)


def large() -> OutgoingMessage:
    """More than a block, and more than the socket's buffers take unread."""
    return outgoing(content=Content(text="All work and no play makes Jack a dull boy.\n" * 200_000))


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
    assert answer.words == "2.0.0 OK queued as 1"
    (received,) = sink.messages
    assert received.sender == "news@sender.example"
    assert received.recipients == ("ada@example.com", "bob@example.com")
    assert received.message_id == f"<{MESSAGE_ID}>"


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


def test_more_recipients_than_the_server_takes_at_once_come_later() -> None:
    answer = sent(scripted(RCPT=[None, "452 4.5.3 Too many recipients", "452 4.5.3 Too many"]), outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA]
    assert answer.put_off == (BOB, EVE)
    assert answer.reason == "too_many_recipients"


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


def test_no_single_address_is_blamed_for_a_message_refused_for_several() -> None:
    answer = sent(scripted(END=["550 5.1.1 User unknown"]), outgoing(ALL_THREE))
    assert {report.details["bounce_class"] for report in answer.reports} == {"undetermined"}
    assert not any(report.details["add_to_suppression"] for report in answer.reports)


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


def test_421_at_a_recipient_puts_everybody_off() -> None:
    answer = sent(SmtpSink({"RCPT bob@example.com": ["421 4.3.2 shutting down"]}), outgoing(ALL_THREE))
    assert (answer.error_class, answer.messages, answer.reports) == (ErrorClass.TRANSIENT, (), ())


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


# -- the pool ----------------------------------------------------------------------------------------------------------


def many(count: int) -> list[OutgoingMessage]:
    return [outgoing(email_id=uuid7(NOW)) for _ in range(count)]


def test_one_connection_carries_many_messages_without_rset() -> None:
    sink = SmtpSink()

    async def use(provider: SmtpProvider) -> None:
        for message in many(5):
            assert (await provider.send(message)).messages

    with_provider(sink, use)
    assert (sink.connections, len(sink.messages)) == (1, 5)
    assert sink.commands.count("RSET") == 0
    assert sink.commands[-1] == "QUIT"


def test_a_refused_message_leaves_the_connection_usable() -> None:
    sink = scripted(MAIL=["550 5.7.1 no"], RCPT=["550 5.1.1 no"], END=["554 5.7.1 no"])

    async def use(provider: SmtpProvider) -> None:
        answers = [await provider.send(message) for message in many(4)]
        assert [bool(answer.messages) for answer in answers] == [False, False, False, True]

    with_provider(sink, use)
    assert sink.connections == 1
    assert sink.commands.count("RSET") == 3


def test_a_connection_is_replaced_after_a_hundred_messages() -> None:
    sink = SmtpSink()

    async def use(provider: SmtpProvider) -> None:
        for message in many(101):
            await provider.send(message)

    with_provider(sink, use)
    assert sink.connections == 2


def test_no_more_connections_than_the_pool_allows_and_each_message_once() -> None:
    sink = SmtpSink()

    async def use(provider: SmtpProvider) -> None:
        answers = await asyncio.gather(*(provider.send(message) for message in many(64)))
        assert all(answer.messages for answer in answers)

    with_provider(sink, use, "&pool=4")
    assert sink.connections == 4
    assert len(sink.copies) == 64
    assert set(sink.copies.values()) == {1}


@pytest.mark.parametrize("reaction", [HANG_UP, "421 4.4.2 idle for too long"])
def test_a_pooled_connection_gone_stale_is_replaced_without_notice(reaction: str | Rudeness) -> None:
    sink = scripted(MAIL=[None, reaction])

    async def use(provider: SmtpProvider) -> None:
        for message in many(2):
            assert (await provider.send(message)).messages

    with_provider(sink, use)
    assert (sink.connections, set(sink.copies.values())) == (2, {1})


def test_a_replacement_that_fails_too_is_not_replaced() -> None:
    sink = scripted(MAIL=[None, HANG_UP, HANG_UP])

    async def use(provider: SmtpProvider) -> None:
        first, second = [await provider.send(message) for message in many(2)]
        assert first.messages
        assert second.error_class is ErrorClass.TRANSIENT

    with_provider(sink, use)
    assert sink.connections == 2


def test_nothing_is_repeated_after_the_final_dot_of_a_pooled_connection() -> None:
    sink = scripted(TAKEN=[None, HANG_UP])

    async def use(provider: SmtpProvider) -> None:
        first, second = [await provider.send(message) for message in many(2)]
        assert first.messages
        assert second.in_doubt

    with_provider(sink, use)
    assert set(sink.copies.values()) == {1}


def test_connections_that_the_server_closed_are_not_taken_from_the_pool() -> None:
    sink = SmtpSink()

    async def use(provider: SmtpProvider) -> None:
        first, second = many(2)
        await provider.send(first)
        sink.hang_up_on_all()
        assert (await provider.send(second)).messages

    with_provider(sink, use)
    assert sink.connections == 2


def test_a_cancelled_send_leaves_no_half_used_connection() -> None:
    sink = scripted(RCPT=[SILENCE])

    async def use(provider: SmtpProvider) -> None:
        first, second = many(2)
        sending = asyncio.create_task(provider.send(first))
        while not any(command.startswith("RCPT") for command in sink.commands):
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await provider.send(second)).messages

    with_provider(sink, use, "&pool=1")
    assert sink.connections == 2


@pytest.mark.parametrize("reaction", ["500 what?", "421 bye", HANG_UP])
def test_trouble_with_quit_is_nobodys(reaction: str | Rudeness) -> None:
    assert sent(scripted(QUIT=[reaction])).messages


# -- TLS and AUTH ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def secured(sink: SmtpSink, url: str) -> tuple[Answer, str | None]:
    """A send and a check; the URL's PORT is the sink's."""

    async def scenario() -> tuple[Answer, str | None]:
        async with sink:
            settings = SmtpSettings.from_url(f"{url.replace('PORT', str(sink.port))}&helo=client.test")
            provider = SmtpProvider("relay", settings, lambda: NOW)
            answer = await provider.send(outgoing())
            trouble = await provider.check()
            await provider.close()
            return answer, trouble

    return asyncio.run(scenario())


def test_starttls_with_a_verified_certificate_and_a_login(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca, tls = certificate
    sink = SmtpSink(tls=tls, login=("ada", "p@ss:word/ü"))
    password = quote("p@ss:word/ü", safe="")
    answer, trouble = secured(sink, f"smtp://ada:{password}@localhost:PORT?ca={ca}")
    assert answer.messages
    assert trouble is None
    assert any(command.startswith("AUTH") for command in sink.commands)


def test_tls_from_the_first_byte(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca, tls = certificate
    sink = SmtpSink(tls=tls, implicit_tls=True, login=("ada", "secret"))
    answer, trouble = secured(sink, f"smtps://ada:secret@localhost:PORT?ca={ca}")
    assert answer.messages
    assert trouble is None


def test_a_large_message_comes_through_tls(certificate: tuple[Path, ssl.SSLContext]) -> None:
    _, tls = certificate
    sink = SmtpSink(tls=tls)
    assert sent(sink, large(), "&verify=no").messages
    assert sink.messages[0].raw.count(b"dull boy.\r\n") == 200_000


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[Path, ssl.SSLContext], scheme: str
) -> None:
    sink = SmtpSink(tls=certificate[1], implicit_tls=scheme == "smtps")
    answer, trouble = secured(sink, f"{scheme}://localhost:PORT?pool=1")
    assert (answer.error_class, answer.reason) == (ErrorClass.CONFIG, "tls")
    assert "CertVerification" in (trouble or "")
    assert sink.messages == []


def test_verification_can_be_switched_off(certificate: tuple[Path, ssl.SSLContext]) -> None:
    answer, trouble = secured(SmtpSink(tls=certificate[1]), "smtp://127.0.0.1:PORT?starttls=required&verify=no")
    assert answer.messages
    assert trouble is None


def test_a_password_is_never_sent_in_the_clear_unasked() -> None:
    sink = SmtpSink(login=("ada", "secret"))
    answer, trouble = secured(sink, "smtp://ada:secret@127.0.0.1:PORT?pool=1")
    assert answer.error_class is ErrorClass.CONFIG
    assert trouble == "starttls: 502 STARTTLS is required and not offered"
    assert not any(command.startswith("AUTH") for command in sink.commands)


def test_a_wrong_password_is_a_matter_for_the_operator() -> None:
    sink = SmtpSink(login=("ada", "right"))
    answer, trouble = secured(sink, "smtp://ada:wrong@127.0.0.1:PORT?starttls=off")
    assert answer.error_class is ErrorClass.CONFIG
    assert trouble is not None
    assert trouble.startswith("auth: 535")


def test_a_server_that_quotes_the_password_is_not_quoted() -> None:
    sink = SmtpSink({"AUTH": repeat("535 5.7.8 hunter2 is not the password of ada")}, login=("ada", "x"))
    answer, trouble = secured(sink, "smtp://ada:hunter2@127.0.0.1:PORT?starttls=off")
    assert trouble == "auth: 535 5.7.8 *** is not the password of ***"
    assert "hunter2" not in answer.words


def test_a_server_without_auth_is_a_matter_for_the_operator() -> None:
    answer, _ = secured(SmtpSink(), "smtp://ada:secret@127.0.0.1:PORT?starttls=off")
    assert answer.error_class is ErrorClass.CONFIG


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_from_a_url() -> None:
    settings = SmtpSettings.from_url("smtp://ada:p%40ss@mail.example:2525?pool=3&timeout=5&helo=me.example&verify=no")
    assert (settings.host, settings.port, settings.user, settings.password) == ("mail.example", 2525, "ada", "p@ss")
    assert (settings.pool, settings.timeout, settings.helo, settings.verify) == (3, 5.0, "me.example", False)
    assert (settings.tls, settings.starttls) == (False, "required")


def test_settings_have_sensible_defaults() -> None:
    plain, secure = SmtpSettings.from_url("smtp://mail.example"), SmtpSettings.from_url("smtps://mail.example")
    assert (plain.port, plain.tls, plain.starttls) == (587, False, "auto")
    assert (secure.port, secure.tls) == (465, True)
    assert (plain.connect_timeout, plain.timeout, plain.data_timeout) == (10.0, 60.0, 600.0)


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "http://hunter2@mail.example",
        "smtp://ada:hunter2@mail.example:hunter2",
        "smtp://ada:hunter2/x@mail.example",
        "smtp://ada:hunter2@mail.example?pool=hunter2",
        "smtp://ada:hunter2@mail.example?pool=0",
        "smtp://ada:hunter2@mail.example?timeout=nan",
        "smtp://ada:hunter2@mail.example?starttls=hunter2",
        "smtp://ada:hunter2@mail.example?verify=maybe",
        "smtp://ada:hunter2@mail.example?helo=hunter2%0D%0ARSET",
        "smtp://ada:hunter2@mail.example?ca=/hunter2",
        "smtp://ada:hunter2@mail.example?colour=hunter2",
    ],
)
def test_a_wrong_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        SmtpSettings.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_show_their_secrets() -> None:
    assert "hunter2" not in repr(SmtpSettings.from_url("smtp://hunter2:hunter2@mail.example"))
