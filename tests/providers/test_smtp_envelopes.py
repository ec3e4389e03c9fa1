"""An envelope for each recipient: what one meets is not the others', and each can be told from its bounce."""

import re
from itertools import repeat

import pytest

from application.ports import OutgoingMessage
from domain.address import Mailbox
from domain.content import Content
from domain.delivery import ErrorClass
from domain.ids import uuid7
from infrastructure.providers import verp
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers.smtp_relay import ADA, ALL_THREE, BOB, EVE, MESSAGE_ID, scripted, sent, with_provider
from tests.smtp_server import HANG_UP, SILENCE, Rudeness, SmtpSink

# -- one after another -------------------------------------------------------------------------------------------------


def test_each_recipient_gets_a_transaction_over_the_same_connection() -> None:
    sink = SmtpSink()
    answer = sent(sink, outgoing(["ada@example.com"], cc=["bob@example.com"], bcc=["eve@example.com"]))
    assert [m.recipient_id for m in answer.messages] == [ADA, BOB, EVE]
    assert {m.message_id for m in answer.messages} == {MESSAGE_ID}
    assert [received.recipients for received in sink.messages] == [(address,) for address in ALL_THREE]
    assert (sink.connections, sink.commands.count("RSET")) == (1, 0)


def test_one_recipient_is_one_transaction_and_nothing_more() -> None:
    sink = SmtpSink()
    sent(sink)
    assert [command.partition(" ")[0] for command in sink.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_the_recipients_id_stands_above_the_message_that_all_share() -> None:
    sink = SmtpSink()
    sent(sink, outgoing(ALL_THREE, attachments=[attach(b"%PDF" * 100, "invoice.pdf")]))
    heads, rests = zip(*(received.raw.split(b"\r\n", 1) for received in sink.messages), strict=True)
    assert heads == tuple(b"X-Postledger-Recipient-Id: %s" % str(id).encode() for id in (ADA, BOB, EVE))
    assert len(set(rests)) == 1
    assert {received.parsed()["X-Postledger-Email-Id"] for received in sink.messages} == {str(EMAIL_ID)}


def test_the_message_is_rendered_once_for_a_server_without_smtputf8_too() -> None:
    sink = SmtpSink(smtputf8=False)
    message = outgoing(["bob@example.com"], cc=["büro@example.com"], bcc=["eve@example.com"])
    answer = sent(sink, message)
    assert [m.recipient_id for m in answer.messages] == [ADA, EVE]
    assert answer.refused() == (BOB,)
    assert all(received.raw.isascii() for received in sink.messages)


def test_a_connection_carries_no_more_than_a_hundred_transactions() -> None:
    sink = SmtpSink()
    answer = sent(sink, outgoing([f"{n}@example.com" for n in range(101)]))
    assert len(answer.messages) == 101
    assert sink.connections == 2


# -- what one recipient meets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rude", [HANG_UP, SILENCE])
def test_doubt_about_one_of_three(rude: Rudeness) -> None:
    """Ada was taken, of Bob nobody knows, and Eve was not tried."""
    sink = scripted(TAKEN=[None, rude])
    answer = sent(sink, outgoing(ALL_THREE), "&data_timeout=0.1")
    assert [m.recipient_id for m in answer.messages] == [ADA]
    assert (answer.doubtful, answer.put_off, answer.reports) == ((BOB,), (EVE,), ())
    assert (answer.error_class, answer.reason) == (ErrorClass.UNKNOWN, "answer_lost")
    assert [received.recipients for received in sink.messages] == [("ada@example.com",), ("bob@example.com",)]


def test_doubt_is_told_even_if_somebody_was_put_off_before() -> None:
    sink = SmtpSink({"RCPT ada@example.com": ["450 4.2.0 Greylisted"], "TAKEN": [HANG_UP]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert (answer.messages, answer.doubtful, answer.put_off) == ((), (BOB,), (ADA, EVE))
    assert answer.in_doubt


def test_refused_taken_and_put_off_in_one_email() -> None:
    sink = SmtpSink({"RCPT ada@example.com": ["550 5.1.1 User unknown"], "RCPT bob@example.com": ["451 4.2.0 later"]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [EVE]
    assert (answer.refused(), answer.put_off) == ((ADA,), (BOB,))
    assert (answer.error_class, sink.connections) == (ErrorClass.TRANSIENT, 1)


def test_a_message_refused_for_one_is_refused_for_that_one() -> None:
    sink = scripted(END=[None, "550 5.1.1 User unknown"])
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA, EVE]
    (report,) = answer.reports
    assert (report.recipient_id, report.details["bounce_class"]) == (BOB, "hard")
    assert report.details["add_to_suppression"] is True


def test_a_message_put_off_at_its_end_does_not_stop_the_others() -> None:
    answer = sent(scripted(END=["451 4.2.0 later"]), outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [BOB, EVE]
    assert answer.put_off == (ADA,)


def test_a_message_that_is_too_large_is_too_large_for_all() -> None:
    answer = sent(SmtpSink(size=2000), outgoing(ALL_THREE, content=Content(text="x\n" * 2000)))
    assert (answer.error_class, answer.reason, answer.put_off) == (ErrorClass.PERMANENT, "too_large", ())
    assert answer.refused() == (ADA, BOB, EVE)
    assert {report.details["bounce_class"] for report in answer.reports} == {None}


# -- what the session meets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "reply", "error_class"),
    [
        ("MAIL", "451 4.3.0 later", ErrorClass.TRANSIENT),
        ("MAIL", "550 5.7.1 Sender address rejected", ErrorClass.CONFIG),
        ("RCPT", "530 5.7.0 Authentication required", ErrorClass.CONFIG),
        ("RCPT", "550 5.1.8 Sender domain not found", ErrorClass.CONFIG),
        ("END", "454 Throttling failure: Maximum sending rate exceeded", ErrorClass.RATE_LIMITED),
        ("END", "454 Throttling failure: Daily message quota exceeded", ErrorClass.QUOTA),
    ],
)
def test_trouble_with_the_session_puts_the_rest_off(point: str, reply: str, error_class: ErrorClass) -> None:
    sink = SmtpSink({point: [None, reply]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA]
    assert (answer.put_off, answer.error_class, answer.reports) == ((BOB, EVE), error_class, ())
    assert sum(command.startswith("MAIL") for command in sink.commands) == 2


def test_what_a_relay_will_not_do_for_one_domain_it_may_do_for_another() -> None:
    sink = SmtpSink({"RCPT ada@example.com": ["550 5.7.1 Relaying denied"]})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [BOB, EVE]
    assert (answer.put_off, answer.error_class, answer.reason) == ((ADA,), ErrorClass.CONFIG, "relay_denied")


@pytest.mark.parametrize("reaction", ["421 4.3.2 shutting down", HANG_UP])
def test_a_connection_that_breaks_between_recipients_is_replaced_once(reaction: str | Rudeness) -> None:
    sink = scripted(MAIL=[None, reaction])
    answer = sent(sink, outgoing(ALL_THREE))
    assert len(answer.messages) == 3
    assert (sink.connections, set(sink.copies.values())) == (2, {3})
    sink = SmtpSink({"RCPT bob@example.com": repeat(reaction)})
    answer = sent(sink, outgoing(ALL_THREE))
    assert [m.recipient_id for m in answer.messages] == [ADA]
    assert (answer.put_off, answer.error_class) == ((BOB, EVE), ErrorClass.TRANSIENT)
    assert sink.connections == 2


def test_nobody_is_called_on_when_the_server_is_away() -> None:
    sink = scripted(BANNER=["554 no"])
    answer = sent(sink, outgoing(ALL_THREE))
    assert (answer.put_off, answer.messages, sink.connections) == ((ADA, BOB, EVE), (), 1)


# -- bounce addresses and delivery status notifications ----------------------------------------------------------------

BOUNCE = "&bounce=bounces@bounces.example.com&verp_key=secret&verp_key=older"


def lines(sink: SmtpSink, verb: str) -> list[str]:
    return [command for command in sink.commands if command.startswith(verb)]


def test_the_bounce_address_names_the_recipient() -> None:
    sink = SmtpSink()
    sent(sink, outgoing(ALL_THREE), BOUNCE)
    tokens = [re.fullmatch(r"bounces\+(.{45})@bounces\.example\.com", each.sender) for each in sink.messages]
    named = [verp.verify([b"secret"], token[1]) for token in tokens if token]
    assert [each and (each.email_id, each.recipient_id) for each in named] == [(EMAIL_ID, id) for id in (ADA, BOB, EVE)]
    assert {each.parsed()["From"] for each in sink.messages} == {"news@sender.example"}
    assert not any("RET=" in line or "NOTIFY=" in line for line in sink.commands)


def test_notifications_are_asked_for_where_they_are_offered() -> None:
    sink = SmtpSink(dsn=True)
    sent(sink, outgoing(["ada+tag@example.com"]), BOUNCE)
    (mail,), (rcpt,) = lines(sink, "MAIL"), lines(sink, "RCPT")
    token = verp.make(b"secret", EMAIL_ID, 0)
    assert mail.startswith(f"MAIL FROM:<bounces+{token}@bounces.example.com> SIZE=")
    assert mail.endswith(f" RET=HDRS ENVID={token}")
    assert rcpt == "RCPT TO:<ada+tag@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada+2Btag@example.com"


def test_without_a_bounce_address_the_sender_hears_of_bounces_and_nothing_is_asked_for() -> None:
    sink = SmtpSink(dsn=True)
    assert sent(sink).messages
    assert sink.messages[0].sender == "news@sender.example"
    assert not any(word in " ".join(sink.commands) for word in ("RET=", "ENVID=", "NOTIFY=", "ORCPT="))


def test_addresses_outside_ascii_with_notifications() -> None:
    sink = SmtpSink(dsn=True)
    assert sent(sink, outgoing(["büro@bücher.example"], sender=Mailbox(address="büro@x.example")), BOUNCE).messages
    assert lines(sink, "RCPT")[0].endswith(r" ORCPT=utf-8;b\x{FC}ro@b\x{FC}cher.example")


def many(count: int) -> list[OutgoingMessage]:
    return [outgoing(email_id=uuid7(NOW)) for _ in range(count)]


def test_every_email_has_bounce_addresses_of_its_own() -> None:
    sink = SmtpSink()

    async def use(provider: SmtpProvider) -> None:
        for message in many(3):
            await provider.send(message)

    with_provider(sink, use, BOUNCE)
    assert len({received.sender for received in sink.messages}) == 3


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_of_bounces() -> None:
    settings = SmtpSettings.from_url(f"smtp://x?maildir=/var/mail/bounces{BOUNCE}")
    assert (settings.bounce, settings.verp_keys) == ("bounces@bounces.example.com", (b"secret", b"older"))
    assert str(settings.maildir) == "/var/mail/bounces"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    "options",
    [
        "bounce=b@hunter2.example",
        "verp_key=hunter2",
        "bounce=b@hunter2.example&verp_key=",
        "bounce=hunter2&verp_key=hunter2",
        "bounce=b%2Bhunter2@x&verp_key=hunter2",
        "bounce=b@x%0D%0Ahunter2&verp_key=hunter2",
        f"bounce={'b' * 19}@hunter2&verp_key=hunter2",
        "maildir=/hunter2",
        "maildir=hunter2&bounce=b@x.example&verp_key=hunter2",
    ],
)
def test_wrong_options_of_bounces(options: str) -> None:
    with pytest.raises(ValueError, match=r"bounce|verp_key|maildir") as caught:
        SmtpSettings.from_url(f"smtp://x?{options}")
    assert "hunter2" not in str(caught.value)
