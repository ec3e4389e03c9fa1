"""Resend's webhooks: which are believed, and what they say."""

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from resend.webhooks._webhook import WebhookEvent
from svix.webhooks import Webhook, WebhookVerificationError

from application.errors import Untrusted
from application.ports import Hook
from domain.feedback import Feedback, Kind
from infrastructure.providers.resend import ResendProvider
from infrastructure.providers.resend_webhooks import FEEDBACK, WebhookKey, translate, verify
from tests.mail import NOW
from tests.providers.rigs.resend import settings

HERE = Path(__file__).parent
PAYLOADS = HERE / "payloads" / "resend"
NORMAL: list[dict[str, Any]] = json.loads((HERE / "vectors" / "resend_normalization.json").read_text())["cases"]
SIGNED: list[dict[str, Any]] = [
    case
    for name in ("resend_svix_signature", "standard_webhooks_official")
    for case in json.loads((HERE / "vectors" / f"{name}.json").read_text())["cases"]
]
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"  # noqa: S105 - of the vectors
KEY = WebhookKey.parse(SECRET)
OTHER = WebhookKey.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
EVENT_ID = "msg_2W2D3qXLS5fOaPja1GDg7rF2CwB"
EMAIL, RECIPIENT = UUID("0b6f3c1e-6c1a-4a53-9d0e-3a4a6f1f9b01"), UUID("8b7d2a6e-92c4-4a0e-8a53-0d9f5a1c7e11")
MESSAGE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def hook(body: bytes, headers: Mapping[str, str] | None = None) -> Hook:
    return Hook({name.lower(): value for name, value in (headers or {}).items()}, body, NOW)


def signed(
    body: bytes = b'{"type":"email.sent"}', at: datetime = NOW, family: str = "svix", id: str = EVENT_ID
) -> Hook:
    """As Svix's own library signs it."""
    signature = Webhook(SECRET).sign(id, at, body.decode())
    timestamp = str(int(at.timestamp()))
    return hook(body, {f"{family}-id": id, f"{family}-timestamp": timestamp, f"{family}-signature": signature})


def with_headers(said: Hook, **headers: str | None) -> Hook:
    """`id`, `timestamp`, `signature` of the family svix; None takes one away."""
    changed = {**said.headers, **{f"svix-{name}": value for name, value in headers.items()}}
    return replace(said, headers={name: value for name, value in changed.items() if value is not None})


def reason(said: Hook, keys: Iterable[WebhookKey] = (KEY,), now: datetime = NOW) -> str:
    """Why it is not believed."""
    with pytest.raises(Untrusted) as caught:
        verify(said, tuple(keys), now)
    return caught.value.reason


# --- Signatures

_BECAUSE = {
    "invalid": {"bad_signature", "missing_header", "malformed"},
    "stale": {"stale"},
}


@pytest.mark.parametrize("case", SIGNED, ids=[case["id"] for case in SIGNED])
def test_vectors(case: dict[str, Any]) -> None:
    said = hook(base64.b64decode(case["body_b64"]), case["headers"])
    keys, now = [WebhookKey.parse(text) for text in case["keys"]], datetime.fromtimestamp(case["now"], UTC)
    if case["expect"] == "valid":
        assert verify(said, keys, now) in case["headers"].values()
    else:
        assert reason(said, keys, now) in _BECAUSE[case["expect"]]


@given(st.text(min_size=1), st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), st.sampled_from(["svix", "webhook"]))
def test_what_svix_signs_is_believed(text: str, id: str, family: str) -> None:
    said = signed(text.encode(), id=id, family=family)
    assert verify(said, [KEY], NOW) == id
    assert verify(said, [OTHER, KEY], NOW) == id
    assert reason(said, [OTHER]) == "bad_signature"


def test_svix_believes_what_we_believe() -> None:
    now = datetime.now(UTC)
    said = signed(b'{"type":"email.sent","data":{"subject":"Za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87"}}', now)
    Webhook(SECRET).verify(said.body, dict(said.headers))
    assert verify(said, [KEY], now) == EVENT_ID
    forged = replace(said, body=said.body + b" ")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(forged.body, dict(forged.headers))
    assert reason(forged, now=now) == "bad_signature"


