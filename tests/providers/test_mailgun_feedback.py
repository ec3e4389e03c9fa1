"""Mailgun's webhooks: which are genuine, and what they say."""

import asyncio
import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import Untrusted
from application.ports import Hook
from domain.feedback import Feedback, Kind
from domain.ids import recipient_id
from infrastructure.providers.mailgun import FEEDBACK, MailgunProvider, MailgunSettings, translate, verify
from infrastructure.providers.mailgun_failures import CODES, ENHANCED, REASONS, SUPPRESSED
from tests.mail import EMAIL_ID

HERE = Path(__file__).parent
SIGNATURES = json.loads((HERE / "vectors" / "mailgun_signature.json").read_text())
EXPECTED = json.loads((HERE / "vectors" / "mailgun_normalization.json").read_text())["cases"]
PAYLOADS = sorted((HERE / "payloads" / "mailgun").glob("*.json"))
KEY = SIGNATURES["signing_key"]
NINE_HOURS = timedelta(hours=9)
EXPECT: dict[str, tuple[str | None, ...]] = {
    "valid": (None,),
    "replay": (None,),
    "invalid": ("bad_signature", "malformed"),
    "stale": ("stale",),
}


def hook(body: object) -> Hook:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Hook({"content-type": "application/json"}, raw, datetime(2026, 1, 1, 12, tzinfo=UTC))


def signed(timestamp: object, token: str, key: str = KEY, field: str = "signature") -> dict[str, Any]:
    mac = hmac.new(key.encode(), f"{timestamp}{token}".encode(), "sha256").hexdigest()
    return {"signature": {"timestamp": timestamp, "token": token, field: mac}, "event-data": {"event": "opened"}}


def reason_of(body: object, keys: tuple[str, ...] = (KEY,), at: float = 1767225602) -> str | None:
    """Why it is not trusted; None when it is."""
    try:
        verify(hook(body), keys, datetime.fromtimestamp(at, UTC), NINE_HOURS)
    except Untrusted as untrusted:
        return untrusted.reason
    return None


# -- signatures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SIGNATURES["cases"], ids=lambda case: case["id"])
def test_signatures_are_checked_as_the_vectors_say(case: dict[str, Any]) -> None:
    body = base64.b64decode(case["body_b64"])
    reason = reason_of(body, tuple(case.get("keys", [KEY])), case["now"])
    assert reason in EXPECT[case["expect"]]
    if reason is None:  # what is a replay, the inbox tells by the body under this key
        now = datetime.fromtimestamp(case["now"], UTC)
        assert verify(hook(body), case.get("keys", [KEY]), now, NINE_HOURS) == json.loads(body)["signature"]["token"]


def test_the_published_sum_is_ours() -> None:
    made = signed("1767225600", SIGNATURES["token"])
    assert made["signature"]["signature"] == SIGNATURES["expected_signature"]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_the_payloads_are_signed(path: Path) -> None:
    stamp = int(json.loads(path.read_text())["signature"]["timestamp"])
    assert reason_of(path.read_bytes(), at=stamp) is None


def test_several_keys_are_valid_at_once() -> None:
    body = signed(1767225600, "token", key="new")
    assert reason_of(body, ("old", "new")) is None
    assert reason_of(body, ("old", "newer")) == "bad_signature"
    assert reason_of(body, ()) == "no_key"


def test_a_subaccount_is_vouched_for_by_its_parent() -> None:
    body = signed(1767225600, "token", key="parent", field="parent-signature")
    assert reason_of(body, ("parent",)) is None
    body["signature"]["signature"] = "0" * 64
    assert reason_of(body, ("parent",)) is None
    assert reason_of(body) == "bad_signature"


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(0), None),
        (timedelta(hours=8), None),  # as late as Mailgun repeats
        (timedelta(hours=9), None),
        (timedelta(hours=9, seconds=1), "stale"),
        (-timedelta(minutes=5), None),
        (-timedelta(hours=9, seconds=1), "stale"),
    ],
)
def test_a_signature_is_good_for_nine_hours(age: timedelta, reason: str | None) -> None:
    assert reason_of(signed("1767225600", "token"), at=1767225600 + age.total_seconds()) == reason


