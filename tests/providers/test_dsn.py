"""Delivery status notifications, and the samples of all mail that comes to a bounce address."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.feedback import Kind
from infrastructure.providers.dsn import translate_message
from tests.mail import EMAIL_ID
from tests.providers.received import ADA, TOKEN, arf, block, dsn, ids, plain, the_one

PAYLOADS = Path(__file__).parent / "payloads" / "smtp"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAMPLE = UUID("0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01")
SAMPLE_ADA = UUID("8b7d2a6e-92c4-4a0e-8a53-0d9f5a1c7e11")
MESSAGE_ID = f"{EMAIL_ID}@sender.example"

# -- samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "provider_type", "bounce_class", "reason", "code", "status", "suppress", "recipient"),
    [
        ("dsn_failed_hard", "bounced", "dsn/failed", "hard", "invalid_address", 550, "5.1.1", True, SAMPLE_ADA),
        ("dsn_failed_expired", "bounced", "dsn/failed", "soft", "expired", 451, "4.4.7", False, SAMPLE_ADA),
        ("dsn_delayed", "deferred", "dsn/delayed", None, "routing", None, "4.4.1", False, SAMPLE_ADA),
        ("arf_abuse", "complained", "arf/abuse", None, "abuse", None, None, True, None),
        ("postfix_failed", "bounced", "dsn/failed", "soft", "mailbox_full", 552, "5.2.2", False, ADA),
        ("exim_failed", "bounced", "dsn/failed", "hard", "invalid_address", 550, "5.1.1", True, None),
        ("exchange_failed", "bounced", "dsn/failed", "hard", "invalid_domain", 550, "5.1.10", True, None),
        ("exim_failed_plain", "bounced", "text/failed", "soft", "reputation", 554, "5.7.1", False, None),
        ("qmail_failed", "bounced", "text/failed", "hard", "invalid_address", 550, None, True, None),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_samples(
    line_end: bytes,
    name: str,
    kind: str,
    provider_type: str,
    bounce_class: str | None,
    reason: str,
    code: int | None,
    status: str | None,
    suppress: bool,
    recipient: UUID | None,
) -> None:
    found = the_one((PAYLOADS / f"{name}.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", line_end))
    assert (found.kind, found.provider_type, found.bounce_class, found.reason) == (
        *(kind, provider_type),
        *(bounce_class, reason),
    )
    assert (found.smtp_status, found.enhanced_status, found.add_to_suppression) == (code, status, suppress)
    assert (found.recipient or "").lower() == "ada@example.com"
    email_id = SAMPLE if name.startswith(("dsn", "arf")) else EMAIL_ID
    domain = "mail.example.com" if email_id == SAMPLE else "sender.example"
    assert ids(found) == (email_id, recipient, f"{email_id}@{domain}")
    assert found.terminal == (kind in ("bounced", "complained"))
    assert found.occurred_at is not None
    assert abs(found.occurred_at - NOON) <= timedelta(hours=1)


# -- delivery status notifications -------------------------------------------------------------------------------------

STATUSES = [
    ("5.1.1", "", "hard", "invalid_address", True),
    ("5.1.2", "", "hard", "invalid_domain", True),
    ("5.1.3", "", "hard", "invalid_address", True),
    ("5.1.6", "", "hard", "moved", True),
    ("5.1.10", "", "hard", "invalid_domain", True),
    ("5.2.1", "", "hard", "mailbox_disabled", True),
    ("5.1.0", "smtp; 550 5.1.0 No such user", "hard", "invalid_address", True),
    ("5.1.4", "smtp; 550 ambiguous", "undetermined", None, False),
    ("5.0.0", "smtp; 550 user unknown", "hard", "invalid_address", True),
    ("5.0.0", "smtp; 554 transaction failed", "undetermined", None, False),
    ("5.0.0", "smtp; 550 5.7.1 policy", "soft", "policy", False),
    ("", "smtp; 550 5.1.1 nobody", "hard", "invalid_address", True),
    ("", "smtp; 550 user unknown", "hard", "invalid_address", True),
    ("", "smtp; 550 something", "undetermined", None, False),
    ("", "", "undetermined", None, False),
    ("5.1.7", "", "soft", "sender", False),
    ("5.1.8", "", "soft", "sender", False),
    ("5.2.2", "", "soft", "mailbox_full", False),
    ("4.2.2", "smtp; 452 4.2.2 full", "soft", "mailbox_full", False),
    ("5.2.3", "", "soft", "too_large", False),
    ("5.3.4", "", "soft", "too_large", False),
    ("5.3.0", "", "soft", "system", False),
    ("5.4.1", "smtp; 550 5.4.1 Recipient address rejected: Access denied", "soft", "routing", False),
    ("5.4.4", "X-Postfix; Host or domain name not found", "soft", "no_route", False),
    ("5.4.6", "", "soft", "loop", False),
    ("5.4.7", "", "soft", "expired", False),
    ("4.4.7", "smtp;400 4.4.7 Message delayed", "soft", "expired", False),
    ("4.1.1", "smtp; 450 4.1.1 user unknown", "soft", "expired", False),
    ("4.0.0", "", "soft", "expired", False),
    ("5.1.1", "smtp; 450 4.1.1 later", "soft", "expired", False),
    ("5.5.2", "", "undetermined", "protocol", False),
    ("5.5.3", "smtp; 550 5.5.3 too many recipients", "soft", "too_many_recipients", False),
    ("5.6.1", "", "soft", "content", False),
    ("5.7.1", "smtp; 550 5.7.1 Relaying denied", "soft", "relay_denied", False),
    ("5.7.0", "smtp; 530 5.7.0 Authentication required", "soft", "auth", False),
    ("5.7.1", "smtp; 550 5.7.1 Message rejected as spam", "soft", "content", False),
    ("5.7.26", "smtp; 550 5.7.26 SPF and DKIM failed", "soft", "authentication", False),
    ("5.7.606", "smtp; 550 5.7.606 Access denied, banned by policy", "soft", "policy", False),
    ("4.7.1", "smtp; 451 4.7.1 Greylisted", "soft", "policy", False),
    ("5.1.1 (bad destination mailbox address)", "X-Unix; 67", "hard", "invalid_address", True),
]


@pytest.mark.parametrize(("status", "diagnostic", "bounce_class", "reason", "suppress"), STATUSES)
def test_a_failure_is_classified_by_its_status_and_words(
    status: str, diagnostic: str, bounce_class: str, reason: str | None, suppress: bool
) -> None:
    found = the_one(dsn(block("failed", status, diagnostic)))
    assert (found.kind, found.bounce_class, found.reason) == (Kind.BOUNCED, bounce_class, reason)
    assert (found.add_to_suppression, found.terminal) == (suppress, True)


@pytest.mark.parametrize(
    ("action", "status", "kind", "provider_type"),
    [
        ("failed", "5.1.1", Kind.BOUNCED, "dsn/failed"),
        ("FAILED (for good)", "5.1.1", Kind.BOUNCED, "dsn/failed"),
        ("delayed", "4.4.1", Kind.DEFERRED, "dsn/delayed"),
        ("delivered", "2.1.5", Kind.DELIVERED, "dsn/delivered"),
        ("relayed", "2.1.9", Kind.IGNORED, "dsn/relayed"),
        ("expanded", "2.1.5", Kind.IGNORED, "dsn/expanded"),
        ("teleported", "5.1.1", Kind.IGNORED, "dsn/teleported"),
        ("", "5.1.1", Kind.BOUNCED, "dsn/failed"),
        ("", "4.4.1", Kind.DEFERRED, "dsn/delayed"),
        ("", "2.0.0", Kind.DELIVERED, "dsn/delivered"),
        ("", "9.9.9", Kind.IGNORED, "dsn/unknown"),
    ],
)
def test_actions(action: str, status: str, kind: Kind, provider_type: str) -> None:
    found = the_one(dsn(block(action, status)))
    assert (found.kind, found.provider_type) == (kind, provider_type)
    assert (found.terminal, found.add_to_suppression) == (kind is Kind.BOUNCED, kind is Kind.BOUNCED)
    assert ids(found) == (EMAIL_ID, None, MESSAGE_ID)


def test_a_delay_keeps_what_the_server_said() -> None:
    found = the_one(dsn(block("delayed", "4.7.1", "smtp; 451 4.7.1 Greylisted, come back")))
    assert (found.reason, found.smtp_status, found.enhanced_status) == ("greylisted", 451, "4.7.1")
    assert found.words == "451 4.7.1 Greylisted, come back"


def test_every_recipient_in_a_report_is_reported_on() -> None:
    blocks = (block("failed", "5.1.1"), block("delayed", "4.4.1", recipient="bob@example.com"))
    ada, bob = translate_message(dsn(*blocks))
    assert (ada.recipient, ada.kind, bob.recipient, bob.kind) == (
        *("ada@example.com", Kind.BOUNCED, "bob@example.com", Kind.DEFERRED),
    )
    assert ada.keys != bob.keys


def test_keys_are_stable_and_tell_reports_apart() -> None:
    delayed = [
        dsn(block("delayed", "4.4.1", more=f"Last-Attempt-Date: Thu, 1 Jan 2026 1{hour}:00:00 +0000"))
        for hour in (2, 3)
    ]
    reports = [*delayed, dsn(block("failed", "4.4.7")), dsn(block("failed", "5.1.1")), arf("abuse"), plain("no")]
    keys = [the_one(report).keys for report in reports]
    assert [the_one(report).keys for report in reports] == keys
    assert len(set(keys)) == len(reports)
    assert "ada" not in str(keys)


def test_the_last_attempt_is_when_it_happened() -> None:
    message = "Reporting-MTA: dns; x\nArrival-Date: Thu, 1 Jan 2026 10:00:00 +0000"
    last = "Last-Attempt-Date: Thu, 1 Jan 2026 09:30:00 -0200"
    assert the_one(dsn(block("failed", more=last), message=message)).occurred_at == NOON - timedelta(minutes=30)
    assert the_one(dsn(block("failed"), message=message)).occurred_at == NOON  # not when the server took the message
    assert the_one(dsn(block("failed"), message=message, date="")).occurred_at == NOON - timedelta(hours=2)
    assert the_one(dsn(block("failed"))).occurred_at == NOON
    assert the_one(dsn(block("failed"), date="Thu, 1 Jan 2026 12:00:00 -0000")).occurred_at == NOON
    for strange in ("", "soon", "Thu, 99 Jan 2026 12:00:00 +0000", "31 Dec 9999 23:00:00 -2300", "x" * 10_000):
        assert the_one(dsn(block("failed"), date=strange)).occurred_at is None


@pytest.mark.parametrize(
    ("fields", "recipient"),
    [
        ("Original-Recipient: rfc822;ada+2Btag@example.com", "ada+tag@example.com"),
        ("Original-Recipient: rfc822; ada+20@example.com", "ada+20@example.com"),
        (r"Original-Recipient: utf-8; b\x{FC}ro@example.com", "büro@example.com"),
        ("Original-Recipient: rfc822; unknown", "ada@example.com"),
        ("Original-Recipient: <eve@example.com>", "eve@example.com"),
    ],
)
def test_the_recipient_as_we_wrote_it(fields: str, recipient: str) -> None:
    assert the_one(dsn(block("failed", "5.1.1", more=fields))).recipient == recipient


def test_an_address_behind_the_one_we_know_is_not_held_against_it() -> None:
    found = the_one(dsn(block("failed", "5.1.1", more="Original-Recipient: rfc822; team@example.com")))
    assert (found.recipient, found.bounce_class, found.add_to_suppression) == ("team@example.com", "hard", False)
    found = the_one(dsn(block("failed", "5.1.1", more="Original-Recipient: rfc822; ADA@example.com")))
    assert found.add_to_suppression


def test_a_report_inside_another_mail_is_not_ours() -> None:
    inner = dsn(block("failed", "5.1.1")).decode()
    outer = "From: ada@example.com\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n"
    assert the_one((outer + inner).encode()).kind is Kind.IGNORED


def test_parts_may_be_encoded_and_boundaries_resemble_each_other() -> None:
    mail = (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/report; boundary=bb\n\n--bb\n\nno\n"
        "--bb \nContent-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
        "UmVwb3J0aW5nLU1UQTogZG5zOyB4DQogDQpBY3Rpb246IGZhaWxlZA0KU3RhdHVzOiA1LjEuMQ0K\n--bb--\n--b--\n"
    )
    assert the_one(mail.encode()).reason == "invalid_address"


# -- whom it is about --------------------------------------------------------------------------------------------------

OTHER = UUID("0195f3a0-0000-7000-8000-0000000000ff")
THEIRS = f"Message-ID: <{OTHER}@x>\nX-Postledger-Email-Id: {OTHER}\nX-Postledger-Recipient-Id: {OTHER}\n"


@pytest.mark.parametrize("field", ["To", "Delivered-To", "X-Original-To", "Envelope-To"])
@pytest.mark.parametrize("token", [TOKEN, TOKEN.upper()])
def test_a_token_in_an_address_goes_before_everything(field: str, token: str) -> None:
    mail = f"{field}: <bounces+{token}@bounces.example.com>\n".encode() + dsn(block("failed", "5.1.1"), original=THEIRS)
    assert ids(the_one(mail))[:2] == (EMAIL_ID, ADA)


@pytest.mark.parametrize(
    ("report", "original"),
    [
        (f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {TOKEN}", THEIRS),
        ("Reporting-MTA: dns; x", f"Return-Path: <bounces+{TOKEN}@bounces.example.com>\n{THEIRS}"),
        (f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {EMAIL_ID}", f"X-Postledger-Recipient-Id: {ADA}"),
        ("Reporting-MTA: dns; x", f"Return-Path: <b+{EMAIL_ID}@x>\nX-Postledger-Recipient-Id: {ADA}"),
        ("Reporting-MTA: dns; x", f"Return-Path: <b+{EMAIL_ID}=ada=x.y@x>\nX-Postledger-Recipient-Id: {ADA}"),
        ("Reporting-MTA: dns; x", f"X-Postledger-Email-Id: {EMAIL_ID}\nX-Postledger-Recipient-Id: {ADA}"),
        ("Reporting-MTA: dns; x", f"Message-ID:\n <{EMAIL_ID}@sender.example>\nX-Postledger-Recipient-Id: {ADA}"),
    ],
)
def test_ids_from_reports_and_from_what_was_sent(report: str, original: str) -> None:
    assert ids(the_one(dsn(block("failed"), message=report, original=original)))[:2] == (EMAIL_ID, ADA)


def test_a_recipient_of_another_email_is_not_taken_over() -> None:
    found = the_one(dsn(block("failed"), to=f"bounces+{EMAIL_ID}@x", original=THEIRS))
    assert ids(found) == (EMAIL_ID, None, f"{OTHER}@x")


def test_nothing_to_go_by() -> None:
    assert ids(the_one(dsn(block("failed"), original="Message-ID: <abc@elsewhere>"))) == (None, None, "abc@elsewhere")
    assert ids(the_one(dsn(block("failed"), original="Message-ID: nonsense"))) == (None, None, None)
