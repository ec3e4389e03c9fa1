"""Amazon SES: what its events mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.ports import Hook
from domain.feedback import Feedback, Kind
from infrastructure.providers.reading import iso_time
from infrastructure.providers.ses import translate
from infrastructure.providers.ses_events import FEEDBACK
from tests.mail import NOW

HERE = Path(__file__).parent
CASES = json.loads((HERE / "vectors" / "ses_normalization.json").read_text())["cases"]
EMAIL = UUID("0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01")
RECIPIENT = UUID("8b7d2a6e-92c4-4a0e-8a53-0d9f5a1c7e11")
MESSAGE = "0102019b7f3a2c10-1c2d3e4f-5a6b-4c7d-8e9f-0a1b2c3d4e5f-000000"
AT = "2026-01-01T12:00:03.000Z"
WHOM = {"emailAddress": "ada@example.com"}


def heard(body: bytes | Mapping[str, Any]) -> list[Feedback]:
    return translate(Hook({}, body if isinstance(body, bytes) else json.dumps(body).encode(), NOW))


def mail(**changes: Any) -> dict[str, Any]:
    tags = {"pl_email_id": [str(EMAIL)], "pl_recipient_id": [str(RECIPIENT)], "ses:operation": ["SendEmail"]}
    return {
        "timestamp": "2026-01-01T12:00:00.000Z",
        "messageId": MESSAGE,
        "destination": ["ada@example.com"],
        "tags": tags,
        **changes,
    }


def event(kind: str, part: str, said: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"eventType": kind, "mail": mail(**changes), part: said}


def one(document: Mapping[str, Any]) -> Feedback:
    (only,) = heard(document)
    return only


def wrapped(message: str, **changes: Any) -> dict[str, Any]:
    sns = {"Type": "Notification", "MessageId": "22b80b92", "TopicArn": "arn:aws:sns:eu-west-1:1:t"}
    return {**sns, "Message": message, **changes}


@pytest.mark.parametrize("case", CASES, ids=[Path(case["file"]).stem for case in CASES])
def test_shared_payloads(case: dict[str, Any]) -> None:
    found = heard((HERE / case["file"]).read_bytes())
    assert [plain(each) for each in found] == [expected(each) for each in case["events"]]
    assert len({(key, each.recipient) for each in found for key in each.keys}) == len(found)
    assert found == heard((HERE / case["file"]).read_bytes())


def plain(said: Feedback) -> dict[str, Any]:
    return {
        "type": said.kind.value,
        "email_id": str(said.email_id) if said.email_id else None,
        "recipient_id": str(said.recipient_id) if said.recipient_id else None,
        "smtp_code": said.smtp_status,
        **{name: getattr(said, name) for name in SAME},
    }


def expected(wanted: Mapping[str, Any]) -> dict[str, Any]:
    names = ("type", "email_id", "recipient_id", "smtp_code", *SAME)
    moment = iso_time(wanted["occurred_at"])
    return {**{name: wanted[name] for name in names}, "occurred_at": moment, "machine": bool(wanted["machine"])}


SAME = (
    *("provider_type", "bounce_class", "reason", "recipient", "provider_message_id", "provider_event_id"),
    *("enhanced_status", "url", "terminal", "add_to_suppression", "occurred_at", "machine"),
)


def test_payloads_are_told_apart_by_their_keys() -> None:
    said = [
        (each.keys[0], each.recipient, each.kind)
        for case in CASES
        for each in heard((HERE / case["file"]).read_bytes())
    ]
    deliveries = [key for key, _, kind in said if kind is Kind.DELIVERED]
    assert len(set(deliveries)) == 1  # one delivery, told in the envelope, raw and as a notification
    opened_and_clicked = {key for key, _, kind in said if kind in (Kind.OPENED, Kind.CLICKED, Kind.SENT)}
    assert len(opened_and_clicked) == 3


# Bounces

BOUNCES = [
    ("Permanent", "General", Kind.BOUNCED, "hard", "invalid_address", True, True),
    ("Permanent", "NoEmail", Kind.BOUNCED, "hard", "invalid_address", True, True),
    ("Permanent", "NewlyInvented", Kind.BOUNCED, "hard", None, True, False),
    ("Permanent", "Suppressed", Kind.SUPPRESSED, None, "global_suppression_list", True, True),
    ("Permanent", "OnAccountSuppressionList", Kind.SUPPRESSED, None, "account_suppression_list", True, True),
    ("Permanent", "OnTenantSuppressionList", Kind.SUPPRESSED, None, "tenant_suppression_list", True, True),
    ("Permanent", "EmailValidationSuppressed", Kind.SUPPRESSED, None, "invalid_address", True, True),
    ("Permanent", "UnsubscribedRecipient", Kind.SUPPRESSED, None, "unsubscribe", True, True),
    ("Transient", "General", Kind.BOUNCED, "soft", "general", False, False),
    ("Transient", "NewlyInvented", Kind.BOUNCED, "soft", "general", False, False),
    ("Transient", "MailboxFull", Kind.BOUNCED, "soft", "mailbox_full", True, False),
    ("Transient", "MessageTooLarge", Kind.BOUNCED, "soft", "too_large", True, False),
    ("Transient", "ContentRejected", Kind.BOUNCED, "soft", "content", True, False),
    ("Transient", "AttachmentRejected", Kind.BOUNCED, "soft", "attachment", True, False),
    ("Transient", "CustomTimeoutExceeded", Kind.BOUNCED, "soft", "timeout", True, False),
    ("Undetermined", "Undetermined", Kind.BOUNCED, "undetermined", None, True, False),
    ("NewlyInvented", "Whatever", Kind.BOUNCED, "undetermined", None, True, False),
    (None, None, Kind.BOUNCED, "undetermined", None, True, False),
]


@pytest.mark.parametrize("shape", ["eventType", "notificationType"])
@pytest.mark.parametrize(("kind", "sub_type", "ours", "bounce_class", "reason", "terminal", "suppress"), BOUNCES)
def test_bounces(
    shape: str,
    kind: str | None,
    sub_type: str | None,
    ours: Kind,
    bounce_class: str | None,
    reason: str | None,
    terminal: bool,
    suppress: bool,
) -> None:
    bounce = {"bounceType": kind, "bounceSubType": sub_type, "bouncedRecipients": [WHOM], "timestamp": AT}
    said = one({shape: "Bounce", "mail": mail(), "bounce": bounce})
    assert (said.kind, said.bounce_class, said.reason) == (ours, bounce_class, reason)
    assert (said.terminal, said.add_to_suppression) == (terminal, suppress)
    assert (said.email_id, said.recipient_id, said.recipient) == (EMAIL, RECIPIENT, "ada@example.com")
    assert (said.provider_type, said.occurred_at) == ("Bounce", iso_time(AT))


@pytest.mark.parametrize(
    ("diagnosis", "status", "code", "enhanced"),
    [
        ("smtp; 550 5.1.1 user unknown", "5.1.1", 550, "5.1.1"),
        ("smtp; 550 5.1.1 user unknown", None, 550, "5.1.1"),
        ("smtp; 550-5.7.1 [192.0.2.1] no", "5.7.1", 550, "5.7.1"),
        ("smtp; 552 full", "5.2.2", 552, "5.2.2"),
        ("smtp; 5.1.0 - Unknown address error 550", "5.1.0", None, "5.1.0"),
        ("Amazon SES did not send the message", "5.3.0 (other)", None, "5.3.0"),
        ("55012345", "failed", None, None),
        (None, None, None, None),
    ],
)
def test_smtp_statuses(diagnosis: str | None, status: str | None, code: int | None, enhanced: str | None) -> None:
    whom = {"emailAddress": "Ada <ada@example.com>", "status": status, "diagnosticCode": diagnosis}
    said = one(event("Bounce", "bounce", {"bounceType": "Permanent", "bouncedRecipients": [whom]}))
    assert (said.smtp_status, said.enhanced_status, said.words) == (code, enhanced, diagnosis or "")
    assert said.recipient == "ada@example.com"


# Complaints

COMPLAINTS = [
    (None, "abuse", Kind.COMPLAINED, "abuse", True),
    (None, "auth-failure", Kind.COMPLAINED, "auth-failure", True),
    (None, "fraud", Kind.COMPLAINED, "fraud", True),
    (None, "other", Kind.COMPLAINED, "other", True),
    (None, "virus", Kind.COMPLAINED, "virus", True),
    (None, None, Kind.COMPLAINED, None, True),
    (None, "newly-invented", Kind.COMPLAINED, None, True),
    (None, "not-spam", Kind.IGNORED, "not-spam", False),
    ("OnAccountSuppressionList", None, Kind.SUPPRESSED, "account_suppression_list", True),
]


@pytest.mark.parametrize(("sub_type", "feedback", "ours", "reason", "suppress"), COMPLAINTS)
def test_complaints(sub_type: str | None, feedback: str | None, ours: Kind, reason: str | None, suppress: bool) -> None:
    part = {"complaintSubType": sub_type, "complaintFeedbackType": feedback, "complainedRecipients": [WHOM]}
    said = one(event("Complaint", "complaint", {**part, "timestamp": AT}))
    assert (said.kind, said.reason, said.add_to_suppression, said.terminal) == (ours, reason, suppress, suppress)
    assert (said.recipient, said.occurred_at) == ("ada@example.com", iso_time(AT))


def test_a_complaint_that_lists_several_names_nobody() -> None:
    """SES lists everybody at the complainer's domain."""
    both = {"complainedRecipients": [WHOM, {"emailAddress": "eve@example.com"}], "complaintFeedbackType": "abuse"}
    said = one(event("Complaint", "complaint", both, destination=["ada@example.com", "eve@example.com"]))
    assert (said.kind, said.recipient, said.recipient_id, said.email_id) == (Kind.COMPLAINED, None, None, EMAIL)