@pytest.mark.parametrize(("timestamp", "token"), [("17672256007", "oken"), ("176722560", "07oken")])
def test_digits_cannot_move_between_timestamp_and_token(timestamp: str, token: str) -> None:
    """They are signed as one text; a token of another spelling would be a new delivery."""
    body = signed("1767225600", "7oken")
    body["signature"] |= {"timestamp": timestamp, "token": token}
    assert reason_of(body) == "stale"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"signature=x&token=y&timestamp=1",  # the webhooks of before 2018
        [],
        None,
        {"signature": None},
        {"signature": []},
        {"signature": {}},
        {"signature": {"timestamp": "1767225600", "token": "t"}},
        {"signature": {"timestamp": "1767225600", "token": "t", "signature": 7}},
        {"signature": {"timestamp": "1767225600", "token": "", "signature": "x"}},
        {"signature": {"timestamp": "1767225600", "token": ["t"], "signature": "x"}},
        {"signature": {"timestamp": 1767225600.5, "token": "t", "signature": "x"}},
        {"signature": {"timestamp": True, "token": "t", "signature": "x"}},
        {"signature": {"timestamp": -1, "token": "t", "signature": "x"}},
        {"signature": {"timestamp": "١٧٦٧٢٢٥٦٠٠", "token": "t", "signature": "x"}},
        {"signature": {"timestamp": 10**4000, "token": "t", "signature": "x"}},
        {"signature": {"timestamp": "1" * 400, "token": "t", "signature": "x"}},
    ],
)
def test_what_is_no_signature_is_not_trusted(body: object) -> None:
    assert reason_of(body) == "malformed"


@pytest.mark.parametrize("signature", ["", "ä" * 64, "7785BC12", "7785bc12\u0000"])
def test_what_is_no_sum_does_not_match(signature: str) -> None:
    block = {"timestamp": "1767225600", "token": SIGNATURES["token"], "signature": signature}
    assert reason_of({"signature": block}) == "bad_signature"


@given(st.sampled_from(["timestamp", "token", "signature"]), st.integers(0, 63), st.integers(1, 127))
def test_no_changed_byte_of_the_signature_passes(name: str, at: int, flip: int) -> None:
    body = signed("1767225600", SIGNATURES["token"])
    value = body["signature"][name]
    at %= len(value)
    body["signature"][name] = value[:at] + chr(ord(value[at]) ^ flip) + value[at + 1 :]
    assert reason_of(body) is not None


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
blocks = st.dictionaries(st.sampled_from(["timestamp", "token", "signature", "parent-signature"]), documents)


@given(
    st.binary()
    | documents.map(json.dumps).map(str.encode)
    | blocks.map(lambda b: json.dumps({"signature": b}).encode())
)
def test_nothing_else_is_ever_raised(body: bytes) -> None:
    assert reason_of(body) in ("malformed", "bad_signature")


def test_the_provider_verifies_with_its_keys_and_clock() -> None:
    url = f"mailgun://KEY@default?domain=mg.example.com&webhook_key=other&webhook_key={KEY}"
    now = datetime.fromtimestamp(1767225602, UTC)
    provider = MailgunProvider("mailgun", MailgunSettings.from_url(url), lambda: now)

    async def use() -> str:
        given = hook(signed(1767225600, "token"))
        await provider.follow_up(given)
        assert provider.translate(given) == translate(given)
        return await provider.verify(given)

    assert asyncio.run(use()) == "token"


# -- what they say ---------------------------------------------------------------------------------------------


def said(body: object) -> Feedback:
    (feedback,) = translate(hook(body))
    return feedback


def event(name: str = "failed", /, **more: Any) -> dict[str, Any]:
    """An event with the names of its fields in Python's spelling."""
    data = {"event": name, "id": "abc", "timestamp": 1767268800.5, "recipient": "ada@example.com", **more}
    return {"signature": {}, "event-data": {key.replace("_", "-"): value for key, value in data.items()}}