def test_both_keys_of_a_rotation_are_good() -> None:
    said = signed()
    new = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").sign(EVENT_ID, NOW, said.body.decode())
    both = with_headers(said, signature=f"{new} {said.headers['svix-signature']}")
    assert verify(both, [KEY], NOW) == verify(both, [OTHER], NOW) == EVENT_ID


def test_a_pair_of_keys_signs_as_well() -> None:
    pair = Ed25519PrivateKey.generate()
    public = WebhookKey.parse("whpk_" + base64.b64encode(pair.public_key().public_bytes_raw()).decode())
    said = signed()
    content = f"{EVENT_ID}.{said.headers['svix-timestamp']}.".encode() + said.body
    signature = base64.b64encode(pair.sign(content)).decode()
    assert verify(with_headers(said, signature=f"v1a,{signature}"), [public], NOW) == EVENT_ID
    assert verify(said, [public, KEY], NOW) == EVENT_ID
    assert reason(with_headers(said, signature=f"v1,{signature}"), [public, KEY]) == "bad_signature"
    twin = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="  # other text, same bytes
    assert base64.b64decode(twin) == base64.b64decode(signature)
    for broken in (twin, "", "***", "AAAA", "ż", signature[:-2], base64.b64encode(pair.sign(b"other")).decode()):
        assert reason(with_headers(said, signature=f"v1a,{broken}"), [public]) == "bad_signature"


def test_a_secret_is_no_public_key() -> None:
    said = signed()
    signature = said.headers["svix-signature"].removeprefix("v1,")
    assert reason(with_headers(said, signature=f"v1a,{signature}")) == "bad_signature"


@pytest.mark.parametrize("seconds", [-300, -1, 0, 299, 300])
def test_a_delivery_is_fresh_for_five_minutes(seconds: int) -> None:
    assert verify(signed(), [KEY], NOW + timedelta(seconds=seconds)) == EVENT_ID


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_an_older_delivery_is_stale(seconds: int) -> None:
    assert reason(signed(), now=NOW + timedelta(seconds=seconds)) == "stale"


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_every_header_is_needed(name: str) -> None:
    assert reason(with_headers(signed(), **{name: None})) == "missing_header"
    assert reason(with_headers(signed(), **{name: ""})) == "missing_header"


def test_headers_of_two_families_are_never_mixed() -> None:
    said, other = signed(), signed(family="webhook")
    for name in ("id", "timestamp", "signature"):
        without = with_headers(said, **{name: None})
        borrowed = replace(without, headers={**without.headers, f"webhook-{name}": other.headers[f"webhook-{name}"]})
        assert reason(borrowed) == "missing_header"
    assert verify(replace(said, headers={**other.headers, **said.headers}), [KEY], NOW) == EVENT_ID
    # An id that nobody signed must not pass for a new event.
    unsigned = replace(other, headers={**other.headers, "svix-id": "msg_another"})
    assert reason(unsigned) == "missing_header"


@pytest.mark.parametrize(
    "headers",
    [
        *[{"id": id} for id in ("msg.1", "msg 1", "msg_ż", "msg\n1", "x" * 201)],
        *[{"timestamp": text} for text in ("soon", "1e9", "-1", " 1767225600", "١٢٣", "1767225600.0", "9" * 13)],
    ],
)
def test_headers_that_make_no_sense(headers: dict[str, str]) -> None:
    assert reason(with_headers(signed(), **headers)) == "malformed"


def test_without_a_key_nothing_is_believed() -> None:
    assert reason(signed(), []) == "no_key"


def test_only_so_many_signatures_are_looked_at() -> None:
    said = signed()
    many = " ".join(["v1,AAAA"] * 20)
    assert reason(with_headers(said, signature=f"{many} {said.headers['svix-signature']}")) == "bad_signature"


@given(st.data())
def test_no_changed_byte_is_believed(data: st.DataObject) -> None:
    said = signed(b'{"type":"email.delivered","data":{"email_id":"x"}}')
    part = data.draw(st.sampled_from(["body", "id", "timestamp", "signature"]))
    whole = said.body if part == "body" else said.headers[f"svix-{part}"].encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
    changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
    changes = {} if part == "body" else {part: changed.decode("latin-1")}
    forged = replace(with_headers(said, **changes), body=changed if part == "body" else said.body)
    assert reason(forged) in {"bad_signature", "malformed", "missing_header", "stale"}


