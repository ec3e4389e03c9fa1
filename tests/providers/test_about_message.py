"""What a message or a recipient is at fault for says nothing about the provider; its own trouble does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from domain.answer import Answer
from domain.delivery import ErrorClass
from infrastructure.providers import postmark, resend, sendgrid, ses
from infrastructure.providers.each import combine
from infrastructure.providers.http import Reply
from infrastructure.providers.sandbox import SandboxProvider
from infrastructure.providers.smtp_replies import Stage, classify
from tests.mail import NOW, outgoing


@pytest.mark.parametrize(
    ("stage", "code", "text"),
    [
        ("rcpt_to", 450, "4.2.0 Greylisted, come back in five minutes"),
        ("rcpt_to", 451, "4.7.1 Greylisting in action"),
        ("rcpt_to", 452, "4.2.2 mailbox full"),
        ("rcpt_to", 450, "4.1.2 Domain not found"),
        ("rcpt_to", 550, "5.7.1 relaying denied"),
        ("rcpt_to", 452, "4.3.4 message too big for system"),
        ("data", 451, "4.7.0 try again later"),
        ("mail_from", 450, "4.1.8 sender domain does not resolve"),
        ("mail_from", 553, "5.7.1 sender address rejected"),
    ],
)
def test_smtp_what_is_said_of_a_recipient_the_sender_or_the_message(stage: Stage, code: int, text: str) -> None:
    assert classify(stage, code, text).about_message


@pytest.mark.parametrize(
    ("stage", "code", "text"),
    [
        ("connect", None, "ConnectionRefusedError"),
        ("data", None, "ConnectionResetError"),
        ("banner", 421, "4.3.2 shutting down"),
        ("ehlo", 451, "4.7.0 internal error"),
        ("auth", 535, "5.7.8 bad credentials"),
        ("mail_from", 530, "5.7.0 authentication required"),
        ("rcpt_to", 530, "5.7.0 authentication required"),
        ("mail_from", 451, "4.3.0 queue file write error"),
        ("rcpt_to", 421, "4.7.0 too many errors"),
        ("rcpt_to", 452, "4.3.1 insufficient system storage"),
        ("data", 451, "4.3.0 queue file write error"),
        ("data", 421, "4.3.2 shutting down"),
        ("data", 452, "4.5.0 daily sending quota exceeded"),
    ],
)
def test_smtp_what_every_message_would_meet(stage: Stage, code: int | None, text: str) -> None:
    assert not classify(stage, code, text).about_message


@pytest.mark.parametrize(
    ("who", "about"), [(("deferred",), True), (("throttled",), True), (("down",), False), (("deferred", "down"), False)]
)
def test_sandbox(tmp_path: Path, who: tuple[str, ...], about: bool) -> None:
    provider = SandboxProvider("sandbox", tmp_path, lambda: NOW)
    answer = asyncio.run(provider.send(outgoing([f"{name}@sandbox.test" for name in who])))
    assert answer.about_message == about


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, {}, json.dumps(body).encode())


def _postmark(status: int, code: int) -> Answer:
    return postmark.parse(outgoing(), _reply(status, {"ErrorCode": code, "Message": "no"}), "main", NOW)


def _resend(status: int, name: str) -> Answer:
    return resend.parse(outgoing(), _reply(status, {"name": name, "message": "no"}), "main", NOW)


def _sendgrid(status: int, field: str | None) -> Answer:
    return sendgrid.parse(outgoing(), _reply(status, {"errors": [{"message": "no", "field": field}]}), NOW)


def _ses(code: str, words: str = "no") -> Answer:
    refusal = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ses.parse(outgoing().recipients[0], refusal)


def test_an_unverified_sender_does_not_stop_the_others() -> None:
    of_the_sender = [
        *(_postmark(422, 400), _postmark(422, 401), _resend(403, "validation_error"), _sendgrid(403, "from")),
        *(_ses("MailFromDomainNotVerifiedException"), _ses("MessageRejected", "Email address is not verified.")),
    ]
    assert {(answer.error_class, answer.about_message) for answer in of_the_sender} == {(ErrorClass.CONFIG, True)}


def test_a_refused_key_or_account_is_the_providers_trouble() -> None:
    of_the_account = [
        *(_postmark(401, 10), _postmark(422, 413), _resend(401, "invalid_api_key"), _sendgrid(401, None)),
        *(_sendgrid(403, None), _ses("AccountSuspendedException"), _ses("UnrecognizedClientException")),
    ]
    assert {(answer.error_class, answer.about_message) for answer in of_the_account} == {(ErrorClass.CONFIG, False)}


def test_of_several_recipients_one_trouble_of_the_providers_is_enough() -> None:
    message = outgoing(["ada@example.com", "bob@example.org"])
    greylisted = Answer(error_class=ErrorClass.TRANSIENT, about_message=True)
    down = Answer(error_class=ErrorClass.TRANSIENT)
    for answers, about in (((greylisted, greylisted), True), ((greylisted, down), False)):
        answer = combine(message, list(zip(message.recipients, answers, strict=True)), "main", NOW)
        assert answer.about_message == about