def failed(severity: str = "permanent", reason: str | None = "bounce", **delivery: Any) -> Feedback:
    status = {key.replace("_", "-"): value for key, value in delivery.items()}
    return said(event(severity=severity, reason=reason, delivery_status=status))


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: Path(case["file"]).stem)
def test_payloads_are_translated_as_the_vectors_say(case: dict[str, Any]) -> None:
    body = (HERE / "payloads" / "mailgun" / Path(case["file"]).name).read_bytes()
    (expected,) = case["events"]
    found = said(body)
    assert found.occurred_at is not None
    assert {
        "type": found.kind,
        "provider_type": found.provider_type,
        "bounce_class": found.bounce_class,
        "reason": found.reason,
        "recipient": found.recipient,
        "email_id": found.email_id and str(found.email_id),
        "recipient_id": found.recipient_id and str(found.recipient_id),
        "provider_message_id": found.provider_message_id,
        "provider_event_id": found.provider_event_id,
        "dedupe_key": found.keys[0],
        "occurred_at": found.occurred_at.isoformat().replace("+00:00", "Z"),
        "smtp_code": found.smtp_status,
        "enhanced_status": found.enhanced_status,
        "machine": found.machine if expected["machine"] is not None else None,
        "url": found.url,
        "terminal": found.terminal,
        "add_to_suppression": found.add_to_suppression,
    } == {key: value for key, value in expected.items() if key != "anymail_event_type"}


@pytest.mark.parametrize(
    ("body", "kind", "terminal", "suppress"),
    [
        (event("accepted"), Kind.ACCEPTED, False, False),
        (event("delivered"), Kind.DELIVERED, False, False),
        (event("failed", severity="temporary"), Kind.DEFERRED, False, False),
        (event("rejected"), Kind.REJECTED, True, False),
        (event("opened"), Kind.OPENED, False, False),
        (event("clicked"), Kind.CLICKED, False, False),
        (event("unsubscribed"), Kind.UNSUBSCRIBED, False, True),
        (event("complained"), Kind.COMPLAINED, True, True),
        (event("stored"), Kind.IGNORED, False, False),
        (event("list_member_uploaded"), Kind.IGNORED, False, False),
        (event("list_uploaded"), Kind.IGNORED, False, False),
        (event("failed", severity="curious"), Kind.IGNORED, False, False),
        (event("failed"), Kind.IGNORED, False, False),
        (event("brand_new"), Kind.IGNORED, False, False),
    ],
)
def test_every_event_has_its_kind(body: object, kind: Kind, terminal: bool, suppress: bool) -> None:
    found = said(body)
    assert (found.kind, found.terminal, found.add_to_suppression) == (kind, terminal, suppress)
    assert found.recipient == "ada@example.com"


def test_the_provider_s_word_is_kept() -> None:
    assert said(event("failed", severity="temporary")).provider_type == "failed/temporary"
    assert said(event("failed")).provider_type == "failed/unknown"
    assert said(event("brand_new")).provider_type == "brand_new"
    assert said({"event-data": {}}).provider_type == "unknown"


def test_an_unsubscription_is_from_the_domain() -> None:
    found = said(event("unsubscribed"))
    assert (found.scope, found.reason) == ("domain", "domain")


@pytest.mark.parametrize(
    ("reason", "code", "listed"),
    [
        ("suppress-bounce", 605, "bounce"),
        ("suppress-unsubscribe", 606, "unsubscribe"),
        ("suppress-complaint", 607, "complaint"),
        ("suppress-bounce", None, "bounce"),
        ("suppress-unsubscribe", 550, "unsubscribe"),
        ("generic", 605, "bounce"),
        (None, 606, "unsubscribe"),
        ("old", 607, "complaint"),
    ],
)
def test_an_address_on_mailgun_s_lists_is_suppressed(reason: str | None, code: int | None, listed: str) -> None:
    found = failed(reason=reason, code=code, message="", description="Not delivering to previously …")
    assert (found.kind, found.reason, found.bounce_class) == (Kind.SUPPRESSED, listed, None)
    assert (found.terminal, found.add_to_suppression, found.smtp_status) == (True, True, code)
    assert found.words == "Not delivering to previously …"