def test_a_suppressed_list_names_each() -> None:
    both = {"complainedRecipients": [WHOM, {"emailAddress": "eve@example.com"}]}
    part = {**both, "complaintSubType": "OnAccountSuppressionList"}
    assert [said.recipient for said in heard(event("Complaint", "complaint", part))] == [
        "ada@example.com",
        "eve@example.com",
    ]


# The rest

DELAYS = {
    "InternalFailure": "internal",
    "General": "general",
    "MailboxFull": "mailbox_full",
    "SpamDetected": "spam_content",
    "RecipientServerError": "recipient_server",
    "IPFailure": "reputation",
    "TransientCommunicationFailure": "connection",
    "BYOIPHostNameLookupUnavailable": "dns",
    "Undetermined": None,
    "SendingDeferral": "sending_deferral",
    "NewlyInvented": None,
}


@pytest.mark.parametrize(("delay", "reason"), DELAYS.items())
def test_delays(delay: str, reason: str | None) -> None:
    whom = {**WHOM, "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host"}
    part = {"delayType": delay, "delayedRecipients": [whom], "expirationTime": AT, "timestamp": AT}
    said = one(event("DeliveryDelay", "deliveryDelay", part))
    assert (said.kind, said.reason, said.terminal, said.add_to_suppression) == (Kind.DEFERRED, reason, False, False)
    assert (said.smtp_status, said.enhanced_status, said.recipient) == (421, "4.4.1", "ada@example.com")