@given(
    st.dictionaries(
        st.sampled_from(
            [f"{family}-{part}" for family in ("svix", "webhook") for part in ("id", "timestamp", "signature")]
        ),
        st.text() | st.sampled_from([EVENT_ID, "1772366400", "v1,AAAA", "v1a,AAAA", "v1,\ud800"]),
    ),
    st.binary(),
)
def test_nothing_but_untrusted_is_raised(headers: dict[str, str], body: bytes) -> None:
    public = WebhookKey.parse("whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
    assert reason(hook(body, headers), [KEY, public])


def test_the_provider_verifies_with_its_keys_and_clock() -> None:
    async def run() -> None:
        provider = ResendProvider("resend", settings("127.0.0.1:1", f"&webhook_key={SECRET}"), lambda: NOW)
        assert await provider.verify(signed()) == EVENT_ID
        with pytest.raises(Untrusted):
            await provider.verify(signed(at=NOW - timedelta(hours=1)))
        assert [said.kind for said in provider.translate(signed())] == [Kind.SENT]
        await provider.follow_up(signed())

    asyncio.run(run())


# --- Feedback


def said(type: str, data: object = None, **top: object) -> Feedback:
    """What an event of this type says."""
    body = json.dumps({"type": type, "created_at": "2026-01-01T12:00:04.000Z", "data": data, **top}).encode()
    (feedback,) = translate(hook(body, {"svix-id": EVENT_ID}))
    return feedback


def about(**more: object) -> dict[str, object]:
    """The data of an event about our email to one recipient."""
    tags = {"pl_email_id": str(EMAIL), "pl_recipient_id": str(RECIPIENT)}
    return {"email_id": MESSAGE, "from": "a@b.example", "to": ["ada@example.com"], "tags": tags, **more}


def bounced(type: str | None = None, subtype: str | None = None, **more: object) -> Feedback:
    return said("email.bounced", about(bounce={"type": type, "subType": subtype, **more}))


def test_every_event_we_know_is_one_of_the_official_client_s() -> None:
    assert set(FEEDBACK) <= set(get_args(WebhookEvent))


def test_every_payload_has_its_vector() -> None:
    assert {Path(case["file"]).name for case in NORMAL} == {path.name for path in PAYLOADS.iterdir()}


@pytest.mark.parametrize("case", NORMAL, ids=[Path(case["file"]).stem for case in NORMAL])
def test_payloads_say_what_the_contract_says(case: dict[str, Any]) -> None:
    body = (PAYLOADS / Path(case["file"]).name).read_bytes()
    (feedback,), (expected,) = translate(hook(body, case["headers"])), case["events"]
    assert {
        "type": feedback.kind,
        "provider_type": feedback.provider_type,
        "bounce_class": feedback.bounce_class,
        "reason": feedback.reason,
        "recipient": feedback.recipient,
        "email_id": feedback.email_id and str(feedback.email_id),
        "recipient_id": feedback.recipient_id and str(feedback.recipient_id),
        "provider_message_id": feedback.provider_message_id,
        "provider_event_id": feedback.provider_event_id,
        "dedupe_key": feedback.keys[0],
        "occurred_at": feedback.occurred_at,
        "smtp_code": feedback.smtp_status,
        "enhanced_status": feedback.enhanced_status,
        "machine": feedback.machine,
        "url": feedback.url,
        "terminal": feedback.terminal,
        "add_to_suppression": feedback.add_to_suppression,
    } == {
        **{name: value for name, value in expected.items() if name != "anymail_event_type"},
        "occurred_at": datetime.fromisoformat(expected["occurred_at"]),
        "machine": bool(expected["machine"]),
    }


@pytest.mark.parametrize(
    ("type", "kind", "terminal"),
    [
        ("email.scheduled", Kind.ACCEPTED, False),
        ("email.sent", Kind.SENT, False),
        ("email.delivered", Kind.DELIVERED, False),
        ("email.delivery_delayed", Kind.DEFERRED, False),
        ("email.complained", Kind.COMPLAINED, True),
        ("email.failed", Kind.REJECTED, True),
        ("email.suppressed", Kind.SUPPRESSED, True),
        ("email.opened", Kind.OPENED, False),
        ("email.clicked", Kind.CLICKED, False),
    ],
)
def test_every_event_about_an_email(type: str, kind: Kind, terminal: bool) -> None:
    feedback = said(type, about())
    assert (feedback.kind, feedback.provider_type, feedback.terminal) == (kind, type, terminal)
    assert (feedback.email_id, feedback.recipient_id) == (EMAIL, RECIPIENT)
    assert (feedback.recipient, feedback.provider_message_id) == ("ada@example.com", MESSAGE)
    assert (feedback.provider_event_id, feedback.keys) == (EVENT_ID, (EVENT_ID,))
    assert feedback.occurred_at == datetime(2026, 1, 1, 12, 0, 4, tzinfo=UTC)
    assert (feedback.machine, feedback.bounce_class, feedback.scope) == (False, None, None)
    assert feedback.add_to_suppression == (kind in (Kind.COMPLAINED, Kind.SUPPRESSED))


@pytest.mark.parametrize(
    "type",
    [
        *("email.received", "contact.created", "contact.updated", "contact.deleted", "contact.topics.updated"),
        *(
            "suppression.removed",
            "topic.created",
            "inbox.email.received",
            "email.brand_new",
            "brand_new",
            "email.",
            "é",
        ),
    ],
)
def test_events_that_say_nothing_about_a_delivery(type: str) -> None:
    feedback = said(type, about(email="ada@example.com"))
    assert (feedback.kind, feedback.provider_type) == (Kind.IGNORED, type)
    assert (feedback.recipient, feedback.email_id, feedback.provider_message_id) == (None, None, None)
    assert feedback.add_to_suppression is False


@pytest.mark.parametrize("type", ["domain.created", "domain.updated", "domain.deleted"])
def test_events_about_our_domain(type: str) -> None:
    feedback = said(type, {"id": "x", "name": "mail.example.com", "status": "failed"})
    assert (feedback.kind, feedback.provider_type, feedback.recipient) == (Kind.PROVIDER_ACCOUNT, type, None)


@pytest.mark.parametrize("origin", ["bounce", "complaint", "manual"])
def test_an_address_on_the_suppression_list(origin: str) -> None:
    """In the Python SDK's types, and Resend's page about suppression.added."""
    data = {"id": "x", "email": "ada@example.com", "origin": origin, "source_id": MESSAGE}
    feedback = said("suppression.added", data)
    assert (feedback.kind, feedback.recipient, feedback.reason) == (Kind.SUPPRESSION_ADDED, "ada@example.com", origin)
    assert (feedback.add_to_suppression, feedback.terminal, feedback.provider_message_id) == (True, False, None)


@pytest.mark.parametrize(
    ("type", "subtype", "bounce_class", "reason", "terminal", "add"),
    [
        ("Permanent", "General", "hard", "invalid_address", True, True),
        ("Permanent", "NoEmail", "hard", "invalid_address", True, True),
        ("Permanent", None, "hard", "invalid_address", True, True),
        ("Permanent", "ContentRejected", "hard", "content", True, False),
        ("Permanent", "MessageRejected", "hard", "blocked", True, False),
        ("Permanent", "BrandNew", "hard", None, True, False),
        ("Transient", "General", "soft", "general", False, False),  # perhaps an out-of-office reply
        ("Transient", None, "soft", "general", False, False),
        ("Transient", "MailboxFull", "soft", "mailbox_full", True, False),
        ("Transient", "MessageTooLarge", "soft", "too_large", True, False),
        ("Transient", "ContentRejected", "soft", "content", True, False),
        ("Transient", "AttachmentRejected", "soft", "content", True, False),
        ("Transient", "CustomTimeoutExceeded", "soft", "timeout", True, False),
        ("Transient", "NoEmail", "soft", "invalid_address", True, False),
        ("Transient", "BrandNew", "soft", None, True, False),
        ("Temporary", "MailboxFull", "soft", "mailbox_full", True, False),  # the Python SDK's word
        ("Undetermined", "Undetermined", "undetermined", None, True, False),
        ("BrandNew", "General", "undetermined", None, True, False),
        (None, None, "undetermined", None, True, False),
    ],
)
def test_bounces(
    type: str | None, subtype: str | None, bounce_class: str, reason: str | None, terminal: bool, add: bool
) -> None:
    feedback = bounced(type, subtype, message="It bounced.")
    assert (feedback.kind, feedback.bounce_class, feedback.reason) == (Kind.BOUNCED, bounce_class, reason)
    assert (feedback.terminal, feedback.add_to_suppression) == (terminal, add)
    assert feedback.words == "It bounced."


@pytest.mark.parametrize(
    ("subtype", "message", "reason"),
    [
        ("Suppressed", "", "suppression_list"),
        ("OnAccountSuppressionList", "", "account_suppression_list"),
        ("OnTenantSuppressionList", "", "account_suppression_list"),
        ("EmailValidationSuppressed", "", "invalid_address"),
        ("UnsubscribedRecipient", "", "unsubscribe"),
        (None, "Resend has suppressed sending to this address.", "account_suppression_list"),
        ("General", "We SUPPRESSED SENDING to it.", "account_suppression_list"),
    ],
)
def test_a_bounce_of_a_suppressed_address_is_none(subtype: str | None, message: str, reason: str) -> None:
    feedback = bounced("Permanent", subtype, message=message)
    assert (feedback.kind, feedback.bounce_class, feedback.reason) == (Kind.SUPPRESSED, None, reason)
    assert (feedback.terminal, feedback.add_to_suppression, feedback.provider_type) == (True, True, "email.bounced")


@pytest.mark.parametrize(
    ("suppressed", "reason"),
    [
        ({"type": "OnAccountSuppressionList", "reason": "previous_bounce"}, "bounce"),
        ({"type": "OnAccountSuppressionList", "reason": "previous_complaint"}, "complaint"),
        ({"type": "Suppressed", "reason": "previous_bounce"}, "bounce"),
        ({"type": "OnAccountSuppressionList"}, "account_suppression_list"),
        ({"type": "Suppressed"}, "suppression_list"),
        ({"type": "Suppressed", "reason": "brand_new"}, "suppression_list"),
        ({}, "suppression_list"),
        (None, "suppression_list"),
    ],
)
def test_why_an_address_is_suppressed(suppressed: object, reason: str) -> None:
    feedback = said("email.suppressed", about(suppressed=suppressed))
    assert (feedback.kind, feedback.reason) == (Kind.SUPPRESSED, reason)
    assert (feedback.terminal, feedback.add_to_suppression) == (True, True)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("reached_daily_quota", "quota"),
        ("reached_monthly_quota", "quota"),
        ("domain_not_verified", "domain_not_verified"),
        ("The domain is not verified.", None),
        (None, None),
    ],
)
def test_why_an_email_failed(word: str | None, reason: str | None) -> None:
    feedback = said("email.failed", about(failed={"reason": word}))
    assert (feedback.kind, feedback.reason, feedback.terminal) == (Kind.REJECTED, reason, True)
    assert feedback.add_to_suppression is False


