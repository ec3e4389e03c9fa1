"""Bounces as an SMTP provider's feedback: only with a token of ours, and only about whom it names."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import Untrusted
from application.ports import FeedbackSource, Hook
from domain.feedback import Feedback, Kind
from infrastructure.providers import verp
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import EMAIL_ID, NOW
from tests.providers.received import ADA, BOB, KEY, ORIGINAL, TOKEN, arf, block, dsn, plain

KEYS = f"&verp_key={KEY.decode()}"
TO = f"<bounces+{TOKEN}@bounces.example.com>"
FORGED = verp.make(b"guessed", EMAIL_ID, 0)
BOBS = verp.make(KEY, EMAIL_ID, 1)


def source(keys: str = KEYS) -> SmtpProvider:
    bounce = "?bounce=bounces@bounces.example.com" if keys else ""
    return SmtpProvider("relay", SmtpSettings.from_url(f"smtp://127.0.0.1:1{bounce}{keys}"), lambda: NOW)


SOURCE = source()


def verified(body: bytes, source: FeedbackSource = SOURCE) -> str:
    return asyncio.run(source.verify(Hook({}, body, NOW)))


def refused(body: bytes, source: FeedbackSource = SOURCE) -> str:
    with pytest.raises(Untrusted) as caught:
        verified(body, source)
    return caught.value.reason


def translated(body: bytes, source: FeedbackSource = SOURCE) -> Sequence[Feedback]:
    return source.translate(Hook({}, body, NOW))


# -- trust -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        dsn(block("failed", "5.1.1"), to=TO),
        dsn(block("failed", "5.1.1"), to=TO.upper()),
        dsn(block("failed", "5.1.1"), message=f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {TOKEN}"),
        dsn(block("failed", "5.1.1"), original=f"Return-Path: {TO}\n{ORIGINAL}"),
        arf("abuse", f"Original-Mail-From: {TO}\n"),
        plain("user unknown", To=TO),
        plain("user unknown", To=f"<bounces+{FORGED}@bounces.example.com>, {TO}"),
    ],
)
def test_a_token_of_ours_is_trusted_wherever_it_stands(body: bytes) -> None:
    assert verified(body) == verified(body)
    (found,) = translated(body)
    assert (found.email_id, found.recipient_id) == (EMAIL_ID, ADA)
    assert found.kind in (Kind.BOUNCED, Kind.COMPLAINED)


def test_nothing_else_is_trusted() -> None:
    assert refused(dsn(block("failed", "5.1.1"))) == "missing_token"
    assert refused(b"") == "missing_token"
    assert refused(dsn(block("failed", "5.1.1"), to=TO.replace(TOKEN, FORGED))) == "bad_signature"
    assert refused(dsn(block("failed", "5.1.1"), to=TO), source(keys="")) == "no_key"


def test_keys_can_be_replaced() -> None:
    body = dsn(block("failed", "5.1.1"), to=TO)
    newer = source(keys=f"&verp_key=newer{KEYS}")
    assert verified(body, newer) == verified(body)
    assert translated(body, newer) == translated(body)
    assert refused(body, source(keys="&verp_key=newer")) == "bad_signature"


def test_what_is_no_longer_to_be_verified_says_nothing() -> None:
    (found,) = translated(dsn(block("failed", "5.1.1"), to=TO), source(keys="&verp_key=newer"))
    assert (found.kind, found.provider_type, found.email_id) == (Kind.IGNORED, "unverified", None)


def test_different_mails_have_different_keys() -> None:
    assert verified(dsn(block("failed", "5.1.1"), to=TO)) != verified(dsn(block("failed", "5.1.2"), to=TO))


@given(st.data())
def test_a_changed_token_is_not_trusted(data: st.DataObject) -> None:
    body = plain("user unknown", To=TO)
    begin = body.index(TOKEN.encode())
    place = data.draw(st.integers(begin, begin + len(TOKEN) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: bytes([byte]).lower() != body[place : place + 1]))
    assert refused(body[:place] + bytes([other]) + body[place + 1 :]) in ("missing_token", "bad_signature")


@given(st.binary())
def test_any_bytes_are_refused_and_translated(body: bytes) -> None:
    assert refused(body) == "missing_token"
    assert [each.kind for each in translated(body)] == [Kind.IGNORED]


# -- whom it is about --------------------------------------------------------------------------------------------------


def test_a_token_speaks_for_its_recipient_alone() -> None:
    for_bob = f"Message-ID: <x@x>\nX-Postledger-Email-Id: {EMAIL_ID}\nX-Postledger-Recipient-Id: {BOB}\n"
    assert translated(plain(f"user unknown\n\n--- copy of the message\n\n{for_bob}\n(for {TO})")) == []
    other = f"<bounces+{BOBS}@bounces.example.com>"
    (found,) = translated(dsn(block("failed", "5.1.1"), to=other, original=f"Return-Path: {TO}"))
    assert (found.email_id, found.recipient_id) == (EMAIL_ID, BOB)


def test_a_report_that_claims_another_email_is_dropped() -> None:
    claimed = "0195f3a0-0000-7000-8000-0000000000ff"
    message = f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {claimed}"
    assert translated(dsn(block("failed", "5.1.1"), message=message, original=f"X-Seen: {TO}")) == []


def test_ids_that_the_mail_lacks_come_from_the_token() -> None:
    (found,) = translated(plain("user unknown", X_Seen=TO))
    assert (found.kind, found.email_id, found.recipient_id) == (Kind.BOUNCED, EMAIL_ID, ADA)


def test_every_block_is_about_the_recipient_whom_the_token_names() -> None:
    found = translated(dsn(block("failed", "5.1.1"), block("delayed", "4.4.1", recipient="eve@example.com"), to=TO))
    assert [each.kind for each in found] == [Kind.BOUNCED, Kind.DEFERRED]
    assert {(each.recipient_id, each.recipient) for each in found} == {(ADA, None)}


def test_there_is_nothing_to_follow_up() -> None:
    asyncio.run(SOURCE.follow_up(Hook({}, b"", NOW)))