ODD: list[tuple[str, str, dict[str, Any], Kind, str | None, bool, str]] = [
    ("Reject", "reject", {"reason": "Bad content"}, Kind.REJECTED, "virus", True, "Bad content"),
    ("Reject", "reject", {"reason": "Other"}, Kind.REJECTED, None, True, "Other"),
    (
        "Rendering Failure",
        "failure",
        {"errorMessage": "x is missing"},
        Kind.REJECTED,
        "rendering",
        True,
        "x is missing",
    ),
    ("Send", "send", {}, Kind.SENT, None, False, ""),
    ("Open", "open", {"timestamp": AT}, Kind.OPENED, None, False, ""),
    ("Click", "click", {"timestamp": AT, "link": "https://e.example"}, Kind.CLICKED, None, False, ""),
    ("NewlyInvented", "newlyInvented", {"timestamp": AT}, Kind.IGNORED, None, False, ""),
    ("AmazonSnsSubscriptionSucceeded", "x", {}, Kind.IGNORED, None, False, ""),
]


@pytest.mark.parametrize(("kind", "part", "said", "ours", "reason", "terminal", "words"), ODD)
def test_what_names_no_recipient_is_about_the_only_one(
    kind: str, part: str, said: dict[str, Any], ours: Kind, reason: str | None, terminal: bool, words: str
) -> None:
    found = one(event(kind, part, said))
    assert (found.kind, found.reason, found.terminal, found.words) == (ours, reason, terminal, words)
    assert (found.provider_type, found.provider_message_id) == (kind, MESSAGE)
    assert (found.recipient, found.recipient_id, found.email_id) == ("ada@example.com", RECIPIENT, EMAIL)
    assert found.occurred_at is not None
    several = one(event(kind, part, said, destination=["ada@example.com", "eve@example.com"]))
    assert (several.recipient, several.recipient_id, several.email_id) == (None, None, EMAIL)
    assert several.provider_message_id == MESSAGE


def preferences(everything: bool, **topics: str) -> dict[str, Any]:
    status = [{"topicName": name, "subscriptionStatus": value} for name, value in topics.items()]
    return {"unsubscribeAll": everything, "topicSubscriptionStatus": status}


@pytest.mark.parametrize(
    ("new", "old", "ours", "suppress"),
    [
        (preferences(True), preferences(False), Kind.UNSUBSCRIBED, True),
        (preferences(False), preferences(True), Kind.RESUBSCRIBED, False),
        (preferences(False, news="OptOut"), preferences(False, news="OptIn"), Kind.UNSUBSCRIBED, False),
        (preferences(False, a="OptOut", b="OptIn"), preferences(False, a="OptOut"), Kind.RESUBSCRIBED, False),
    ],
)
def test_subscriptions(new: dict[str, Any], old: dict[str, Any], ours: Kind, suppress: bool) -> None:
    part = {"contactList": "news", "timestamp": AT, "newTopicPreferences": new, "oldTopicPreferences": old}
    said = one(event("Subscription", "subscription", part))
    assert (said.kind, said.add_to_suppression, said.scope, said.terminal) == (ours, suppress, "list:news", False)