@pytest.mark.parametrize(
    ("codes", "smtp_status", "enhanced_status"),
    [
        (["smtp; 550 5.1.1 user unknown"], 550, "5.1.1"),
        (["smtp;550-5.7.26 Unauthenticated"], 550, "5.7.26"),
        (["552 5.2.2 Mailbox full"], 552, "5.2.2"),
        (["SMTP; 554 delivery error: dd This user has no account"], 554, None),
        (["x-unix; host mx.example.com said: 450 4.2.1 try later"], 450, "4.2.1"),
        (["Amazon SES did not send this: 5.1.1."], None, "5.1.1"),
        (["no numbers", "smtp; 421 4.4.2 timeout"], 421, "4.4.2"),
        ("smtp; 550 5.1.1 user unknown", 550, "5.1.1"),  # a text in the Python SDK's types
        (["connection to 203.0.113.250 after 500 tries, 192.5.1.10"], None, None),
        (["smtp; 2٣٤ 5.٣.1"], None, None),
        ([], None, None),
        ([None, 7, {}, "\0"], None, None),
        (None, None, None),
        ({"smtp": 550}, None, None),
    ],
)
def test_what_the_receiving_server_said(codes: object, smtp_status: int | None, enhanced_status: str | None) -> None:
    feedback = bounced("Permanent", "General", diagnosticCode=codes, message="It bounced.")
    assert (feedback.smtp_status, feedback.enhanced_status) == (smtp_status, enhanced_status)
    assert feedback.words