@pytest.mark.parametrize(
    ("reason", "delivery", "bounce_class", "ours", "dead"),
    [
        # Mailgun's own class comes first …
        ("bounce", {"bounce_type": "hard", "code": 550}, "hard", "invalid_address", True),
        ("generic", {"bounce_type": "hard"}, "hard", "invalid_address", True),
        ("bounce", {"bounce_type": "soft", "code": 550}, "soft", "general", False),
        ("bounce", {"bounce_type": "soft", "code": 550, "enhanced_code": "5.1.1"}, "soft", "invalid_address", False),
        # … yet an address is not dead from what has another cause.
        ("bounce", {"bounce_type": "hard", "code": 550, "enhanced_code": "5.7.1"}, "hard", "policy", False),
        ("espblock", {"bounce_type": "hard", "code": 550}, "hard", "blocked", False),
        ("bounce", {"bounce_type": "hard", "code": 552, "enhanced_code": "5.2.2"}, "hard", "mailbox_full", False),
        # Then the enhanced status.
        ("generic", {"code": 550, "enhanced_code": "5.1.1"}, "hard", "invalid_address", True),
        ("bounce", {"code": 553, "enhanced_code": "5.1.3"}, "hard", "invalid_address", True),
        ("bounce", {"code": 550, "enhanced_code": "5.1.10"}, "hard", "invalid_domain", True),
        ("bounce", {"code": 550, "enhanced_code": "5.2.1"}, "hard", "mailbox_disabled", True),
        ("generic", {"bounce_code": "5.1.1"}, "hard", "invalid_address", True),
        ("bounce", {"code": 550, "enhanced_code": "5.1.8"}, "soft", "sender", False),
        ("bounce", {"code": 550, "enhanced_code": "5.7.26"}, "soft", "policy", False),
        ("bounce", {"code": 550, "enhanced_code": "5.2.2"}, "soft", "mailbox_full", False),
        ("bounce", {"code": 552, "enhanced_code": "5.3.4"}, "soft", "too_large", False),
        ("bounce", {"code": 554, "enhanced_code": "5.6.0"}, "soft", "content", False),
        ("bounce", {"code": 450, "enhanced_code": "4.1.1"}, "soft", "invalid_address", False),
        # Then 550 of a bounce.
        ("bounce", {"code": 550}, "hard", "invalid_address", True),
        ("bounce", {"code": 550, "enhanced_code": "5.0.0"}, "hard", "invalid_address", True),
        ("bounce", {"code": 550, "enhanced_code": ""}, "hard", "invalid_address", True),
        ("bounce", {"code": "550"}, "hard", "invalid_address", True),
        # The rest is soft, or cannot be told.
        ("generic", {"code": 550}, "soft", "general", False),
        ("old", {"code": 602, "message": "Too old"}, "soft", "expired", False),
        ("old", {"code": 421}, "soft", "expired", False),
        ("espblock", {"code": 550}, "soft", "blocked", False),
        ("generic", {"code": 498, "message": "No MX for example.com"}, "soft", "dns", False),
        ("generic", {"code": 499}, "soft", "dns", False),
        ("bounce", {"code": 452}, "soft", "general", False),
        ("bounce", {"code": 680}, "soft", "general", False),
        ("bounce", {"code": 554}, "undetermined", "general", False),
        ("brand-new", {"code": 550}, "undetermined", "general", False),
        (None, {}, "undetermined", "general", False),
        ("bounce", {"bounce_type": "firm", "code": 554}, "undetermined", "general", False),
    ],
)
def test_a_permanent_failure_is_weighed(
    reason: str | None, delivery: dict[str, Any], bounce_class: str, ours: str, dead: bool
) -> None:
    found = failed(reason=reason, **delivery)
    assert (found.kind, found.terminal) == (Kind.BOUNCED, True)
    assert (found.bounce_class, found.reason, found.add_to_suppression) == (bounce_class, ours, dead)