def test_every_row_of_the_table_is_tried_above() -> None:
    tried = {f"bounce/{kind}/{sub}".lower() for kind, sub, *_ in BOUNCES}
    tried |= {f"complaint/{sub or feedback}".lower() for sub, feedback, *_ in COMPLAINTS}
    tried |= {f"deliverydelay/{delay}".lower() for delay in DELAYS}
    tried |= {kind.lower() for kind, *_ in ODD} | {"reject/bad content"}
    tried |= {"delivery", "bounce", "bounce/undetermined", "bounce/permanent", "bounce/transient"}
    tried |= {"complaint", "deliverydelay", "subscription", "subscription/all", "subscription/topic"}
    assert not set(FEEDBACK) - tried


def test_apples_proxy_is_no_person() -> None:
    assert one(event("Open", "open", {"userAgent": "Mozilla/5.0", "timestamp": AT})).machine
    assert not one(event("Open", "open", {"userAgent": "Mozilla/5.0 (X11)", "timestamp": AT})).machine


def test_our_ids_also_come_in_headers() -> None:
    headers = [
        {"name": "x-postledger-EMAIL-id", "value": str(EMAIL)},
        {"name": "X-Postledger-Recipient-Id", "value": str(RECIPIENT)},
    ]
    said = one(event("Delivery", "delivery", {"recipients": ["ada@example.com"]}, tags=None, headers=headers))
    assert (said.email_id, said.recipient_id) == (EMAIL, RECIPIENT)
    said = one(event("Delivery", "delivery", {"recipients": ["ada@example.com"]}, tags={"pl_email_id": ["forged"]}))
    assert (said.email_id, said.recipient_id) == (None, None)


def test_keys_tell_statements_apart_and_hide_whom_they_are_about() -> None:
    click = {"timestamp": AT, "link": "https://e.example/a"}
    said = [
        one(event("Click", "click", click)),
        one(event("Click", "click", {**click, "link": "https://e.example/b"})),
        one(event("Click", "click", {**click, "timestamp": "2026-01-01T12:00:04.000Z"})),
        one(event("Click", "click", click, messageId="other")),
        one(event("Open", "open", {"timestamp": AT})),
    ]
    assert len({each.keys for each in said}) == len(said)
    assert one(wrapped(json.dumps(event("Click", "click", click)))).keys == said[0].keys  # published twice
    assert "example" not in repr([each.keys for each in said])


def test_what_is_no_event() -> None:
    assert heard(wrapped("Successfully validated SNS topic for Amazon SES event publishing.")) == []
    assert heard(b"Successfully validated SNS topic for Amazon SES event publishing.") == []
    assert heard(wrapped("x", Type="SubscriptionConfirmation")) == []
    for nothing in (b"", b"\xff\xfe", b"[]", b"null", b"hello", b"{", json.dumps(wrapped("hello")).encode()):
        (said,) = heard(nothing)
        assert (said.kind, said.provider_type) == (Kind.IGNORED, "unreadable")
    assert one({}).provider_type == "unknown"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
TYPES = [
    "Bounce",
    "Delivery",
    "Complaint",
    "Send",
    "Open",
    "Click",
    "Rendering Failure",
    "DeliveryDelay",
    "Subscription",
]
PARTS = ["bounce", "delivery", "complaint", "open", "click", "failure", "deliveryDelay", "subscription"]
FIELDS = ["bouncedRecipients", "recipients", "complainedRecipients", "delayedRecipients", "timestamp", "bounceType"]
MORE = ["newTopicPreferences", "link", "userAgent", "smtpResponse", "contactList", "oldTopicPreferences", "reason"]


@given(st.binary())
def test_any_bytes_are_taken(body: bytes) -> None:
    assert all(isinstance(said, Feedback) for said in heard(body))


@given(JSON)
def test_any_json_is_taken(document: Any) -> None:
    heard(json.dumps(document).encode())
    heard(json.dumps(wrapped(json.dumps(document))).encode())


@given(
    st.sampled_from(TYPES) | JSON,
    st.dictionaries(st.sampled_from(["messageId", "timestamp", "destination", "tags", "headers"]), JSON) | JSON,
    st.dictionaries(st.sampled_from(PARTS), st.dictionaries(st.sampled_from(FIELDS + MORE), JSON) | JSON),
)
def test_any_event_is_taken(kind: Any, about: Any, parts: dict[str, Any]) -> None:
    for said in heard(json.dumps({"eventType": kind, "mail": about, **parts}).encode()):
        assert said.keys
        hash(said)
