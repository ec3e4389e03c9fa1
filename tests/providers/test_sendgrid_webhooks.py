"""SendGrid's Event Webhook: whom it believes, and what its events mean."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook

from application.errors import Untrusted
from application.ports import Hook
from domain.feedback import Feedback, Kind
from infrastructure.providers.sendgrid import FEEDBACK, SendGridProvider, SendGridSettings
from infrastructure.providers.sendgrid_webhooks import message_id, translate, verification_key, verify
from tests.mail import EMAIL_ID, NOW
from tests.providers.http_stub import HttpStub
from tests.providers.rigs.sendgrid import provider_at

HERE = Path(__file__).parent
SIGNED = json.loads((HERE / "vectors" / "sendgrid_signature.json").read_text())
OFFICIAL = json.loads((HERE / "vectors" / "sendgrid_official.json").read_text())["cases"]
NORMAL = json.loads((HERE / "vectors" / "sendgrid_normalization.json").read_text())["cases"]
SIGNATURE, TIMESTAMP = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"

PRIVATE = ec.derive_private_key(0x5EED, ec.SECP256R1())
OTHER = ec.derive_private_key(0xBAD, ec.SECP256R1())
BODY = b'[{"event":"open","email":"ada@example.com"},\r\n{"event":"processed"}]\r\n'


def spki(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def signed(body: bytes = BODY, at: datetime = NOW, key: ec.EllipticCurvePrivateKey = PRIVATE) -> Hook:
    seconds = str(int(at.timestamp()))
    signature = b64encode(key.sign(seconds.encode() + body, ec.ECDSA(SHA256()))).decode()
    return Hook({SIGNATURE: signature, TIMESTAMP: seconds}, body, NOW)


def reason_for(hook: Hook, *keys: ec.EllipticCurvePublicKey, now: datetime = NOW) -> str | None:
    """Why it is not believed; None when it is."""
    try:
        verify(hook, keys, now)
    except Untrusted as untrusted:
        return untrusted.reason
    return None


GENUINE = signed()
KEY = PRIVATE.public_key()


def hook_of(case: Mapping[str, Any]) -> Hook:
    headers = {name.lower(): value for name, value in case["headers"].items()}
    return Hook(headers, b64decode(case["body_b64"]), datetime.fromtimestamp(case["now"], UTC))


# -- verify


@pytest.mark.parametrize("case", SIGNED["cases"], ids=lambda case: case["id"])
def test_a_signature_vector_comes_out_as_stated(case: Mapping[str, Any]) -> None:
    hook = hook_of(case)
    reason = reason_for(hook, verification_key(SIGNED["public_key_spki_b64"]), now=hook.received_at)
    assert {None: "valid", "stale": "stale"}.get(reason, "invalid") == case["expect"]


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["id"])
def test_the_official_samples_come_out_as_stated(case: Mapping[str, Any]) -> None:
    hook = hook_of(case)
    reason = reason_for(hook, *map(verification_key, case["public_keys"]), now=hook.received_at)
    assert ("valid" if reason is None else "invalid") == case["expect"]


def test_the_official_library_believes_what_our_tests_sign() -> None:
    official = EventWebhook(spki(PRIVATE))
    assert official.verify_signature(BODY.decode(), GENUINE.headers[SIGNATURE], GENUINE.headers[TIMESTAMP])
    assert not official.verify_signature(BODY.decode() + " ", GENUINE.headers[SIGNATURE], GENUINE.headers[TIMESTAMP])
    assert reason_for(GENUINE, KEY) is None


def test_several_keys_are_valid_at_once() -> None:
    assert reason_for(GENUINE, OTHER.public_key(), KEY) is None
    assert reason_for(GENUINE, KEY, OTHER.public_key()) is None
    assert reason_for(GENUINE, OTHER.public_key()) == "bad_signature"


def test_without_a_key_nothing_is_believed() -> None:
    assert reason_for(GENUINE) == "no_key"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({SIGNATURE: None}, "missing_header"),
        ({TIMESTAMP: None}, "missing_header"),
        ({SIGNATURE: ""}, "missing_header"),
        ({SIGNATURE: "no base64!"}, "malformed"),
        ({SIGNATURE: "żółć"}, "malformed"),
        ({SIGNATURE: "\udcff"}, "malformed"),
        ({SIGNATURE: f" {GENUINE.headers[SIGNATURE]}"}, "malformed"),
        ({SIGNATURE: b64encode(b"\x30\x02\x01").decode()}, "bad_signature"),
        ({TIMESTAMP: "soon"}, "malformed"),
        ({TIMESTAMP: "-1"}, "malformed"),
        ({TIMESTAMP: "1e9"}, "malformed"),
        ({TIMESTAMP: "٣"}, "malformed"),
        ({TIMESTAMP: "9" * 5000}, "malformed"),
        ({TIMESTAMP: "999999999999"}, "bad_signature"),
    ],
)
def test_headers_that_cannot_be_read_are_not_believed(changed: Mapping[str, str | None], reason: str) -> None:
    headers = {name: value for name, value in {**GENUINE.headers, **changed}.items() if value is not None}
    assert reason_for(Hook(headers, BODY, NOW), KEY) == reason


@pytest.mark.parametrize("seconds", [-86_401, 86_401])
def test_a_signature_more_than_a_day_away_is_stale(seconds: int) -> None:
    assert reason_for(signed(at=NOW + timedelta(seconds=seconds)), KEY) == "stale"
    assert reason_for(signed(at=NOW + timedelta(seconds=seconds // 2)), KEY) is None


def test_how_old_it_may_be_can_be_set() -> None:
    url = f"sendgrid://k@default?tolerance=300&webhook_key={spki(PRIVATE)}"
    provider = SendGridProvider("sendgrid", SendGridSettings.from_url(url), lambda: NOW)
    assert asyncio.run(provider.verify(signed(at=NOW - timedelta(seconds=299))))
    with pytest.raises(Untrusted) as caught:
        asyncio.run(provider.verify(signed(at=NOW - timedelta(seconds=301))))
    assert caught.value.reason == "stale"


def test_a_repetition_signed_anew_has_the_same_delivery_key() -> None:
    first, again = signed(), signed(at=NOW + timedelta(minutes=5))
    assert first.headers != again.headers
    assert verify(first, [KEY], NOW) == verify(again, [KEY], NOW)
    assert verify(signed(b"[]"), [KEY], NOW) != verify(first, [KEY], NOW)


@given(at=st.integers(0, len(BODY) - 1), by=st.integers(1, 255))
def test_a_changed_byte_of_the_body_is_not_believed(at: int, by: int) -> None:
    body = BODY[:at] + bytes([BODY[at] ^ by]) + BODY[at + 1 :]
    assert reason_for(Hook(GENUINE.headers, body, NOW), KEY) == "bad_signature"


@given(name=st.sampled_from([SIGNATURE, TIMESTAMP]), data=st.data())
def test_a_changed_character_of_a_header_is_not_believed(name: str, data: st.DataObject) -> None:
    value = GENUINE.headers[name]
    at = data.draw(st.integers(0, len(value) - 1))
    changed = value[:at] + data.draw(st.characters().filter(lambda c: c != value[at])) + value[at + 1 :]
    assert reason_for(Hook({**GENUINE.headers, name: changed}, BODY, NOW), KEY)


def test_the_spare_bits_of_base64_are_not_anybodys_to_change() -> None:
    hook, key = hook_of(SIGNED["cases"][0]), verification_key(SIGNED["public_key_spki_b64"])
    signature = hook.headers[SIGNATURE]
    changed = signature.removesuffix("w==") + "x=="
    assert b64decode(changed) == b64decode(signature)
    assert reason_for(Hook({**hook.headers, SIGNATURE: changed}, hook.body, NOW), key) == "malformed"


@given(st.dictionaries(st.sampled_from([SIGNATURE, TIMESTAMP]), st.text()), st.binary())
def test_nothing_else_is_believed_or_raised(headers: dict[str, str], body: bytes) -> None:
    assert reason_for(Hook(headers, body, NOW), KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3cret",
        "s3cret!",
        "żółć",
        spki(PRIVATE)[:-4],
        b64encode(b"s3cret").decode(),
        spki(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
        spki(ec.derive_private_key(0x5EED, ec.SECP384R1())),
    ],
)
def test_only_a_p256_key_is_a_webhook_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"webhook_key must be .* P-256") as caught:
        verification_key(text)
    assert not text or text not in str(caught.value)


def test_a_plus_that_a_url_made_a_space_is_mended() -> None:
    official = OFFICIAL[0]["public_keys"][0]
    assert "+" in official
    settings = SendGridSettings.from_url(f"sendgrid://k@default?webhook_key={official}&webhook_key={spki(PRIVATE)}")
    assert settings.webhook_keys == (verification_key(official), KEY)


# -- translate


def hear(*events: Any) -> list[Feedback]:
    return translate(Hook({}, json.dumps(events).encode(), NOW))


def meaning(event: Mapping[str, Any]) -> tuple[Any, ...]:
    (said,) = hear(event)
    return (said.kind, said.bounce_class, said.reason, said.terminal, said.add_to_suppression)


@pytest.mark.parametrize("case", NORMAL, ids=lambda case: case["file"])
def test_a_payload_means_what_is_stated(case: Mapping[str, Any]) -> None:
    body = (HERE / case["file"]).read_bytes()
    told = translate(Hook({}, body, NOW))
    assert [as_stated(said) for said in told] == [stated(event) for event in case["events"]]
    # One and the same where the stated keys are, and stable.
    assert [[a.keys == b.keys for b in told] for a in told] == [
        [a["dedupe_key"] == b["dedupe_key"] for b in case["events"]] for a in case["events"]
    ]
    assert translate(Hook({}, body, NOW + timedelta(days=1))) == told


_TAKEN_OVER = (
    *("provider_type", "bounce_class", "reason", "recipient", "provider_message_id", "provider_event_id", "url"),
    *("enhanced_status", "terminal", "add_to_suppression"),
)


def stated(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: event[name] for name in _TAKEN_OVER},
        **{name: event[name] for name in ("email_id", "recipient_id", "type", "smtp_code")},
        "occurred_at": datetime.fromisoformat(event["occurred_at"]),
        "machine": bool(event["machine"]),
    }


def as_stated(said: Feedback) -> dict[str, Any]:
    return {
        **{name: getattr(said, name) for name in _TAKEN_OVER},
        "email_id": said.email_id and str(said.email_id),
        "recipient_id": said.recipient_id and str(said.recipient_id),
        "type": said.kind,
        "smtp_code": said.smtp_status,
        "occurred_at": said.occurred_at,
        "machine": said.machine,
    }


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("processed", Kind.ACCEPTED),
        ("delivered", Kind.DELIVERED),
        ("deferred", Kind.DEFERRED),
        ("bounce", Kind.BOUNCED),
        ("dropped", Kind.REJECTED),
        ("open", Kind.OPENED),
        ("click", Kind.CLICKED),
        ("spamreport", Kind.COMPLAINED),
        ("unsubscribe", Kind.UNSUBSCRIBED),
        ("group_unsubscribe", Kind.UNSUBSCRIBED),
        ("group_resubscribe", Kind.RESUBSCRIBED),
        ("account_status_change", Kind.PROVIDER_ACCOUNT),
        ("Delivered", Kind.DELIVERED),
        ("cancel_drop", Kind.IGNORED),
    ],
)
def test_every_event_has_a_meaning_of_ours(event: str, kind: Kind) -> None:
    (said,) = hear({"event": event})
    assert (said.kind, said.provider_type) == (kind, event)


def test_the_table_of_events_is_tested_whole() -> None:
    (mark,) = test_every_event_has_a_meaning_of_ours.pytestmark  # type: ignore[attr-defined]
    assert set(FEEDBACK) <= {event for event, _ in mark.args[1]}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Bounced Address", (Kind.SUPPRESSED, None, "bounce", True, True)),
        ("Unsubscribed Address", (Kind.SUPPRESSED, None, "unsubscribe", True, True)),
        ("Spam Reporting Address", (Kind.SUPPRESSED, None, "complaint", True, True)),
        ("spam reporting address", (Kind.SUPPRESSED, None, "complaint", True, True)),
        ("Invalid", (Kind.REJECTED, None, "invalid_address", True, True)),
        ("Spam Content", (Kind.REJECTED, None, "content", True, False)),
        ("Spam Content (if spam checker app enabled)", (Kind.REJECTED, None, "dropped", True, False)),
        ("Invalid SMTPAPI header", (Kind.REJECTED, None, "invalid_header", True, False)),
        ("Recipient List over Package Quota", (Kind.REJECTED, None, "quota", True, False)),
        ("Phase of the Moon", (Kind.REJECTED, None, "dropped", True, False)),
        (None, (Kind.REJECTED, None, "dropped", True, False)),
    ],
)
def test_what_was_dropped_is_suppressed_or_rejected(reason: str | None, expected: tuple[Any, ...]) -> None:
    assert meaning({"event": "dropped", "reason": reason, "status": "5.0.0"}) == expected


HARD, SOFT, UNDETERMINED = ("hard", True), ("soft", False), ("undetermined", False)


@pytest.mark.parametrize(
    ("type", "classification", "status", "expected", "reason"),
    [
        ("bounce", "Invalid Address", "5.1.1", HARD, "invalid_address"),
        ("bounce", "Invalid Address", None, HARD, "invalid_address"),
        ("bounce", "Invalid Address", "5.2.2", HARD, "invalid_address"),
        ("bounce", None, "5.1.1", HARD, "invalid_address"),
        ("bounce", None, "5.1.10", HARD, "invalid_address"),
        ("bounce", None, "5.2.1", HARD, "mailbox_disabled"),
        ("bounce", None, "5.0.0", HARD, "bounced"),
        ("bounce", None, "5.7.1", HARD, "bounced"),
        ("bounce", None, None, HARD, "bounced"),
        ("bounce", "Mailbox Unavailable", "5.1.1", HARD, "invalid_address"),
        ("bounce", "Mailbox Unavailable", "5.2.1", HARD, "mailbox_disabled"),
        ("bounce", "Mailbox Unavailable", "5.2.2", SOFT, "mailbox_full"),
        ("bounce", "Mailbox Unavailable", "4.2.2", SOFT, "mailbox_full"),
        ("bounce", "Mailbox Unavailable", "5.5.0", SOFT, "mailbox_unavailable"),
        ("bounce", None, "5.2.2", SOFT, "mailbox_full"),
        ("bounce", "Content", "5.7.1", SOFT, "content"),
        ("bounce", "Content", "5.1.1", HARD, "invalid_address"),
        ("bounce", "Reputation", "5.7.1", SOFT, "reputation"),
        ("bounce", "Frequency/Volume", "4.7.0", SOFT, "frequency"),
        ("bounce", "Frequency or Volume Too High", None, SOFT, "frequency"),
        ("bounce", "Technical", "5.4.4", SOFT, "technical"),
        ("bounce", "Technical Failure", None, SOFT, "technical"),
        ("bounce", "Technical", "5.1.8", SOFT, "sender"),
        ("bounce", None, "5.1.7", SOFT, "sender"),
        ("bounce", "Unclassified", "5.0.0", UNDETERMINED, "unclassified"),
        ("bounce", "A Word of the Future", None, UNDETERMINED, "bounced"),
        ("blocked", None, None, SOFT, "blocked"),
        ("blocked", None, "5.2.2", SOFT, "mailbox_full"),
        ("blocked", None, "5.1.1", SOFT, "invalid_address"),
        ("blocked", "Invalid Address", "5.1.1", SOFT, "invalid_address"),
        ("blocked", "Reputation", "5.7.1", SOFT, "reputation"),
        (None, None, None, UNDETERMINED, "bounced"),
        (None, "Invalid Address", None, HARD, "invalid_address"),
        (None, None, "5.1.1", HARD, "invalid_address"),
        ("expired", None, None, UNDETERMINED, "bounced"),
    ],
)
def test_a_bounce_is_classified(
    type: str | None, classification: str | None, status: str | None, expected: tuple[str, bool], reason: str
) -> None:
    event = {"event": "bounce", "type": type, "bounce_classification": classification, "status": status}
    bounce_class, add_to_suppression = expected
    assert meaning(event) == (Kind.BOUNCED, bounce_class, reason, True, add_to_suppression)


@pytest.mark.parametrize(
    ("event", "smtp_status", "enhanced_status"),
    [
        ({"event": "deferred", "response": "451 4.7.1 try later", "attempt": "3"}, 451, "4.7.1"),
        ({"event": "deferred", "reason": "450 busy"}, 450, None),
        ({"event": "deferred", "reason": "unable to get mx info: failed to get IPs"}, None, None),
        ({"event": "bounce", "reason": "550-5.1.1 gone", "status": ""}, 550, "5.1.1"),
        ({"event": "bounce", "reason": "5505 gone", "status": "550"}, None, None),
        ({"event": "bounce", "reason": "gone", "status": "5.1.1"}, None, "5.1.1"),
        ({"event": "delivered", "response": "250 OK"}, 250, None),
        ({"event": "dropped", "reason": "Invalid", "status": "5.0.0"}, None, None),
    ],
)
def test_statuses_are_read_from_the_servers_words(
    event: Mapping[str, Any], smtp_status: int | None, enhanced_status: str | None
) -> None:
    (said,) = hear(event)
    assert (said.smtp_status, said.enhanced_status) == (smtp_status, enhanced_status)
    assert said.words == event.get("reason", event.get("response"))


def test_a_wish_has_the_scope_it_was_uttered_in() -> None:
    everything, group, again, unknown = hear(
        {"event": "unsubscribe"},
        {"event": "group_unsubscribe", "asm_group_id": 10},
        {"event": "group_resubscribe", "asm_group_id": "10"},
        {"event": "group_unsubscribe"},
    )
    assert [said.scope for said in (everything, group, again, unknown)] == ["global", "group:10", "group:10", "group"]
    assert [said.add_to_suppression for said in (everything, group, again)] == [True, True, False]


def test_milliseconds_are_understood() -> None:
    (said,) = hear({"event": "open", "timestamp": 1767268800123})
    assert said.occurred_at == datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("full", "smtp_id", "expected"),
    [
        ("4kYb.recvd-5f6c-abcde-1.0", "<4kYb@geopod-ismtpd-1>", "4kYb"),
        ("4kYb", "<4kYb@geopod-ismtpd-1>", "4kYb"),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "<14c5d75ce93.dfd.64b469@ismtpd-555>", None),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "<own@sender.example>", None),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", None, None),
        ("4kYb.recvd-5f6c.0", f"<{EMAIL_ID}@sender.example>", "4kYb"),
        ("4kYb.filterdrecv-p3mdw1-756b.0", None, "4kYb"),
        ("4kYb.geopod.0", None, "4kYb"),
        ("4kYb2.recvd-1.0", "<4kYb@host>", "4kYb2"),
    ],
)
def test_a_message_id_is_found_in_front_of_the_servers_name(
    full: str, smtp_id: str | None, expected: str | None
) -> None:
    assert message_id(full, smtp_id) == (expected or "14c5d75ce93.dfd.64b469")


def test_a_late_bounce_is_known_by_our_message_id() -> None:
    """Asynchronous bounces may come without sg_message_id and custom args."""
    event = {"event": "bounce", "type": "bounce", "email": "ada@example.com", "timestamp": 1767268807}
    ours, theirs, none = hear(
        {**event, "smtp-id": f"<{EMAIL_ID}@sender.example>"}, {**event, "smtp-id": "<4kYb@geopod>"}, event
    )
    assert (ours.email_id, ours.provider_message_id) == (EMAIL_ID, None)
    assert (theirs.email_id, theirs.provider_message_id) == (None, "4kYb")
    assert (none.email_id, none.provider_message_id, none.recipient) == (None, None, "ada@example.com")
    assert len({key for said in (ours, theirs, none) for key in said.keys}) == 3


def test_the_hexadecimal_message_id_of_others_is_not_ours() -> None:
    (said,) = hear({"event": "open", "smtp-id": f"<{EMAIL_ID.hex}@other.example>"})
    assert said.email_id is None


def test_a_repetition_under_another_event_id_is_known_by_its_content() -> None:
    (case,) = json.loads((HERE / "payloads/sendgrid/click.json").read_text())
    first, again = hear(case, {**case, "sg_event_id": "another"})
    assert first.keys[0] == case["sg_event_id"]
    assert again.keys[0] == "another"
    assert first.keys[1] == again.keys[1]


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": 1767268871},
        {"url": "https://www.example.com/b"},
        {"url_offset": {"index": 1, "type": "html"}},
        {"email": "grace@example.com"},
        {"sg_message_id": "4kYb2Vv9Qm2aXo1pR7sT0A.recvd-other.0"},
        {"event": "open"},
        {"sg_machine_open": True},
        {"asm_group_id": 11},
    ],
)
def test_other_content_is_another_statement(change: Mapping[str, Any]) -> None:
    (case,) = json.loads((HERE / "payloads/sendgrid/click.json").read_text())
    first, other = hear(case, {**case, "sg_event_id": "another", **change})
    assert not set(first.keys) & set(other.keys)


def test_keys_hold_nothing_personal() -> None:
    (said,) = hear({"event": "click", "email": "ada@example.com", "url": "https://www.example.com/ada"})
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in said.keys)


def test_a_single_event_need_not_be_in_an_array() -> None:
    (said,) = translate(Hook({}, b'{"event": "open"}', NOW))
    assert said.kind is Kind.OPENED


@pytest.mark.parametrize("body", [b"", b"\xff", b"no json", b"null", b'"open"', b"7", b"[" * 5000, b"[1" + b"0" * 5000])
def test_what_is_no_json_is_ignored(body: bytes) -> None:
    (said,) = translate(Hook({}, body, NOW))
    assert (said.kind, said.provider_type) == (Kind.IGNORED, "unreadable")
    assert said.keys


def test_an_empty_batch_says_nothing() -> None:
    assert hear() == []


WORDS = st.sampled_from(
    [
        *("event", "email", "timestamp", "smtp-id", "sg_event_id", "sg_message_id", "type", "reason", "response"),
        *("status", "bounce_classification", "asm_group_id", "url", "url_offset", "sg_machine_open", "pl_email_id"),
        *("pl_recipient_id", "category", "attempt"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(FEEDBACK)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6),
    max_leaves=15,
)
EVENT = st.dictionaries(WORDS, JSON, max_size=8)


@given(st.lists(EVENT | JSON, max_size=3))
def test_translate_takes_any_json(events: list[Any]) -> None:
    told = translate(Hook({}, json.dumps(events).encode(), NOW))
    assert len(told) == len(events)
    assert all(said.keys for said in told)


@given(st.sampled_from(sorted(FEEDBACK)), EVENT)
def test_every_known_event_may_have_any_fields(word: str, fields: dict[str, Any]) -> None:
    (said,) = hear({**fields, "event": word})
    assert said.kind is not Kind.IGNORED
    assert (said.bounce_class is not None) == (said.kind is Kind.BOUNCED)


@given(st.binary())
def test_translate_takes_any_bytes(body: bytes) -> None:
    translate(Hook({}, body, NOW))


def test_a_delivery_asks_for_nothing_else() -> None:
    async def run() -> None:
        async with HttpStub() as stub:
            provider = provider_at(stub.host)
            await provider.follow_up(GENUINE)
            assert provider.translate(GENUINE) == translate(GENUINE)
            await provider.close()
            assert not stub.requests

    asyncio.run(run())
