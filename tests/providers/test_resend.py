"""Sending through Resend: what goes over the wire, what its answers mean, and what is asked afterwards."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from email.header import decode_header, make_header
from email.utils import parseaddr
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import pytest
import resend
from hypothesis import given
from hypothesis import strategies as st

from application.errors import BlobMissing, ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import Mailbox
from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailRecipientDeliveryFailed, Tag
from infrastructure.providers.http import Reply
from infrastructure.providers.resend import ResendProvider, ResendSettings, build, idempotency_key, parse
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.providers.rigs.resend import KEY, MESSAGE_ID, TAKEN, refused, settings

VECTORS = Path(__file__).parent / "vectors"
ANSWERS: list[dict[str, Any]] = json.loads((VECTORS / "resend_answers.json").read_text())["cases"]
PDF = attach(b"%PDF-1.7 " + bytes(range(256)) * 700, "Rechnung März.pdf")
LOGO = attach(b"\x89PNG" + b"\0" * 5, "logo.png", "image/png", "logo")
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"  # noqa: S105 - of the vectors
PERMANENT, TRANSIENT, CONFIG = ErrorClass.PERMANENT, ErrorClass.TRANSIENT, ErrorClass.CONFIG
UNKNOWN, QUOTA, CONFLICT = ErrorClass.UNKNOWN, ErrorClass.QUOTA, ErrorClass.CONFLICT

Use = Callable[[ResendProvider, HttpStub], Awaitable[None]]


def with_resend(use: Use, *answers: Reaction, now: datetime = NOW, options: str = "") -> list[Received]:
    """What the stub was asked while the provider was used; it takes everything after `answers`."""

    async def run() -> list[Received]:
        async with HttpStub(default=TAKEN) as stub:
            stub.answers.extend(answers)
            provider = ResendProvider("resend", settings(stub.host, options), lambda: now)
            try:
                await use(provider, stub)
            finally:
                await provider.close()
            return stub.requests

    return asyncio.run(run())


def send(message: OutgoingMessage, *answers: Reaction, options: str = "") -> tuple[Answer, list[Received]]:
    got: list[Answer] = []

    async def use(provider: ResendProvider, _: HttpStub) -> None:
        got.append(await provider.send(message))

    requests = with_resend(use, *answers, options=options)
    return got[0], requests


def sent(message: OutgoingMessage, options: str = "") -> Any:
    """The document that goes over the wire."""
    _, (request,) = send(message, options=options)
    return request.json()


def tagged(message: OutgoingMessage, *tags: tuple[str, str]) -> OutgoingMessage:
    named = tuple(Tag(name=name, value=value) for name, value in tags)
    return replace(message, email=message.email.model_copy(update={"tags": named}))


def only(message: OutgoingMessage, *numbers: int) -> OutgoingMessage:
    """The same email in an attempt at some of its recipients."""
    ids = tuple(message.email.recipients[number].id for number in numbers)
    return replace(message, attempt=message.attempt.model_copy(update={"recipients": ids}))


def ids(message: OutgoingMessage) -> list[UUID]:
    return [recipient.id for recipient in message.email.recipients]


# --- Settings


def test_a_url_says_all() -> None:
    made = ResendSettings.from_url(f"resend://re_a%2Fb@default?webhook_key={SECRET}&webhook_key={SECRET}&test=on")
    assert (made.key, made.base_url, len(made.webhook_keys)) == ("re_a/b", "https://api.resend.com", 2)
    assert (made.test, made.timeout) == (True, 60.0)
    assert ResendSettings.from_url("resend://re_a@default").test is False


def test_a_secret_with_a_plus_needs_no_escape_in_a_url() -> None:
    made = ResendSettings.from_url("resend://re_a@default?webhook_key=whsec_+/+/")
    assert made.webhook_keys[0].key == base64.b64decode("+/+/")


@pytest.mark.parametrize(
    "url",
    [
        "resend://default",
        "resend://re_secret@",
        "resend://re_secret@default?key=secret",
        "resend://re_secret@default?webhook_key=secret",
        "resend://re_secret@default?webhook_key=whsec_",
        "resend://re_secret@default?webhook_key=whsec_secret!",
        "resend://re_secret@default?webhook_key=whpk_c2VjcmV0",
        "resend://re_secret@default?test=secret",
        "resend://re_secret@default?timeout=secret",
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_the_value(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        ResendSettings.from_url(url)
    assert "secret" not in str(caught.value).replace("signing secret", "")


def test_settings_show_no_secret() -> None:
    made = ResendSettings.from_url(f"resend://re_secret@default?webhook_key={SECRET}")
    assert "re_secret" not in repr(made)
    assert repr(made.webhook_keys[0].key) not in repr(made)


# --- What is sent


def test_an_email_as_it_is_sent() -> None:
    message = outgoing(
        cc=["bob@example.com"],
        bcc=["eve@example.com"],
        sender=Mailbox(address="news@sender.example", name="Acme News"),
        reply_to=(Mailbox(address="help@sender.example"), Mailbox(address="desk@sender.example", name="The Desk")),
        subject="Zażółć",
        content=Content(text="Hello", html="<p>Hello</p>", headers={"X-Campaign": "spring", "In-Reply-To": "<a@b>"}),
        names=["Ada Lovelace"],
    )
    answer, (request,) = send(message)
    assert (request.method, request.path) == ("POST", "/emails")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"]  # without one, Resend's edge answers 403
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == message.attempt.token
    assert request.json() == {
        "attachments": [],
        "from": "Acme News <news@sender.example>",
        "to": ["Ada Lovelace <ada@example.com>"],
        "cc": ["bob@example.com"],
        "bcc": ["eve@example.com"],
        "reply_to": ["help@sender.example", "The Desk <desk@sender.example>"],
        "subject": "Zażółć",
        "text": "Hello",
        "html": "<p>Hello</p>",
        "headers": {"X-Campaign": "spring", "In-Reply-To": "<a@b>"},
        "tags": [{"name": "pl_email_id", "value": str(EMAIL_ID)}],
    }
    assert {m.recipient_id: m.message_id for m in answer.messages} == dict.fromkeys(ids(message), MESSAGE_ID)
    assert (answer.error_class, answer.put_off, answer.reports) == (None, (), ())


def test_what_an_email_has_not_is_not_sent() -> None:
    document = sent(outgoing(content=Content(text="Hello")))
    assert set(document) == {"attachments", "from", "to", "subject", "tags", "text"}


def test_every_field_is_one_of_the_official_client_s() -> None:
    message = outgoing(
        cc=["bob@example.com"],
        bcc=["eve@example.com"],
        reply_to=(Mailbox(address="help@sender.example"),),
        content=Content(text="Hello", html="<p>Hello</p>", headers={"X-Campaign": "spring"}),
        attachments=[LOGO],
    )
    document = sent(message)
    assert set(document) <= get_type_hints(resend.Emails.SendParams).keys()
    assert set(document["attachments"][0]) <= get_type_hints(resend.Attachment).keys()
    assert set(document["tags"][0]) == get_type_hints(resend.Tag).keys()


def test_a_single_recipient_is_named_in_the_tags() -> None:
    message = outgoing()
    assert {tag["name"]: tag["value"] for tag in sent(message)["tags"]} == {
        "pl_email_id": str(EMAIL_ID),
        "pl_recipient_id": str(message.recipients[0].id),
    }


def test_tags_that_resend_does_not_take_are_left_out() -> None:
    message = tagged(
        outgoing(),
        *(("campaign", "spring-2026"), ("campaign", "again"), ("a" * 256, "b" * 256), ("pl_email_id", "forged")),
        *(("two words", "x"), ("x", "two words"), ("ü", "x"), ("x", ""), ("a" * 257, "x"), ("x", "b" * 257)),
    )
    names = [(tag["name"], tag["value"]) for tag in sent(message)["tags"]]
    assert names[2:] == [("campaign", "spring-2026"), ("a" * 256, "b" * 256)]
    assert names[0] == ("pl_email_id", str(EMAIL_ID))
    two = tagged(outgoing(["ada@example.com", "bob@example.com"]), ("pl_recipient_id", str(EMAIL_ID)))
    assert [tag["name"] for tag in sent(two)["tags"]] == ["pl_email_id"]


@pytest.mark.parametrize(
    "name",
    ["Lovelace, Ada", 'Ada "Countess" Lovelace', "Zażółć Gęślą Jaźń " * 5, "A. Lovelace", "=?utf-8?q?x?=", "O'Neil"],
)
def test_a_recipient_s_name_is_never_quoted(name: str) -> None:
    """Resend refuses quoted names, but takes encoded ones (django-anymail)."""
    (written,) = sent(outgoing(names=[name]))["to"]
    shown, address = parseaddr(written)
    assert '"' not in written
    assert written.isascii()
    assert (str(make_header(decode_header(shown))), address) == (name.strip(), "ada@example.com")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Zażółć Gęślą", "Zażółć Gęślą"),
        ("Acme Inc.", "Acme Inc."),
        ("Acme, Inc.", "Acme Inc."),
        ('"The" <Acme>: (Support)', "The Acme Support"),
        ("=?utf-8?q?x?=", "= ?utf-8?q?x?="),
        ("Line\r\nbreak", "Line break"),
        (",;", ""),
    ],
)
def test_the_sender_s_name_is_neither_quoted_nor_encoded(name: str, written: str) -> None:
    """Resend answers 451 to an encoded name in `from`, and 422 to punctuation (django-anymail)."""
    expected = f"{written} <news@sender.example>" if written else "news@sender.example"
    assert sent(outgoing(sender=Mailbox(address="news@sender.example", name=name)))["from"] == expected


def test_domains_are_sent_in_ascii() -> None:
    document = sent(outgoing(["ada@bücher.example"], sender=Mailbox(address="news@zażółć.example")))
    assert document["to"] == ["ada@xn--bcher-kva.example"]
    assert document["from"] == "news@xn--za-6ja4f8n1l.example"


def test_an_address_that_has_no_ascii_form_is_left_to_resend() -> None:
    assert sent(outgoing(["jürgen@example.com"]))["to"] == ["jürgen@example.com"]


def test_attachments_are_streamed_and_arrive_whole() -> None:
    answer, (request,) = send(outgoing(attachments=[PDF, LOGO]))
    pdf, logo = request.json()["attachments"]
    assert base64.b64decode(pdf.pop("content")) == PDF[1]
    assert base64.b64decode(logo.pop("content")) == LOGO[1]
    assert pdf == {"filename": "Rechnung März.pdf", "content_type": "application/pdf"}
    assert logo == {"filename": "logo.png", "content_type": "image/png", "content_id": "logo"}
    assert int(request.headers["content-length"]) == len(request.body)
    assert answer.messages
    assert not isinstance(build(outgoing(attachments=[PDF]), settings("default")).body, bytes)


def test_an_attachment_that_is_gone_is_not_sent_without() -> None:
    message = outgoing(attachments=[PDF])
    message = replace(message, blobs=outgoing().blobs)

    async def use(provider: ResendProvider, stub: HttpStub) -> None:
        try:
            answer = await provider.send(message)
        except BlobMissing:
            return
        assert answer.error_class is UNKNOWN

    assert with_resend(use) == []


def test_in_test_mode_every_recipient_is_one_of_resend_s() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"], cc=["eve@example.com"], bcc=["joe@example.com"])
    document = sent(message, options="&test=on")
    written = [*document["to"], *document["cc"], *document["bcc"]]
    assert written == [f"delivered+{recipient.id.hex[-8:]}@resend.dev" for recipient in message.recipients]
    assert len(set(written)) == 4
    assert "example.com" not in json.dumps(document)


# --- The same call again


def test_every_attempt_at_the_same_recipients_is_the_same_call() -> None:
    first, later = (outgoing(cc=["bob@example.com"], attempt=n, attachments=[LOGO]) for n in (1, 2))
    (_, (one,)), (_, (other,)) = send(first), send(replace(later, date=NOW + timedelta(hours=1)))
    assert one.body == other.body
    assert one.headers["idempotency-key"] == other.headers["idempotency-key"]


def test_attempts_at_other_recipients_are_other_calls() -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "eve@example.com"])
    parts = [only(message, *numbers) for numbers in ((0, 1, 2), (0, 1), (0,), (1,), (1, 2))]
    keys = [idempotency_key(part) for part in parts]
    assert len(set(keys)) == 5
    assert keys[0] == message.attempt.token
    assert all(key.startswith(message.attempt.token) and len(key) <= 256 for key in keys)
    assert idempotency_key(replace(message, only=frozenset(ids(message)[:1]))) == keys[2]


@given(st.permutations(range(4)), st.integers(1, 4))
def test_a_key_goes_with_one_body(order: Sequence[int], size: int) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"], cc=["eve@example.com"], bcc=["joe@example.com"])
    one, other = only(message, *order[:size]), only(message, *sorted(order[:size]))
    assert idempotency_key(one) == idempotency_key(other)
    assert build(one, settings("default")).body == build(other, settings("default")).body


# --- Recipients without a `to`


def test_the_first_cc_stands_in_for_a_missing_to() -> None:
    message = outgoing(cc=["bob@example.com", "eve@example.com"], bcc=["joe@example.com"])
    document = sent(only(message, 1, 2, 3))
    assert (document["to"], document["cc"]) == (["bob@example.com"], ["eve@example.com"])
    assert document["bcc"] == ["joe@example.com"]


def test_no_bcc_sees_another() -> None:
    message = only(outgoing(bcc=["bob@example.com", "eve@example.com", "joe@example.com"]), 1, 2, 3)
    _, bob, eve, joe = ids(message)
    answer, (request,) = send(message)
    document = request.json()
    assert (document["to"], document.get("cc"), document.get("bcc")) == (["bob@example.com"], None, None)
    assert {tag["name"]: tag["value"] for tag in document["tags"]}["pl_recipient_id"] == str(bob)
    assert [m.recipient_id for m in answer.messages] == [bob]
    assert (answer.put_off, answer.error_class, answer.reason) == ((eve, joe), TRANSIENT, "bcc_one_by_one")
    assert request.headers["idempotency-key"] != idempotency_key(only(message, 2, 3))


def test_what_is_said_of_one_bcc_is_not_said_of_the_others() -> None:
    message = only(outgoing(bcc=["bob@example.com", "eve@example.com"]), 1, 2)
    _, bob, eve = ids(message)
    refusal, _ = send(message, refused(422, "validation_error", words="Invalid `to` field."))
    (report,) = refusal.reports
    assert (report.kind, report.recipient_id) == (EmailRecipientDeliveryFailed, bob)
    assert (report.details["reason"], report.details["words"]) == ("validation_error", "Invalid `to` field.")
    assert (refusal.refused(), refusal.put_off) == ((bob,), (eve,))
    assert (refusal.error_class, refusal.reason) == (TRANSIENT, "bcc_one_by_one")

    lost, _ = send(message, Broken.RESET_AFTER_REQUEST)
    assert (lost.error_class, lost.doubtful, lost.put_off) == (UNKNOWN, (bob,), (eve,))
    quota, _ = send(message, refused(429, "daily_quota_exceeded"))
    assert (quota.error_class, quota.put_off, quota.messages) == (QUOTA, (bob, eve), ())


# --- Answers

_OUTCOMES = {outcome.value: outcome for outcome in ErrorClass}


@pytest.mark.parametrize("case", ANSWERS, ids=[case["id"] for case in ANSWERS])
def test_answers_mean_what_the_contract_says(case: dict[str, Any]) -> None:
    answer, _ = send(outgoing(), json_answer(case["body"], case["status"], case["headers"]))
    expected = case["expect"]
    if expected["outcome"] == "per_item":
        assert answer.error_class is UNKNOWN  # the answer of another call: we send no batches
        return
    assert answer.error_class is _OUTCOMES[expected["outcome"]]
    assert answer.reason == case["body"]["name"]
    assert answer.words == case["body"]["message"]
    assert not answer.messages
    assert answer.retry_after == (timedelta(seconds=expected["retry_after_s"]) if "retry_after_s" in expected else None)


ROWS: list[tuple[int, str, ErrorClass]] = [
    *[(400, name, PERMANENT) for name in ("validation_error", "invalid_idempotency_key")],
    *[(401, name, CONFIG) for name in ("missing_api_key", "restricted_api_key")],
    *[(403, name, CONFIG) for name in ("invalid_api_key", "suspended_api_key", "invalid_permission")],
    (403, "validation_error", CONFIG),
    (404, "not_found", CONFIG),
    (405, "method_not_allowed", CONFIG),
    *[(409, name, TRANSIENT) for name in ("concurrent_idempotent_requests", "resource_locked")],
    (409, "invalid_idempotent_request", CONFLICT),
    *[(422, name, PERMANENT) for name in ("validation_error", "missing_required_field", "missing_required_fields")],
    *[(422, name, PERMANENT) for name in ("missing_required_parameter", "invalid_parameter", "invalid_attachment")],
    *[(422, name, PERMANENT) for name in ("invalid_from_address", "invalid_access", "invalid_region")],
    (429, "rate_limit_exceeded", ErrorClass.RATE_LIMITED),
    *[(429, name, QUOTA) for name in ("daily_quota_exceeded", "monthly_quota_exceeded")],
    (451, "security_error", CONFIG),
    *[(500, name, TRANSIENT) for name in ("application_error", "service_unavailable", "internal_server_error")],
    (503, "service_unavailable", TRANSIENT),
    # names that we do not know
    *[(status, "brand_new", PERMANENT) for status in (400, 413, 418, 422)],
    *[(status, "brand_new", CONFIG) for status in (401, 403, 404, 405, 451)],
    (409, "brand_new", TRANSIENT),
    (429, "brand_new", ErrorClass.RATE_LIMITED),
    *[(status, "brand_new", TRANSIENT) for status in (500, 502, 503, 504, 529)],
]


@pytest.mark.parametrize(("status", "name", "error_class"), ROWS)
def test_every_row_of_the_error_table(status: int, name: str, error_class: ErrorClass) -> None:
    body = json.dumps({"statusCode": status, "name": name, "message": "No."}).encode()
    answer = parse(outgoing(), Reply(status, {}, body), "resend", NOW)
    assert (answer.error_class, answer.reason, answer.words) == (error_class, name, "No.")
    assert (answer.messages, answer.reports, answer.put_off) == ((), (), ())


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (413, PERMANENT),
        (400, PERMANENT),
        (403, CONFIG),
        (429, ErrorClass.RATE_LIMITED),
        (502, TRANSIENT),
        (302, CONFIG),
    ],
)
def test_without_a_name_the_status_decides(status: int, error_class: ErrorClass) -> None:
    for body in (
        b"<html>\n<b>Too bad</b></html>",
        b"",
        b"[]",
        b'{"name": ["x"], "message": 7}',
        b'{"name": "It\'s bad"}',
    ):
        answer = parse(outgoing(), Reply(status, {}, body), "resend", NOW)
        assert (answer.error_class, answer.reason) == (error_class, f"http_{status}")
        assert "\n" not in answer.words


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"id": ""}', b'{"id": null}', b'{"data": {"id": "x"}}'])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_yes_without_an_id_is_in_doubt(status: int, body: bytes) -> None:
    answer = parse(outgoing(), Reply(status, {}, body), "resend", NOW)
    assert (answer.error_class, answer.messages) == (UNKNOWN, ())


def test_a_yes_with_another_status_is_one() -> None:
    assert parse(outgoing(), Reply(202, {}, b'{"id": "x"}'), "resend", NOW).messages[0].message_id == "x"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "3", "ratelimit-reset": "9"}, 3),
        ({"ratelimit-reset": "9"}, 9),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "ratelimit-reset": "9"}, 9),
        *[({"retry-after": text}, None) for text in ("0", "-3", "", "nan", "inf", "1e99", "soon")],
        ({}, None),
    ],
)
def test_resend_says_how_long_to_wait(headers: dict[str, str], seconds: int | None) -> None:
    wait = None if seconds is None else timedelta(seconds=seconds)
    body = json.dumps({"name": "rate_limit_exceeded"}).encode()
    assert parse(outgoing(), Reply(429, headers, body), "resend", NOW).retry_after == wait


def test_the_limit_of_a_second_is_no_hint_for_the_quota_of_a_month() -> None:
    body = json.dumps({"name": "monthly_quota_exceeded"}).encode()
    reset = {"ratelimit-reset": "1"}
    assert parse(outgoing(), Reply(429, reset, body), "resend", NOW).retry_after is None


def test_what_resend_says_is_short_and_without_our_key() -> None:
    answer, _ = send(outgoing(), refused(403, "invalid_api_key", words=f"{KEY} is no key. " + "x" * 5000))
    assert answer.words.startswith("*** is no key.")
    assert len(answer.words) == 500
    html, _ = send(outgoing(), Answered(502, {}, b"<html>" + KEY.encode() + b"x" * 5000))
    assert KEY not in html.words
    assert len(html.words) <= 500
    message = only(outgoing(bcc=["bob@example.com", "eve@example.com"]), 1, 2)
    refusal, _ = send(message, refused(422, "validation_error", words=KEY))
    assert refusal.reports[0].details["words"] == "***"


# --- Looking up


def look_up(message: OutgoingMessage, *answers: Reaction, now: datetime = NOW) -> tuple[Answer | None, list[Received]]:
    got: list[Answer | None] = []

    async def use(provider: ResendProvider, _: HttpStub) -> None:
        got.append(await provider.look_up(message))

    requests = with_resend(use, *answers, now=now)
    return got[0], requests


def test_a_look_up_is_the_very_same_call() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"], attachments=[LOGO])
    found, (request,) = look_up(message, now=NOW + timedelta(hours=23))
    _, (original,) = send(message)
    assert found is not None
    assert {m.recipient_id: m.message_id for m in found.messages} == dict.fromkeys(ids(message), MESSAGE_ID)
    assert found.error_class is None
    assert (request.method, request.path, request.body) == (original.method, original.path, original.body)
    assert request.headers["idempotency-key"] == original.headers["idempotency-key"]


def test_asking_about_some_recipients_repeats_the_call_for_all() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    _, bob = ids(message)
    found, (request,) = look_up(replace(message, only=frozenset({bob})))
    assert found is not None
    assert [m.recipient_id for m in found.messages] == [bob]
    assert request.json()["to"] == ["ada@example.com", "bob@example.com"]
    assert request.headers["idempotency-key"] == message.attempt.token


def test_a_bcc_who_was_not_in_the_call_was_not_reached() -> None:
    message = only(outgoing(bcc=["bob@example.com", "eve@example.com"]), 1, 2)
    _, bob, eve = ids(message)
    assert look_up(replace(message, only=frozenset({eve}))) == (Answer(), [])
    found, (request,) = look_up(message)
    assert found is not None
    assert [m.recipient_id for m in found.messages] == [bob]
    _, (original,) = send(message)
    assert (request.body, request.headers["idempotency-key"]) == (original.body, original.headers["idempotency-key"])
    assert look_up(message, refused(422, "validation_error"))[0] == Answer()


@pytest.mark.parametrize(
    "answer",
    [
        *[refused(422, name) for name in ("validation_error", "invalid_attachment", "missing_required_field")],
        *[refused(429, name) for name in ("daily_quota_exceeded", "monthly_quota_exceeded")],
        refused(403, "validation_error"),
        refused(451, "security_error"),
    ],
)
def test_a_call_that_is_refused_was_not_taken_before(answer: Answered) -> None:
    assert look_up(outgoing(), answer)[0] == Answer()


@pytest.mark.parametrize(
    "answer",
    [
        refused(409, "concurrent_idempotent_requests"),
        refused(409, "resource_locked"),
        refused(409, "invalid_idempotent_request"),  # something was taken, but it is not known what
        refused(429, "rate_limit_exceeded"),
        refused(500, "application_error"),
        refused(422, "brand_new"),
        # A key that was withdrawn since says nothing about what was taken with it.
        *[refused(403, name) for name in ("invalid_api_key", "suspended_api_key", "invalid_permission")],
        *[refused(401, name) for name in ("missing_api_key", "restricted_api_key")],
        refused(404, "not_found"),
        *[Answered(status, {}, b"<html>") for status in (200, 302, 403, 404, 413, 502)],
        *[Broken.RESET_ON_CONNECT, Broken.RESET_AFTER_REQUEST, Broken.SILENCE, Broken.GARBAGE],
    ],
)
def test_no_telling(answer: Reaction) -> None:
    found, requests = look_up(outgoing(), answer)
    assert found is None
    assert len(requests) <= 1


def test_resend_forgets_after_a_day() -> None:
    """Later the same call would be another email."""
    for late in (timedelta(hours=24), timedelta(hours=24, seconds=-1), timedelta(days=3)):
        assert look_up(outgoing(), now=NOW + late) == (None, [])
    assert look_up(outgoing(), now=NOW + timedelta(hours=23, minutes=50))[0]


def test_an_email_that_expired_is_not_sent_by_asking_about_it() -> None:
    message = outgoing()
    email = message.email.model_copy(update={"expires_at": NOW + timedelta(minutes=10)})
    message = replace(message, email=email)
    assert look_up(message, now=NOW + timedelta(minutes=10)) == (None, [])
    assert look_up(message, now=NOW + timedelta(minutes=9))[0]


# --- Health


def check(*answers: Reaction) -> tuple[str | None, list[Received]]:
    got: list[str | None] = []

    async def use(provider: ResendProvider, _: HttpStub) -> None:
        got.append(await provider.check())

    requests = with_resend(use, *answers)
    return got[0], requests


def test_a_key_that_may_list_domains_is_fine() -> None:
    trouble, (request,) = check(json_answer({"data": []}))
    assert trouble is None
    assert (request.method, request.path, request.body) == ("GET", "/domains", b"")
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_a_key_that_may_only_send_is_fine() -> None:
    assert check(refused(401, "restricted_api_key"))[0] is None


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (refused(403, "invalid_api_key", words=KEY), "invalid_api_key"),
        (refused(401, "missing_api_key"), "missing_api_key"),
        (Answered(502, {}, KEY.encode()), "http_502"),
        (Broken.RESET_ON_CONNECT, "reached"),
        (Broken.SILENCE, "reached"),
    ],
)
def test_trouble_is_told_without_secrets(answer: Reaction, word: str) -> None:
    trouble, _ = check(answer, answer)  # a GET is made again on a connection that was reset
    assert trouble is not None
    assert word in trouble
    assert KEY not in trouble


# --- Suppressions


def listed(address: str, origin: str, number: int = 1) -> dict[str, Any]:
    id = f"e169aa45-1ecf-4183-9955-{number:012}"
    return {"id": id, "email": address, "origin": origin, "source_id": None, "created_at": "2026-02-01T08:00:00.000Z"}


def page(*entries: object, more: object = False) -> Answered:
    return json_answer({"object": "list", "has_more": more, "data": list(entries)})


def suppressions(*answers: Reaction) -> tuple[list[ListedSuppression], list[Received]]:
    got: list[ListedSuppression] = []

    async def use(provider: ResendProvider, _: HttpStub) -> None:
        got.extend([each async for each in provider.suppressions()])

    requests = with_resend(use, *answers)
    return got, requests


def test_the_whole_list_is_read_page_by_page() -> None:
    got, requests = suppressions(
        page(listed("ada@example.com", "bounce", 1), listed("bob@example.com", "complaint", 2), more=True),
        page(listed("eve@example.com", "manual", 3), listed("joe@example.com", "brand_new", 4)),
    )
    assert [(each.address, each.cause) for each in got] == [
        ("ada@example.com", "bounce"),
        ("bob@example.com", "complaint"),
        ("eve@example.com", "manual"),
        ("joe@example.com", "manual"),
    ]
    assert got[0].listed_at == datetime.fromisoformat("2026-02-01T08:00:00Z")
    assert [request.path for request in requests] == [
        "/suppressions?limit=100",
        "/suppressions?limit=100&after=e169aa45-1ecf-4183-9955-000000000002",
    ]


def test_entries_that_make_no_sense_are_passed_over() -> None:
    got, _ = suppressions(page(7, None, {"email": 7}, {"email": None}, {"email": "ada@example.com", "created_at": 7}))
    assert got[-1] == ListedSuppression("ada@example.com", "manual")


def test_being_told_to_wait_is_no_trouble() -> None:
    wait = refused(429, "rate_limit_exceeded", {"retry-after": "0.01"})
    got, requests = suppressions(wait, wait, page(listed("ada@example.com", "bounce")))
    assert (len(got), len(requests)) == (1, 3)


@pytest.mark.parametrize(
    "answers",
    [
        [refused(401, "restricted_api_key", words=KEY)],
        [refused(404, "not_found")],
        [refused(429, "rate_limit_exceeded", {"retry-after": "0.01"})] * 9,
        [Answered(200, {}, b"<html>")],
        [json_answer({"data": None})],
        [Broken.SILENCE],
        [Broken.RESET_ON_CONNECT] * 2,
        [page(listed("ada@example.com", "bounce"), more=True)] * 2,  # no way on
        [page(more=True)],
    ],
)
def test_half_a_list_is_not_taken_for_the_whole(answers: list[Reaction]) -> None:
    with pytest.raises(ProviderTrouble) as caught:
        suppressions(*answers)
    assert KEY not in str(caught.value)


def test_a_message_that_gives_up_something_has_a_key_of_its_own() -> None:
    """The same key with another body would be refused for good."""
    whole = outgoing()
    keys = [
        idempotency_key(replace(whole, attempt=whole.attempt.model_copy(update={"concessions": words})))
        for words in ((), ("text_only",), ("template:simple.html@0123456789ab",), ("text_only",))
    ]
    assert keys[0] == whole.attempt.token
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]