@pytest.mark.parametrize(
    ("reason", "delivery", "ours"),
    [
        ("generic", {"code": 452, "enhanced_code": "4.2.2", "retry_seconds": 600}, "mailbox_full"),
        ("generic", {"code": 498}, "dns"),
        ("espblock", {"code": 421}, "blocked"),
        ("generic", {"code": 421}, None),
        ("bounce", {"code": 550, "bounce_type": "hard"}, None),
    ],
)
def test_a_temporary_failure_is_put_off(reason: str, delivery: dict[str, Any], ours: str | None) -> None:
    found = failed("temporary", reason, **delivery)
    assert (found.kind, found.reason, found.smtp_status) == (Kind.DEFERRED, ours, delivery["code"])
    assert (found.bounce_class, found.terminal, found.add_to_suppression) == (None, False, False)


@pytest.mark.parametrize("status", [None, [], "x", 7, {"code": "many", "message": ["x"], "enhanced-code": 5}])
def test_a_delivery_status_may_be_missing_or_odd(status: object) -> None:
    found = said(event(severity="permanent", reason="bounce", delivery_status=status))
    assert (found.kind, found.smtp_status, found.enhanced_status, found.words) == (Kind.BOUNCED, None, None, "")


@pytest.mark.parametrize("empty", [[], {}, None, "", "[]", "{}", 7])
def test_empty_user_variables_and_storage_have_many_shapes(empty: object) -> None:
    found = said(event("delivered", user_variables=empty, storage=empty))
    assert (found.email_id, found.recipient_id, found.kind) == (None, None, Kind.DELIVERED)


def test_a_delayed_bounce_is_a_bounce_after_all() -> None:
    found = said(event(severity="permanent", reason="generic", flags={"is-delayed-bounce": True}, user_variables={}))
    assert (found.kind, found.email_id, found.terminal) == (Kind.BOUNCED, None, True)


@pytest.mark.parametrize("name", ["opened", "clicked"])
@pytest.mark.parametrize(
    ("info", "machine"),
    [
        ({"bot": "apple"}, True),
        ({"bot": "gmail"}, True),
        ({"bot": "generic"}, True),
        ({"bot": ""}, False),
        ({"bot": None}, False),
        ({}, False),
        (None, False),
    ],
)
def test_bots_are_told_from_people(name: str, info: object, machine: bool) -> None:
    found = said(event(name, client_info=info, url="https://example.com/"))
    assert found.machine is machine
    assert found.url == ("https://example.com/" if name == "clicked" else None)


def rejected(to: object, *, index: int | None = 0) -> Feedback:
    variables: dict[str, str] = {"pl_email_id": str(EMAIL_ID)}
    if index is not None:
        variables["pl_recipient_id"] = str(recipient_id(EMAIL_ID, index))
    return said(
        event(
            "rejected",
            recipient=None,
            user_variables=variables,
            message={"headers": {"to": to}},
            reject={"reason": "No"},
        )
    )


@pytest.mark.parametrize(
    ("to", "recipient"),
    [
        ("ada@example.com", "ada@example.com"),
        ('"Lovelace, Ada" <ada@example.com>', "ada@example.com"),
        ("ada@example.com, bob@example.com", None),
        ("undisclosed-recipients:;", None),
        ("", None),
        (None, None),
        (["ada@example.com"], None),
    ],
)
def test_a_rejection_is_about_the_only_one_in_the_header(to: object, recipient: str | None) -> None:
    found = rejected(to)
    assert (found.kind, found.recipient, found.words) == (Kind.REJECTED, recipient, "No")


def test_a_rejection_of_the_blind_copy_is_not_about_the_one_in_the_header() -> None:
    """Bob's call carries our MIME, whose To is Ada."""
    found = rejected("ada@example.com", index=1)
    assert (found.recipient, found.recipient_id) == (None, recipient_id(EMAIL_ID, 1))


