"""Bounces, complaints and automatic replies, in the words of the servers that write them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.feedback import Feedback, Kind
from infrastructure.providers.dsn import translate_message
from tests.mail import EMAIL_ID
from tests.providers.received import ADA, ORIGINAL, TOKEN, arf, block, dsn, ids, plain, the_one

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
    assert the_one(dsn(block("failed"), message=message)).occurred_at == NOON - timedelta(hours=2)
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


# -- complaints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("abuse", Kind.COMPLAINED),
        ("Abuse", Kind.COMPLAINED),
        ("fraud", Kind.COMPLAINED),
        ("virus", Kind.COMPLAINED),
        ("other", Kind.COMPLAINED),
        ("opt-out", Kind.UNSUBSCRIBED),
        ("not-spam", Kind.IGNORED),
        ("auth-failure", Kind.IGNORED),
        ("new-idea", Kind.IGNORED),
    ],
)
def test_complaints(word: str, kind: Kind) -> None:
    found = the_one(arf(word))
    assert (found.kind, found.provider_type) == (kind, f"arf/{word.lower()}")
    assert (found.add_to_suppression, found.terminal) == (kind is not Kind.IGNORED, kind is Kind.COMPLAINED)
    assert (found.occurred_at, found.recipient) == (NOON, None)
    assert ids(found) == (EMAIL_ID, None, MESSAGE_ID)


def test_a_complaint_may_name_the_bounce_address_and_the_recipient() -> None:
    report = f"Original-Mail-From: <bounces+{TOKEN}@bounces.example.com>\nOriginal-Rcpt-To: <ada@example.com>\n"
    found = the_one(arf("abuse", report, original="Subject: Hello\n"))
    assert (found.recipient, *ids(found)) == ("ada@example.com", EMAIL_ID, ADA, None)
    assert the_one(arf("", "")).provider_type == "arf/unknown"


# -- automatic replies, bounces in words, and all the rest -------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"Auto_Submitted": "auto-replied"},
        {"Auto_Submitted": "auto-replied; owner-email=ada@example.com", "From": "ada@example.com", "Return_Path": "<>"},
        {"Auto_Submitted": "auto-generated", "From": "ada@example.com", "Return_Path": "<>"},
        {"Precedence": "auto_reply", "From": "ada@example.com", "Return_Path": "<>"},
        {"X_Autoreply": "yes", "From": "ada@example.com", "Return_Path": "<>"},
        {"Subject": "Automatic reply: Hello", "From": "ada@example.com", "Return_Path": "<>"},
        {"Subject": "Out of Office", "From": "ada@example.com", "Return_Path": "<>"},
    ],
)
def test_automatic_replies_say_nothing(fields: dict[str, str]) -> None:
    found = the_one(plain("I am away; my mailbox is full, user unknown", **fields))
    assert (found.kind, found.provider_type, found.reason) == (Kind.IGNORED, "auto-reply", "auto_reply")


@pytest.mark.parametrize(
    ("text", "bounce_class", "reason", "code", "suppress"),
    [
        ("<ada@example.com>:\nRemote host said: 550 5.1.1 unknown", "hard", "invalid_address", 550, True),
        ("Reason: mx said (550 mailbox unavailable)", "hard", "invalid_address", 550, True),
        ("ada@example.com... User unknown", "hard", "invalid_address", None, True),
        ("The user's mailbox is full", "soft", "mailbox_full", None, False),
        ("#5.1.1 bad address", "hard", "invalid_address", None, True),
        ("#4.4.7 gave up", "soft", "expired", None, False),
        ("Your message was taken for spam by 3 of 500 servers", "soft", "content", None, False),
        ("It did not work in 2026.", "undetermined", None, None, False),
        ("", "undetermined", None, None, False),
        ("No.\n\n--- Below is a copy of the original\n\nSubject: user unknown", "undetermined", None, None, False),
        ("No.\n\nReceived: by x\nSubject: user unknown", "undetermined", None, None, False),
    ],
)
def test_bounces_in_words(text: str, bounce_class: str, reason: str | None, code: int | None, suppress: bool) -> None:
    found = the_one(plain(text))
    assert (found.kind, found.provider_type) == (Kind.BOUNCED, "text/failed")
    assert (found.bounce_class, found.reason, found.smtp_status) == (bounce_class, reason, code)
    assert (found.add_to_suppression, found.terminal) == (suppress, True)


@pytest.mark.parametrize(
    "fields", [{"From": "postmaster@x"}, {"From": "x", "Return_Path": "<>"}, {"From": '"Mail" <>'}]
)
def test_who_writes_bounces(fields: dict[str, str]) -> None:
    bounced = the_one(plain("no such user", **fields)).kind is Kind.BOUNCED
    assert bounced == (fields["From"] != '"Mail" <>')


def test_word_of_a_delay_is_no_bounce() -> None:
    found = the_one(plain("Warning: message still not delivered.\n421 4.4.2 timeout\nWe will keep trying."))
    assert (found.kind, found.enhanced_status, found.terminal) == (Kind.DEFERRED, "4.4.2", False)


def test_what_a_copy_of_our_message_tells() -> None:
    found = the_one(plain(f"user unknown\n\n----- Original message follows -----\n\n{ORIGINAL}\nHello"))
    assert ids(found) == (EMAIL_ID, None, MESSAGE_ID)


@pytest.mark.parametrize(
    ("body", "provider_type"),
    [
        (b"From: ada@example.com\n\nThank you!", "unreadable"),
        (b"", "unreadable"),
        (b"\n\n\n", "unreadable"),
        (b"\xff\xfe\x00", "unreadable"),
        (dsn().replace(b"Reporting", b"X").replace(b"MAILER-DAEMON", b"ada"), "unreadable"),
        (
            b"Content-Type: multipart/report; report-type=disposition-notification\nReturn-Path: <>",
            "report/disposition-notification",
        ),
        (b'Content-Type: multipart/report; report-type="tlsrpt"; boundary=x\n\n', "report/tlsrpt"),
    ],
)
def test_the_rest_is_kept_and_ignored(body: bytes, provider_type: str) -> None:
    found = the_one(body)
    assert (found.kind, found.provider_type) == (Kind.IGNORED, provider_type)
    assert found.keys


# -- anything at all ---------------------------------------------------------------------------------------------------

SAMPLES = [path.read_bytes() for path in sorted(PAYLOADS.glob("*.eml"))]
PIECES = [piece for sample in SAMPLES for piece in sample.splitlines(keepends=True)]


def sound(found: list[Feedback]) -> None:
    assert found
    for each in found:
        assert isinstance(each, Feedback)
        assert each.keys
        for text in (each.words, each.recipient, each.provider_type, each.provider_message_id, each.reason):
            assert len((text or "").encode()) <= 4000
            assert "\0" not in (text or "")


@given(st.binary() | st.lists(st.sampled_from(PIECES) | st.binary(max_size=20)).map(b"".join))
def test_any_bytes_are_read_as_something(body: bytes) -> None:
    sound(translate_message(body))


@given(st.sampled_from(SAMPLES), st.integers(0), st.integers(0, 40), st.binary(max_size=40))
def test_a_damaged_report_is_read_as_something(sample: bytes, place: int, length: int, other: bytes) -> None:
    at = place % len(sample)
    sound(translate_message(sample[:at] + other + sample[at + length :]))


def test_strange_charsets_and_encodings() -> None:
    for charset in ("nonsense", "punycode", "hex", "undefined", "utf-16\0"):
        for encoding in ("base64", "quoted-printable", "x-uuencode", "8bit"):
            head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}"
            sound(translate_message(f"From: mailer-daemon\n{head}\n\nuser=unknown\n".encode() + b"\xff\xd8=ZZ="))


SIZE = 5_000_000


def nested(levels: int) -> bytes:
    heads = (f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(levels))
    return "".join(heads).encode()


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"\n" * SIZE,
        lambda: b"a:\n" * (SIZE // 3),
        lambda: b" \n" * (SIZE // 2),
        lambda: b"To: " + b"+" * SIZE,
        lambda: b"To: " + (b"+" + TOKEN.encode()) * (SIZE // 46),
        lambda: b"Content-Type: text/plain" + b";a=" * (SIZE // 3),
        lambda: b"Content-Type: " + b"; " * (SIZE // 2),
        lambda: nested(1000) + b"\n" * SIZE,
        lambda: nested(6) + b"--b5\n" * (SIZE // 5),
        lambda: nested(6) + b"--b5\na:\n\n" * (SIZE // 9),
        lambda: nested(6) + b"--b55\n" * (SIZE // 6),
        lambda: (
            b"Content-Type: multipart/x; boundary=b\n\n" + b"--b\nContent-Type: multipart/x; boundary=b\n\n" * 100_000
        ),
        lambda: dsn(*[block("failed", "5.1.1")] * 40_000),
        lambda: dsn(block("failed", "5.1.1", "smtp; " + "550 " * 1_000_000)),
        lambda: dsn("Action: failed\n" + " x\n" * 1_000_000),
        lambda: plain("-" * SIZE),
        lambda: plain("--- " * (SIZE // 4)),
        lambda: plain(" " * SIZE),
        lambda: plain("\n" * SIZE),
        lambda: plain("5.1." * (SIZE // 4)),
        lambda: plain("550 " * (SIZE // 4)),
        lambda: plain("a@" * (SIZE // 2)),
        lambda: plain("sending limit daily " * (SIZE // 20)),
        lambda: plain("=" * SIZE, Content_Transfer_Encoding="quoted-printable"),
        lambda: plain("A" * SIZE, Content_Transfer_Encoding="base64"),
        lambda: plain("x", Subject="auto" * (SIZE // 4), From="postmaster" * (SIZE // 10)),
        lambda: plain("x", Date="1 " * (SIZE // 2), X_Failed_Recipients="a@" * (SIZE // 2)),
        lambda: arf("abuse " * (SIZE // 6)),
    ],
)
def test_huge_mail_takes_no_time(body: Callable[[], bytes]) -> None:
    mail = body()
    begun = time.process_time()
    sound(translate_message(mail))
    assert time.process_time() - begun < 2