def test_its_words_are_kept() -> None:
    feedback = bounced(
        "Permanent", "General", diagnosticCode=["smtp; 550 no", "smtp; 554 really"], message="It bounced."
    )
    assert feedback.words == "smtp; 550 no smtp; 554 really"
    assert len(bounced("Permanent", "General", diagnosticCode=["x" * 999] * 9).words) == 1000


@pytest.mark.parametrize(
    "addressed",
    [
        {"to": ["ada@example.com", "bob@example.com"]},
        {"cc": ["bob@example.com"]},
        {"bcc": ["bob@example.com"]},
        {"to": []},
        {"to": None},
        {"to": {"ada@example.com": 1}},
    ],
)
@pytest.mark.parametrize(
    "type", ["email.opened", "email.clicked", "email.complained", "email.delivered", "email.bounced"]
)
def test_it_is_never_guessed_whom_it_is_about(type: str, addressed: dict[str, object]) -> None:
    data = about(**addressed, tags={"pl_email_id": str(EMAIL)})
    feedback = said(type, data)
    assert (feedback.recipient, feedback.recipient_id) == (None, None)
    assert (feedback.email_id, feedback.provider_message_id) == (EMAIL, MESSAGE)


@pytest.mark.parametrize("to", [["Ada <ada@example.com>"], "ada@example.com", ["ada@example.com"]])
def test_the_only_one_addressed_is_meant(to: object) -> None:
    assert said("email.opened", about(to=to)).recipient == "ada@example.com"


