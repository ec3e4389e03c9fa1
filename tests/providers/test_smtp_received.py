"""Complaints, automatic replies, bounces in words alone, and what else comes to a bounce address."""

from datetime import UTC, datetime

import pytest

from domain.feedback import Kind
from tests.mail import EMAIL_ID
from tests.providers.received import ADA, ORIGINAL, TOKEN, arf, dsn, ids, plain, the_one

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MESSAGE_ID = f"{EMAIL_ID}@sender.example"

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
