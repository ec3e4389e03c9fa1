"""Postmark's webhooks: who is believed, and what is made of what they say."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from application.errors import Untrusted
from application.ports import Hook
from domain.feedback import Feedback, Kind
from infrastructure.providers.postmark import FEEDBACK, PostmarkProvider, PostmarkSettings, translate
from infrastructure.providers.postmark_webhooks import TIMES
from tests.mail import NOW

HERE = Path(__file__).parent
AUTH = json.loads((HERE / "vectors" / "postmark_auth.json").read_text())
NORMALIZATION = json.loads((HERE / "vectors" / "postmark_normalization.json").read_text())["cases"]
PAYLOADS = sorted((HERE / "payloads" / "postmark").glob("*.json"))


def hook(body: bytes, headers: Mapping[str, str] | None = None) -> Hook:
    return Hook({name.lower(): value for name, value in (headers or {}).items()}, body, NOW)


def verified(a_hook: Hook, *keys: str) -> str:
    options = "&".join(f"webhook_key={quote(key, safe='')}" for key in keys)
    settings = PostmarkSettings.from_url(f"postmark://token@default?{options}")
    return asyncio.run(PostmarkProvider("postmark", settings, lambda: NOW).verify(a_hook))


def refusal(a_hook: Hook, *keys: str) -> str:
    with pytest.raises(Untrusted) as caught:
        verified(a_hook, *keys)
    return caught.value.reason


# -- who is believed


BASIC = f"{AUTH['username']}:{AUTH['password']}"
HEADER = f"{AUTH['header']['name']}={AUTH['header']['value']}"


def basic(credentials: str, scheme: str = "Basic ") -> dict[str, str]:
    return {"Authorization": scheme + b64encode(credentials.encode()).decode()}


@pytest.mark.parametrize("case", AUTH["cases"], ids=lambda case: case["id"])
@pytest.mark.parametrize("others", [(), ("old:password", "X-Old=secret")], ids=["alone", "among others"])
def test_the_vectors(case: dict[str, Any], others: tuple[str, ...]) -> None:
    key = HEADER if case.get("mode") == "header" else BASIC
    a_hook = hook(b64decode(case["body_b64"]), case["headers"])
    if case["expect"] == "valid":
        assert verified(a_hook, *others, key)
    else:
        assert refusal(a_hook, *others, key) in ("missing_header", "malformed", "bad_signature")


def test_every_key_is_good_while_keys_are_changed() -> None:
    keys = ("new:password", BASIC, HEADER, "X-Webhook-Secret=new")
    for headers in (basic("new:password"), basic(BASIC), {"X-Webhook-Secret": "new"}, dict([HEADER.split("=")])):
        assert verified(hook(b"{}", headers), *keys)
    assert verified(hook(b"{}", basic("wrong:wrong") | {"x-webhook-secret": "new"}), *keys)
    assert refusal(hook(b"{}", basic("new:passwor")), *keys) == "bad_signature"
    assert refusal(hook(b"{}", {"X-Webhook-Secret": "ne"}), *keys) == "bad_signature"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing_header"),
        ({"Authorization": ""}, "malformed"),
        ({"Authorization": "Basic"}, "malformed"),
        ({"Authorization": "Basic "}, "malformed"),
        ({"Authorization": "Basic %%%"}, "malformed"),
        ({"Authorization": "Basic żółć"}, "malformed"),
        ({"Authorization": "Basic \udcff"}, "malformed"),
        ({"Authorization": "Bearer x"}, "malformed"),
        (basic(BASIC, "Digest "), "malformed"),
        (basic(BASIC, "Basic"), "malformed"),
        (basic(BASIC + "x"), "bad_signature"),
        (basic(BASIC[:-1]), "bad_signature"),
        ({"Authorization": "Basic " + b64encode(BASIC.encode("utf-16")).decode()}, "bad_signature"),
    ],
)
def test_a_bad_password_is_refused_with_a_reason(headers: dict[str, str], reason: str) -> None:
    assert refusal(hook(b"{}", headers), BASIC) == reason


def test_a_secret_header_may_hold_anything() -> None:
    assert verified(hook(b"{}", {"X-Secret": "a=b:c żółć"}), "x-SECRET=a=b:c żółć")
    for value in ("", "a=b:c", "a=b:c żółć ", "\udcff\ud800"):
        assert refusal(hook(b"{}", {"X-Secret": value}), "x-secret=a=b:c żółć") in ("bad_signature", "malformed")


def test_without_a_key_nobody_is_believed() -> None:
    assert refusal(hook(b"{}", basic(BASIC))) == "no_key"


def test_the_same_delivery_has_the_same_key() -> None:
    bodies = [path.read_bytes() for path in PAYLOADS]
    keys = [verified(hook(body, basic(BASIC)), BASIC) for body in bodies]
    assert keys == [verified(hook(body, {"X-Webhook-Secret": "s"}), BASIC, "X-Webhook-Secret=s") for body in bodies]
    assert len(set(keys)) == len(bodies)


@given(place=st.integers(0, 200), character=st.characters(max_codepoint=300))
def test_a_changed_character_is_never_believed(place: int, character: str) -> None:
    value = basic(BASIC)["Authorization"]
    place %= len(value)
    changed = value[:place] + character + value[place + 1 :]
    assume(changed.lower()[:6] + changed[6:] != "basic " + value[6:])  # the scheme's case does not matter
    assert refusal(hook(b"{}", {"Authorization": changed}), BASIC) in ("malformed", "bad_signature")


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-webhook-secret"]), st.text(st.characters(exclude_categories=()))
    )
)
def test_no_headers_are_too_odd_to_refuse(headers: dict[str, str]) -> None:
    with suppress(Untrusted):
        verified(hook(b"", headers), BASIC, HEADER)
        raise AssertionError("believed")


# -- what they say


def told(document: Any) -> Feedback:
    (feedback,) = translate(hook(json.dumps(document).encode()))
    return feedback


def payload(name: str, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HERE / "payloads" / "postmark" / f"{name}.json").read_text())
    return document | changes


@pytest.mark.parametrize("case", NORMALIZATION, ids=lambda case: case["file"].rpartition("/")[2])
def test_a_payload_of_the_vectors(case: dict[str, Any]) -> None:
    (expected,) = case["events"]
    (feedback,) = translate(hook((HERE / case["file"]).read_bytes()))
    assert {
        "type": feedback.kind,
        "provider_type": feedback.provider_type,
        "bounce_class": feedback.bounce_class,
        "reason": feedback.reason,
        "recipient": feedback.recipient,
        "email_id": str(feedback.email_id) if feedback.email_id else None,
        "recipient_id": str(feedback.recipient_id) if feedback.recipient_id else None,
        "provider_message_id": feedback.provider_message_id,
        "provider_event_id": feedback.provider_event_id,
        "occurred_at": feedback.occurred_at,
        "smtp_code": feedback.smtp_status,
        "enhanced_status": feedback.enhanced_status,
        "machine": feedback.machine or None,
        "url": feedback.url,
        "terminal": feedback.terminal,
        "add_to_suppression": feedback.add_to_suppression,
    } == {
        **{name: value for name, value in expected.items() if name not in ("dedupe_key", "anymail_event_type")},
        "occurred_at": datetime.fromisoformat(expected["occurred_at"]),
    }


ROWS: Mapping[str, tuple[str, str | None, str | None, bool, bool]] = {
    "HardBounce": ("bounced", "hard", "invalid_address", True, True),
    "Transient": ("deferred", None, None, False, False),
    "DnsError": ("deferred", None, "dns", False, False),
    "OpenRelayTest": ("deferred", None, "open_relay_test", False, False),
    "SoftBounce": ("bounced", "soft", "mailbox", True, False),
    "Blocked": ("bounced", "soft", "blocked", True, False),
    "SpamNotification": ("bounced", "soft", "spam_content", True, False),
    "VirusNotification": ("bounced", "soft", "virus", True, False),
    "DMARCPolicy": ("bounced", "soft", "sender_auth", True, False),
    "Unknown": ("bounced", "undetermined", None, True, False),
    "BadEmailAddress": ("rejected", None, "invalid_address", True, True),
    "SMTPApiError": ("rejected", None, "api_error", True, False),
    "TemplateRenderingFailed": ("rejected", None, "template", True, False),
    "InboundError": ("rejected", None, "inbound_error", True, False),
    "ManuallyDeactivated": ("suppressed", None, "manual", True, True),
    "Unconfirmed": ("suppressed", None, "unconfirmed", True, False),
    "SpamComplaint": ("complained", None, None, True, True),
    "Unsubscribe": ("unsubscribed", None, "recipient", False, True),
    "Subscribe": ("resubscribed", None, None, False, False),
    "AutoResponder": ("ignored", None, "auto_reply", False, False),
    "AddressChange": ("ignored", None, "address_change", False, False),
    "ChallengeVerification": ("ignored", None, "challenge", False, False),
    "SomethingNew": ("ignored", None, None, False, False),
}


@pytest.mark.parametrize(("bounce_type", "row"), ROWS.items())
def test_a_bounce_means_what_its_type_says_whatever_its_code(bounce_type: str, row: tuple[object, ...]) -> None:
    for code in (1, 512, None, "x"):
        feedback = told(payload("bounce_hard", Type=bounce_type, TypeCode=code, Details="no word", Name="Hard bounce"))
        assert feedback.provider_type == f"Bounce/{bounce_type}"
        said = (feedback.kind, feedback.bounce_class, feedback.reason, feedback.terminal, feedback.add_to_suppression)
        assert said == row


def test_every_bounce_type_of_the_table_has_a_row_here() -> None:
    assert {word for word in FEEDBACK if word.startswith("Bounce/")} == {f"Bounce/{t}" for t in ROWS} - {
        "Bounce/SomethingNew"
    }


COMMON = {
    "ServerID": 23,
    "MessageStream": "outbound",
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Metadata": {"pl_email_id": "0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01"},
    "Tag": "receipt",
}
CLIENT = {"UserAgent": "Mozilla/5.0", "OS": {"Name": "OS X"}, "Client": {"Name": "Chrome"}, "Geo": {"IP": "192.0.2.1"}}
OPEN = (
    COMMON
    | CLIENT
    | {
        "RecordType": "Open",
        "FirstOpen": True,
        "ReadSeconds": 5,
        "Recipient": "ada@example.com",
        "ReceivedAt": "2026-01-01T12:05:06.9070259+01:00",
    }
)
CLICK = (
    COMMON
    | CLIENT
    | {
        "RecordType": "Click",
        "ClickLocation": "HTML",
        "OriginalLink": "https://example.com/a?b=c",
        "Recipient": "ada@example.com",
        "ReceivedAt": "2026-01-01T12:05:06.9070259Z",
    }
)
COMPLAINT = COMMON | {
    "RecordType": "SpamComplaint",
    "ID": 2**63 - 1,
    "Type": "SpamComplaint",
    "TypeCode": 512,
    "Email": "ada@example.com",
    "BouncedAt": "2026-01-01T12:05:06Z",
    "Details": "Test spam complaint details",
    "Inactive": True,
}


def test_an_open() -> None:
    feedback = told(OPEN)
    assert (feedback.kind, feedback.provider_type, feedback.recipient) == (Kind.OPENED, "Open", "ada@example.com")
    assert feedback.occurred_at == datetime(2026, 1, 1, 11, 5, 6, 907025, UTC)
    assert str(feedback.email_id) == "0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01"
    assert (feedback.recipient_id, feedback.provider_event_id, feedback.url) == (None, None, None)
    assert (feedback.machine, feedback.terminal, feedback.add_to_suppression) == (False, False, False)


def test_a_click() -> None:
    feedback = told(CLICK)
    assert (feedback.kind, feedback.provider_type, feedback.url) == (Kind.CLICKED, "Click", "https://example.com/a?b=c")
    others = [told(CLICK | change) for change in ({"OriginalLink": "https://example.com/"}, {"ClickLocation": "Text"})]
    assert len({feedback.keys, *(other.keys for other in others)}) == 3


def test_a_complaint() -> None:
    feedback = told(COMPLAINT)
    assert (feedback.kind, feedback.provider_type) == (Kind.COMPLAINED, "SpamComplaint")
    assert (feedback.terminal, feedback.add_to_suppression) == (True, True)
    assert feedback.provider_event_id == "9223372036854775807"
    assert (feedback.recipient, feedback.words) == ("ada@example.com", "Test spam complaint details")


def test_an_id_keeps_every_digit() -> None:
    ids = [told(payload("bounce_hard", ID=2**62 + n)) for n in range(3)]
    assert [f.provider_event_id for f in ids] == [str(2**62 + n) for n in range(3)]
    assert len({f.keys for f in ids}) == 3


@pytest.mark.parametrize(
    "details", ["smtp;552 5.2.2 over quota", "smtp;452 4.2.2 x", "The mailbox is full", "exceeds quota"]
)
def test_a_full_mailbox_is_a_soft_bounces_reason(details: str) -> None:
    assert told(payload("bounce_soft", Details=details)).reason == "mailbox_full"


@pytest.mark.parametrize("details", ["smtp;452 4.3.1 disk is full", "account disabled", "", None, 5])
def test_other_soft_bounces_have_another_reason(details: Any) -> None:
    assert told(payload("bounce_soft", Details=details)).reason == "mailbox"


@pytest.mark.parametrize(
    ("details", "smtp_status", "enhanced_status"),
    [
        ("smtp;550 5.1.1 The email account", 550, "5.1.1"),
        ("smtp;550-5.1.1 The email account", 550, "5.1.1"),
        ("smtp; 550 no such user", 550, None),
        ("SMTP;250 OK", 250, None),
        ("554 5.7.1 blocked", 554, "5.7.1"),
        ("smtp;5.7.1 blocked", None, "5.7.1"),
        ("5501 times", None, None),
        ("550.1 mails", None, None),
        ("250 2.0.0.1", 250, None),
        ("Out of office until 2026", None, None),
        ("", None, None),
    ],
)
def test_statuses_are_read_from_the_details(details: str, smtp_status: int | None, enhanced_status: str | None) -> None:
    feedback = told(payload("delivery", Details=details))
    assert (feedback.smtp_status, feedback.enhanced_status) == (smtp_status, enhanced_status)


CHANGES = [
    (True, "ManualSuppression", "Recipient", "unsubscribed", "recipient"),
    (True, "ManualSuppression", "Customer", "suppression_added", "manual"),
    (True, "ManualSuppression", "Admin", "suppression_added", "manual"),
    (True, "HardBounce", "Recipient", "suppression_added", "bounce"),
    (True, "HardBounce", "Customer", "suppression_added", "bounce"),
    (True, "SpamComplaint", "Recipient", "suppression_added", "complaint"),
    (True, "SpamComplaint", "Admin", "suppression_added", "complaint"),
    (True, "SomethingNew", "Customer", "suppression_added", "manual"),
    (True, None, "Admin", "suppression_added", "manual"),
    (False, None, "Recipient", "resubscribed", None),
    (False, None, "Customer", "resubscribed", None),
    (False, "HardBounce", "Admin", "resubscribed", None),
    (True, "SomethingNew", "Recipient", "ignored", None),
    (True, "ManualSuppression", "SomethingNew", "ignored", None),
    (True, "ManualSuppression", None, "ignored", None),
    (None, "HardBounce", "Recipient", "ignored", None),
    ("true", "HardBounce", "Recipient", "ignored", None),
]


@pytest.mark.parametrize(("suppressed", "reason", "origin", "kind", "ours"), CHANGES)
def test_a_change_of_the_list(suppressed: Any, reason: Any, origin: Any, kind: str, ours: str | None) -> None:
    change = {"SuppressSending": suppressed, "SuppressionReason": reason, "Origin": origin}
    feedback = told(payload("subscription_change_unsubscribe", **change))
    assert (feedback.kind, feedback.provider_type, feedback.reason) == (kind, "SubscriptionChange", ours)
    assert feedback.add_to_suppression == (kind in ("unsubscribed", "suppression_added"))
    assert feedback.scope == ("stream:broadcast" if kind in ("unsubscribed", "resubscribed") else None)
    assert not feedback.terminal


def test_changes_at_the_same_moment_are_told_apart() -> None:
    changes = [{"SuppressSending": s, "SuppressionReason": r, "Origin": o} for s, r, o, *_ in CHANGES]
    keys = {told(payload("subscription_change_unsubscribe", **change)).keys for change in changes}
    assert len(keys) == len(CHANGES)


@pytest.mark.parametrize("nothing", [None, "", "00000000-0000-0000-0000-000000000000"])
def test_no_message_is_no_message(nothing: Any) -> None:
    assert told(payload("subscription_change_hard_bounce", MessageID=nothing)).provider_message_id is None


def test_keys_are_stable_distinct_and_hold_nobodys_address() -> None:
    keys = [told(payload(path.stem)).keys for path in PAYLOADS]
    assert keys == [told(dict(reversed(payload(path.stem).items()))).keys for path in PAYLOADS]
    assert not any("ada" in key for each in keys for key in each)
    bounces = [key for key, path in zip(keys, PAYLOADS, strict=True) if path.stem.startswith("bounce")]
    assert len(set(keys)) == len(keys) - len(bounces) + 1  # the samples of bounces share one ID, and so one key
    again = told(payload("delivery", DeliveredAt="2026-01-01T13:00:04.907025+01:00", Recipient="Ada@example.com"))
    assert again.keys == told(payload("delivery")).keys
    assert told(payload("delivery", Recipient="bob@example.com")).keys != again.keys


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"RecordType": "Inbound"}, "Inbound"),
        ({"RecordType": "SomethingNew", "Recipient": "ada@example.com"}, "SomethingNew"),
        ({"RecordType": "Bounce"}, "Bounce"),
        ({"RecordType": ["Bounce"]}, "unknown"),
        ({}, "unknown"),
        ([], "unreadable"),
        (None, "unreadable"),
        ("Bounce", "unreadable"),
    ],
)
def test_what_is_not_known_is_kept_and_ignored(document: Any, word: str) -> None:
    feedback = told(document)
    assert (feedback.kind, feedback.provider_type, len(feedback.keys)) == (Kind.IGNORED, word, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"RecordType": "\\ud800"}'])
def test_what_cannot_be_read_is_kept_and_ignored(body: bytes) -> None:
    (feedback,) = translate(hook(body))
    assert feedback.kind is Kind.IGNORED


def test_every_time_has_a_record_type() -> None:
    assert set(TIMES) == {word.partition("/")[0] for word in FEEDBACK}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({name for path in PAYLOADS for name in payload(path.stem)} | OPEN.keys() | CLICK.keys())


@given(
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=12),
    st.sampled_from([*TIMES, None, "Inbound"]),
    st.sampled_from([*ROWS, None]),
)
def test_no_record_is_too_odd_to_translate(record: dict[str, Any], record_type: Any, bounce_type: Any) -> None:
    words = {"RecordType": record_type, "Type": bounce_type}
    feedback = told(record | {name: word for name, word in words.items() if word})
    assert feedback.keys
    assert asdict(feedback)


@given(ANYTHING)
def test_no_document_is_too_odd_to_translate(document: Any) -> None:
    assert told(document).keys


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd_to_translate(body: bytes) -> None:
    assert len(translate(hook(body))) == 1


def test_postmarks_hooks_ask_for_nothing() -> None:
    provider = PostmarkProvider("postmark", PostmarkSettings.from_url("postmark://token@default"), lambda: NOW)
    assert provider.translate(hook(b"{}"))
    asyncio.run(provider.follow_up(hook(b"{}")))