def test_a_click_says_where_to() -> None:
    assert said("email.clicked", about(click={"link": "https://example.com/?a=1"})).url == "https://example.com/?a=1"
    assert said("email.clicked", about(click={"link": 7 * "x"})).url == "xxxxxxx"
    assert said("email.clicked", about(click=None)).url is None


@pytest.mark.parametrize("tags", [None, [], [{"name": "pl_email_id", "value": str(EMAIL)}], {"pl_email_id": 7}, "x"])
def test_without_our_tags_there_is_the_message_id(tags: object) -> None:
    feedback = said("email.delivered", about(tags=tags))
    assert (feedback.email_id, feedback.recipient_id, feedback.provider_message_id) == (None, None, MESSAGE)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"\xff\xfe", b"[]", b"7", b"null", b"{}", b'{"type": 7.5}', b"{" * 5000]
)
def test_what_cannot_be_read_is_ignored(body: bytes) -> None:
    (feedback,) = translate(hook(body))
    assert (feedback.kind, feedback.provider_type) == (Kind.IGNORED, "unreadable")
    assert feedback.keys
    assert feedback.provider_event_id is None


def test_an_event_has_one_key_however_often_it_comes() -> None:
    body = (PAYLOADS / "email_delivered.json").read_bytes()
    first, again = (signed(body, NOW + timedelta(seconds=n)) for n in (0, 5))
    assert [f.keys for f in translate(first)] == [f.keys for f in translate(again)] == [(EVENT_ID,)]
    assert [f.keys for f in translate(signed(body, family="webhook"))] == [(EVENT_ID,)]
    assert [f.keys for f in translate(signed(body, id="msg_another"))] == [("msg_another",)]
    unnamed, other = translate(hook(body)), translate(hook(body + b" "))
    assert unnamed[0].keys == translate(hook(body))[0].keys != other[0].keys
    assert "ada" not in unnamed[0].keys[0]


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Permanent", "Suppressed"])
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = ("email_id", "to", "cc", "tags", "bounce", "suppressed", "failed", "click", "email", "origin")
_INNER = ("type", "subType", "message", "diagnosticCode", "reason", "link", "pl_email_id", "pl_recipient_id")
_TYPES = ("email.bounced", "email.suppressed", "email.failed", "email.clicked", "email.complained", "suppression.added")
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(_TYPES) | _JSON},
    optional={
        "created_at": _JSON,
        "data": _JSON
        | st.dictionaries(
            st.sampled_from(_FIELDS), _JSON | st.dictionaries(st.sampled_from(_INNER), _JSON, max_size=5), max_size=6
        ),
    },
)


@given(_EVENTS | _JSON, st.dictionaries(st.sampled_from(["svix-id", "webhook-id", "svix-timestamp"]), st.text()))
def test_any_json_can_be_translated(document: object, headers: dict[str, str]) -> None:
    (feedback,) = translate(hook(json.dumps(document).encode(), headers))
    assert feedback.keys
    assert len(feedback.words) <= 1000
    assert len(feedback.provider_type) <= 100


@given(st.binary())
def test_any_bytes_can_be_translated(body: bytes) -> None:
    assert len(translate(hook(body))) == 1
