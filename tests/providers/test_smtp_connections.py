"""SMTP connections against a real server: the pool, TLS and logins, and the settings they come from."""

import asyncio
import ssl
from itertools import repeat
from pathlib import Path
from urllib.parse import quote

import pytest

from application.ports import OutgoingMessage
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.ids import uuid7
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import NOW, outgoing
from tests.providers.smtp_relay import large, scripted, sent, with_provider
from tests.smtp_server import HANG_UP, SILENCE, Rudeness, SmtpSink, self_signed

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