def test_message_ids_lose_their_brackets() -> None:
    for written in ("<x@mg.example.com>", "x@mg.example.com"):
        found = said(event("delivered", message={"headers": {"message-id": written}}))
        assert found.provider_message_id == "x@mg.example.com"


def test_an_event_counts_once_whatever_it_is_wrapped_in() -> None:
    """Domain and account webhooks both fire, with different tokens."""
    once, twice = event("opened"), event("opened")
    twice["signature"] = {"token": "another"}
    assert said(once).keys == said(twice).keys == ("abc:1767268800",)


def test_ids_are_unique_within_a_day_only() -> None:
    tomorrow = event("opened", timestamp=1767268800.5 + 86_400)
    assert said(event("opened")).keys != said(tomorrow).keys


@pytest.mark.parametrize(
    "missing", [{"id": None}, {"timestamp": None}, {"timestamp": "soon"}, {"id": None, "timestamp": None}]
)
def test_without_an_id_or_time_the_content_is_the_key(missing: dict[str, object]) -> None:
    found, other = said(event("opened", **missing)), said(event("clicked", **missing))
    assert found.keys == said(event("opened", **missing)).keys
    assert len({*found.keys, *other.keys}) == 2
    assert "ada" not in found.keys[0]


@pytest.mark.parametrize("body", [b"", b"\xff", b"event=opened&id=1", [], {"event-data": []}, {"event-data": None}])
def test_what_cannot_be_read_is_said_to_be_so(body: object) -> None:
    found = said(body)
    assert (found.kind, found.provider_type) == (Kind.IGNORED, "unreadable")
    assert found.keys


def test_long_words_are_cut() -> None:
    found = said(event("x" * 5000, delivery_status={"message": "y" * 5000}))
    assert (len(found.provider_type), len(found.words)) == (100, 1000)


names = st.sampled_from(
    (
        *("event", "severity", "reason", "id", "timestamp", "recipient", "user-variables", "message"),
        *("delivery-status", "reject", "client-info", "url", "flags", "storage"),
    )
)
values = documents | st.sampled_from(
    [*(name.partition("/")[0] for name in FEEDBACK), "permanent", "temporary", "bounce"]
)
events = st.dictionaries(names, values)


@given(
    st.binary()
    | documents.map(json.dumps).map(str.encode)
    | events.map(lambda e: json.dumps({"event-data": e}).encode())
)
def test_nothing_makes_translation_fail(body: bytes) -> None:
    found = said(body)
    assert found.keys
    assert found == said(body)
    assert found.kind is not Kind.BOUNCED or found.bounce_class
    assert not found.add_to_suppression or found.kind in (
        *(Kind.BOUNCED, Kind.SUPPRESSED, Kind.COMPLAINED, Kind.UNSUBSCRIBED),
    )


@given(
    st.sampled_from([*REASONS, *(each for each in SUPPRESSED if isinstance(each, str)), "bounce", "generic", "x"]),
    st.sampled_from([*CODES, *(each for each in SUPPRESSED if isinstance(each, int)), 250, 421, 550, 554, 602, None]),
    st.sampled_from(
        [f"{digit}.{detail}" for digit in (4, 5) for detail in ENHANCED if "." in detail] + ["5.0.0", None]
    ),
    st.sampled_from(["hard", "soft", None]),
)
def test_only_a_hard_bounce_condemns_an_address(
    reason: str, code: int | None, enhanced: str | None, stated: str | None
) -> None:
    found = failed(reason=reason, code=code, enhanced_code=enhanced, bounce_type=stated)
    if found.kind is Kind.BOUNCED and found.add_to_suppression:
        assert found.bounce_class == "hard"
        assert reason not in ("old", "espblock") or (enhanced or "").startswith(("5.1", "5.2", "4.1", "4.2"))


def test_a_feedback_hides_whom_it_is_about() -> None:
    assert "ada" not in repr(said(event("clicked", url="https://example.com/ada")))
