"""Postmark: what is sent, what its answers mean, and what it has on record."""

import json
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import Mailbox
from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailDeliveryStarted, EmailRecipientSuppressed, Tag
from infrastructure.providers.http import Reply
from infrastructure.providers.postmark import CODES, PostmarkProvider, PostmarkSettings, parse
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.providers.rigs.postmark import ACCEPTED, MESSAGE_ID, provider_at, refused
from tests.providers.stubbed import stubbed

ANSWERS = json.loads((Path(__file__).parent / "vectors" / "postmark_answers.json").read_text())["cases"]
INACTIVE = "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
PARTLY = f"Message OK, but will not deliver to these inactive addresses: %s. {INACTIVE}"
WHOLLY = (
    f"You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: %s. {INACTIVE}"
)


T = TypeVar("T")


def with_stub(reaction: Reaction, use: Callable[[HttpStub, PostmarkProvider], Awaitable[T]], options: str = "") -> T:
    return stubbed(lambda host: provider_at(host, options), reaction, use)


def sent(message: OutgoingMessage, options: str = "") -> Received:
    async def use(stub: HttpStub, provider: PostmarkProvider) -> Received:
        answer = await provider.send(message)
        assert answer.error_class is None or answer.put_off
        (request,) = stub.requests
        return request

    return with_stub(json_answer(ACCEPTED), use, options)


def answer_to(message: OutgoingMessage, reaction: Reaction) -> Answer:
    return with_stub(reaction, lambda _, provider: provider.send(message))


def parsed(message: OutgoingMessage, document: Any, status: int = 200) -> Answer:
    return parse(message, Reply(status, body=json.dumps(document).encode()), "postmark", NOW)


def suppressed_in(answer: Answer) -> list[Any]:
    assert all((r.kind, r.details) == (EmailRecipientSuppressed, {"rule": "inactive"}) for r in answer.reports)
    assert len({key for report in answer.reports for key in report.keys}) == len(answer.reports)
    return [report.recipient_id for report in answer.reports]


# -- settings


def test_a_url_is_all_there_is_to_set() -> None:
    settings = PostmarkSettings.from_url(
        "postmark://t0ken@default?stream=broadcast&webhook_key=me:pa:ss=1&webhook_key=X-Secret%3Dv%3A1%3D&test=on&timeout=5"
    )
    assert settings.base_url == "https://api.postmarkapp.com"
    assert (settings.token, settings.stream, settings.test, settings.timeout) == ("t0ken", "broadcast", True, 5.0)
    assert [(k.header, k.secret) for k in settings.webhook_keys] == [(None, b"me:pa:ss=1"), ("x-secret", b"v:1=")]
    assert not re.search("t0ken|pa:ss|v:1", repr(settings))


def test_what_is_left_out_has_a_default() -> None:
    settings = PostmarkSettings.from_url("postmark://t0ken@default")
    assert (settings.stream, settings.test, settings.timeout, settings.webhook_keys) == ("outbound", False, 60.0, ())


@pytest.mark.parametrize(
    "url",
    [
        "postmark://default",
        "postmark://",
        "postmark://a%0d%0ab@default",
        "postmark://caf%C3%A9@default",
        "postmark://t@default?webhook_key=s3cret",
        "postmark://t@default?webhook_key=:s3cret",
        "postmark://t@default?webhook_key=s3cret:",
        "postmark://t@default?webhook_key=S3cret=",
        "postmark://t@default?webhook_key=S3cret=%20",
        "postmark://t@default?webhook_key=",
        "postmark://t@default?test=s3cret",
        "postmark://t@default?timeout=s3cret",
        "postmark://t@default?region=s3cret",
        "postmark://t@default?stream=a&stream=b",
    ],
)
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|missing|is not an option|is postmark") as caught:
        PostmarkSettings.from_url(url)
    assert "s3cret" not in str(caught.value).lower()


# -- what is sent


def test_a_message_as_postmark_wants_it() -> None:
    content = Content(text="Hello", html="<p>Hello</p>", headers={"List-Unsubscribe": "<https://x.example>"})
    message = outgoing(
        ["ada@example.com"],
        sender=Mailbox(address="news@sender.example", name="News"),
        reply_to=(Mailbox(address="help@sender.example"), Mailbox(address="desk@sender.example", name="Desk")),
        content=content,
    )
    request = sent(message)
    assert (request.method, request.path) == ("POST", "/email")
    assert request.headers["x-postmark-server-token"] == "server-token"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.json() == {
        "From": '"News" <news@sender.example>',
        "To": "ada@example.com",
        "ReplyTo": 'help@sender.example, "Desk" <desk@sender.example>',
        "Subject": "Hello",
        "TextBody": "Hello",
        "HtmlBody": "<p>Hello</p>",
        "Headers": [
            {"Name": "List-Unsubscribe", "Value": "<https://x.example>"},
            {"Name": "Message-ID", "Value": f"<{EMAIL_ID}@sender.example>"},
            {"Name": "X-PM-KeepID", "Value": "true"},
        ],
        "Metadata": {"pl_email_id": str(EMAIL_ID), "pl_recipient_id": str(message.recipients[0].id)},
        "MessageStream": "outbound",
    }


def test_an_author_gives_no_orders_to_postmark() -> None:
    headers = {"x-pm-Metadata-pl_email_id": "another", "X-PM-KeepID": "false", "message-id": "<x@y>", "X-Own": "a\r\nb"}
    document = sent(outgoing(content=Content(text="x", headers=headers))).json()
    assert [h for h in document["Headers"] if h["Name"] not in ("Message-ID", "X-PM-KeepID")] == [
        {"Name": "X-Own", "Value": "a b"}
    ]
    assert {"Name": "X-PM-KeepID", "Value": "true"} in document["Headers"]
    assert "HtmlBody" not in document


def test_recipients_stand_where_the_author_put_them() -> None:
    message = outgoing(
        ["ada@example.com", "bob@bücher.example"],
        cc=["cy@example.com"],
        bcc=["dee@example.com", "eve@example.com"],
        names=["Lovelace, Ada", 'Bob "the \\ Builder"', "Ć. Żółw"],
    )
    document = sent(message).json()
    assert document["To"] == (
        '"Lovelace, Ada" <ada@example.com>, "Bob \\"the \\\\ Builder\\"" <bob@xn--bcher-kva.example>'
    )
    assert document["Cc"] == '"Ć. Żółw" <cy@example.com>'
    assert document["Bcc"] == "dee@example.com, eve@example.com"
    assert document["Metadata"] == {"pl_email_id": str(EMAIL_ID)}  # one recipient's id would be wrong for the others


def only(message: OutgoingMessage, *addresses: str) -> OutgoingMessage:
    return replace(message, only=frozenset(r.id for r in message.email.recipients if r.address in addresses))


def test_a_second_try_names_only_those_it_is_for() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"], cc=["cy@example.com"], bcc=["dee@example.com"])
    document = sent(only(message, "bob@example.com", "dee@example.com")).json()
    assert (document["To"], document.get("Cc"), document["Bcc"]) == ("bob@example.com", None, "dee@example.com")
    document = sent(only(message, "cy@example.com", "dee@example.com")).json()
    assert (document["To"], document.get("Cc"), document["Bcc"]) == ("cy@example.com", None, "dee@example.com")
    document = sent(only(message, "dee@example.com")).json()
    assert (document["To"], document.get("Bcc")) == ("dee@example.com", None)
    assert document["Metadata"]["pl_recipient_id"] == str(message.email.recipients[3].id)


@pytest.mark.parametrize(
    ("tags", "written"),
    [
        ((), None),
        ((("campaign", "spring"), ("other", "x")), "campaign:spring"),
        ((("campaign", "x" * 1000),), None),
    ],
)
def test_the_first_tag_travels_if_it_fits(tags: tuple[tuple[str, str], ...], written: str | None) -> None:
    message = outgoing()
    email = message.email.model_copy(update={"tags": tuple(Tag(name=n, value=v) for n, v in tags)})
    email = email.model_copy(update={"metadata": {"secret": "stays"}})
    request = sent(replace(message, email=email))
    assert request.json().get("Tag") == written
    assert b"stays" not in request.body


def test_attachments_are_streamed_and_come_out_as_they_went_in() -> None:
    report, logo = bytes(range(256)) * 1000, b"\x89PNG"
    attachments = [attach(report, "Żółw, 1.pdf"), attach(logo, "logo.png", "image/png", "logo")]
    request = sent(outgoing(attachments=attachments))
    assert "transfer-encoding" not in request.headers
    first, second = request.json()["Attachments"]
    assert b64decode(first.pop("Content")) == report
    assert first == {"Name": "Żółw, 1.pdf", "ContentType": "application/pdf"}
    assert b64decode(second.pop("Content")) == logo
    assert second == {"Name": "logo.png", "ContentType": "image/png", "ContentID": "cid:logo"}


def test_without_html_nothing_is_inline() -> None:
    message = outgoing(attachments=[attach(b"x", "logo.png", "image/png", "logo")], content=Content(text="x"))
    assert "ContentID" not in sent(message).json()["Attachments"][0]


def test_the_same_message_is_the_same_request() -> None:
    message = outgoing(attachments=[attach(b"x" * 100_000, "a.bin")])
    assert sent(message).body == sent(message).body


def test_the_test_switch_sends_with_postmarks_test_token() -> None:
    assert sent(outgoing(), "&test=on").headers["x-postmark-server-token"] == "POSTMARK_API_TEST"


def test_another_stream() -> None:
    assert sent(outgoing(), "&stream=broadcast").json()["MessageStream"] == "broadcast"


# -- what the answers mean


@pytest.mark.parametrize("case", [c for c in ANSWERS if isinstance(c["body"], dict)], ids=lambda case: case["id"])
def test_an_answer_of_the_vectors(case: dict[str, Any]) -> None:
    expected = case["expect"]
    message = outgoing()
    answer = parsed(message, case["body"], case["status"])
    if expected["outcome"] == "accepted":
        assert answer.error_class is None
        assert [m.message_id for m in answer.messages] == [expected["provider_message_id"]]
        assert not answer.reports
    else:
        assert answer.error_class == expected["outcome"]
        assert answer.retry_after is None
        assert suppressed_in(answer) == [
            r.id for r in message.recipients if r.address in expected.get("suppressed", ())
        ]


def test_the_items_of_a_batch_answer() -> None:
    (case,) = (c for c in ANSWERS if isinstance(c["body"], list))
    ada, grace = (
        parsed(outgoing([to]), item)
        for to, item in zip(("ada@example.com", "grace@example.com"), case["body"], strict=True)
    )
    assert ada.messages
    assert grace.error_class is ErrorClass.SUPPRESSED


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (401, 10, "config"),
        (404, None, "config"),
        (415, None, "config"),
        (413, None, "permanent"),
        (422, 300, "permanent"),
        (422, 400, "config"),
        (422, 401, "config"),
        (422, 412, "config"),
        (422, 413, "config"),
        (422, 1235, "config"),
        (422, 405, "quota"),
        (422, 406, "suppressed"),
        (422, 411, "permanent"),
        (422, 402, "permanent"),
        (422, 403, "permanent"),
        (422, 409, "permanent"),
        (422, 429, "rate_limited"),
        (422, 100, "transient"),
        (422, 10, "config"),
        (422, 98765, "permanent"),
        (422, None, "permanent"),
        (429, 429, "rate_limited"),
        (429, None, "rate_limited"),
        (500, None, "transient"),
        (500, 406, "transient"),  # an error page quoting anything is no refusal
        (503, 100, "transient"),
        (503, None, "transient"),
        (502, None, "unknown"),
        (504, None, "unknown"),
        (408, None, "transient"),
        (400, None, "permanent"),
        (403, None, "config"),
        (301, None, "config"),
        (202, None, "unknown"),
        (204, 0, "unknown"),
    ],
)
def test_every_refusal_has_a_class(status: int, code: int | None, means: str) -> None:
    document = {"Message": "No.", **({} if code is None else {"ErrorCode": code})}
    answer = parsed(outgoing(), document, status)
    assert answer.error_class == means
    assert not answer.messages
    assert answer.reason
    assert re.fullmatch("[a-z_]+", answer.reason)
    assert answer.words == "No."


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"MessageID": None, "ErrorCode": 0},
        {"MessageID": "", "ErrorCode": 0},
        {"MessageID": MESSAGE_ID, "ErrorCode": 300},
        {"MessageID": MESSAGE_ID, "ErrorCode": "odd"},
        {"ErrorCode": 0, "Message": "OK"},
    ],
)
def test_a_yes_that_is_none_is_in_doubt(document: Any) -> None:
    answer = parsed(outgoing(), document)
    assert (answer.error_class, answer.reason, answer.messages) == (ErrorClass.UNKNOWN, "malformed_answer", ())


def test_a_yes_on_another_status_is_in_doubt() -> None:
    assert parsed(outgoing(), ACCEPTED, 202).in_doubt


def test_those_named_as_inactive_are_suppressed_and_the_others_taken() -> None:
    message = outgoing(["Ada@Example.com", "bob@bücher.example"], cc=["cy@example.com"], bcc=["dee@example.com"])
    ada, bob, cy, dee = (r.id for r in message.recipients)
    answer = parsed(message, ACCEPTED | {"Message": PARTLY % "ada@example.com, bob@xn--bcher-kva.example"})
    assert [(m.recipient_id, m.message_id) for m in answer.messages] == [(cy, MESSAGE_ID), (dee, MESSAGE_ID)]
    assert suppressed_in(answer) == [ada, bob]
    assert answer.refused() == (ada, bob)
    assert answer.error_class is None
    assert not answer.put_off


@pytest.mark.parametrize(
    "text", ["%s", "%s.", "%s. ", "%s.\nInactive recipients are ones", "%s. Inactive addresses can be activated."]
)
def test_the_list_ends_where_the_next_sentence_begins(text: str) -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "a@example.com.au"])
    told = (
        "Message OK, but will not deliver to these inactive addresses: " + text % "bob@example.com,  a@example.com.au"
    )
    assert suppressed_in(parsed(message, ACCEPTED | {"Message": told})) == [r.id for r in message.recipients[1:]]


def test_a_long_list_is_read_to_its_end() -> None:
    addresses = [f"a-rather-long-local-part-{n}@some.subdomain.example.com" for n in range(50)]
    message = outgoing(addresses)
    answer = parsed(message, ACCEPTED | {"Message": PARTLY % ", ".join(addresses[1:])})
    assert [m.recipient_id for m in answer.messages] == [message.recipients[0].id]
    assert len(answer.reports) == 49
    assert len(answer.words) <= 500


def test_everybody_inactive_in_a_yes_is_suppressed() -> None:
    answer = parsed(outgoing(), ACCEPTED | {"Message": PARTLY % "ada@example.com"})
    assert (answer.error_class, answer.reason, answer.messages) == (ErrorClass.SUPPRESSED, "inactive", ())
    assert len(suppressed_in(answer)) == 1


@pytest.mark.parametrize("listed", ["ada@example.com, bob@example.com", "", "who@else.example"])
def test_a_406_suppresses_all_it_names_or_all_if_it_names_none(listed: str) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer = parsed(message, {"ErrorCode": 406, "Message": WHOLLY % listed}, 422)
    assert (answer.error_class, answer.reason, answer.put_off) == (ErrorClass.SUPPRESSED, "inactive", ())
    assert suppressed_in(answer) == [r.id for r in message.recipients]


def test_a_406_sent_nothing_to_those_it_does_not_name() -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "cy@example.com"])
    ada, bob, cy = (r.id for r in message.recipients)
    answer = parsed(message, {"ErrorCode": 406, "Message": WHOLLY % "BOB@example.com"}, 422)
    assert (answer.messages, answer.put_off, suppressed_in(answer)) == ((), (ada, cy), [bob])
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "inactive")


def test_words_are_short_and_never_hold_the_token() -> None:
    page = ("x" * 490 + " server-token server-token" * 50).encode()
    answer = answer_to(outgoing(), Answered(500, {}, page))
    assert len(answer.words) <= 500
    assert "serv" not in answer.words
    assert "server-token" not in answer_to(outgoing(), refused(401, 10, "Bad token server-token")).words


@given(
    st.binary(max_size=300) | st.from_regex(r'\{"ErrorCode": ?[0-9]{1,5}, "MessageID": .{0,20}\}').map(str.encode),
    st.integers(200, 599),
)
def test_no_answer_is_too_odd(body: bytes, status: int) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer = parse(message, Reply(status, body=body), "postmark", NOW)
    assert answer.messages or answer.error_class is not None


@given(st.text(max_size=300))
def test_no_list_of_the_inactive_is_too_odd(listed: str) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer = parsed(message, {"ErrorCode": 406, "Message": "Found inactive addresses: " + listed}, 422)
    assert {*answer.put_off, *suppressed_in(answer)} == {r.id for r in message.recipients}


def test_every_code_is_a_known_class() -> None:
    assert all(error_class is not ErrorClass.UNKNOWN for error_class, _ in CODES.values())


# -- blind recipients without any other


BLIND = outgoing([], bcc=["ada@example.com", "bob@example.com", "cy@example.com"])


def test_blind_recipients_alone_go_one_by_one() -> None:
    ada, bob, cy = (r.id for r in BLIND.recipients)
    document = sent(BLIND).json()
    assert (document["To"], document.get("Bcc")) == ("ada@example.com", None)
    assert document["Metadata"]["pl_recipient_id"] == str(ada)
    answer = answer_to(BLIND, json_answer(ACCEPTED))
    assert [m.recipient_id for m in answer.messages] == [ada]
    assert (answer.put_off, answer.error_class, answer.reason) == ((bob, cy), ErrorClass.TRANSIENT, "bcc_one_by_one")


@pytest.mark.parametrize(
    "refusal", [refused(422, 300, "Invalid 'To' address"), refused(422, 406, WHOLLY % "ada@example.com")]
)
def test_a_refused_blind_recipient_is_not_held_against_the_others(refusal: Answered) -> None:
    ada, bob, cy = (r.id for r in BLIND.recipients)
    answer = answer_to(BLIND, refusal)
    assert (answer.refused(), answer.put_off) == ((ada,), (bob, cy))
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "bcc_one_by_one")


def test_only_the_blind_recipient_of_the_call_is_in_doubt() -> None:
    ada, bob, cy = (r.id for r in BLIND.recipients)
    answer = answer_to(BLIND, Broken.RESET_AFTER_REQUEST)
    assert (answer.error_class, answer.doubtful, answer.put_off) == (ErrorClass.UNKNOWN, (ada,), (bob, cy))


def test_trouble_puts_off_all_blind_recipients() -> None:
    answer = answer_to(BLIND, refused(503, 100, "Maintenance"))
    assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "maintenance")
    assert answer.put_off == tuple(r.id for r in BLIND.recipients)


# -- looking up


def record(*to: str, message_id: str = MESSAGE_ID, **more: Any) -> dict[str, Any]:
    return {
        "MessageID": message_id,
        "To": [{"Email": address, "Name": None} for address in to],
        "Cc": [],
        "Bcc": [],
        "Recipients": list(to),
        "ReceivedAt": "2026-03-01T07:00:01.4178645-05:00",  # NOW and a second
        "Status": "Sent",
        "Metadata": {"pl_email_id": str(EMAIL_ID)},
        "MessageStream": "outbound",
        **more,
    }


def listing(*records: Any, total: Any = None) -> Answered:
    return json_answer({"TotalCount": len(records) if total is None else total, "Messages": list(records)})


def looked_up(
    message: OutgoingMessage, *reactions: Reaction, options: str = ""
) -> tuple[Answer | None, list[Received]]:
    async def use(stub: HttpStub, provider: PostmarkProvider) -> tuple[Answer | None, list[Received]]:
        stub.answers.extend(reactions)
        return await provider.look_up(message), stub.requests

    return with_stub(Answered(500), use, options)


def attempt(message: OutgoingMessage, **changes: Any) -> OutgoingMessage:
    started: EmailDeliveryStarted = message.attempt.model_copy(update=changes)
    return replace(message, attempt=started)


def found(answer: Answer | None) -> dict[Any, str]:
    assert answer is not None
    assert answer.error_class is None
    return {m.recipient_id: m.message_id for m in answer.messages}


def test_a_search_asks_for_our_id_in_our_stream() -> None:
    message = outgoing(["ada+x@example.com"])
    answer, (request,) = looked_up(message, listing(record("ada+x@example.com")), options="&stream=my-own&test=on")
    assert found(answer) == {message.recipients[0].id: MESSAGE_ID}
    assert (request.method, urlsplit(request.path).path) == ("GET", "/messages/outbound")
    assert parse_qs(urlsplit(request.path).query) == {
        "metadata_pl_email_id": [str(EMAIL_ID)],
        "recipient": ["ada+x@example.com"],
        "messagestream": ["my-own"],
        "count": ["50"],
        "offset": ["0"],
    }
    assert request.headers["x-postmark-server-token"] == "server-token"  # the test token cannot search


def test_all_whom_the_record_names_were_taken() -> None:
    message = outgoing(
        ["Ada@example.com", "bob@bücher.example"], cc=["cy@example.com"], bcc=["dee@example.com", "eve@example.com"]
    )
    ada, bob, cy, dee, _ = (r.id for r in message.recipients)
    held = record(
        "ada@EXAMPLE.com",
        "bob@xn--bcher-kva.example",
        Cc=[{"Email": "cy@example.com"}],
        Bcc=[{"Email": "dee@example.com"}],
        Recipients=["ada@example.com"],
    )
    answer, (request,) = looked_up(message, listing(held))
    assert set(found(answer)) == {ada, bob, cy, dee}
    assert "recipient=" not in request.path


def test_nothing_on_record_is_an_answer() -> None:
    answer, (narrow, wide) = looked_up(outgoing(["ada@bücher.example"]), listing(), listing(total="0"))
    assert answer == Answer()
    assert parse_qs(urlsplit(narrow.path).query)["recipient"] == ["ada@xn--bcher-kva.example"]
    assert "recipient=" not in wide.path
    assert looked_up(outgoing(["ada@example.com", "bob@example.com"]), listing())[0] == Answer()


def test_a_record_is_found_however_addresses_are_compared() -> None:
    assert found(looked_up(outgoing(), listing(), listing(record("ada@example.com")))[0])
    assert looked_up(outgoing(), listing(), listing(record("bob@example.com")))[0] is None
    assert looked_up(outgoing(), listing(), Answered(500))[0] is None


@pytest.mark.parametrize(
    "reaction",
    [
        listing(total=3),
        json_answer({"Messages": None}),
        json_answer([]),
        Answered(200, {}, b"<html>"),
        refused(401, 10, "Bad token"),
        refused(422, 300, "Invalid parameter"),
        Answered(500),
        Broken.RESET_AFTER_REQUEST,
        Broken.GARBAGE,
    ],
)
def test_a_search_that_failed_proves_nothing(reaction: Reaction) -> None:
    assert looked_up(outgoing(), reaction)[0] is None


@pytest.mark.parametrize(
    "held",
    [
        record("ada@example.com", Metadata={"pl_email_id": "another"}),
        record("ada@example.com", Metadata={}),
        record("ada@example.com", Metadata={"pl_email_id": str(EMAIL_ID).upper()}),
        record("bob@example.com"),
        record("ada@example.com", message_id=""),
        "odd",
        None,
        {"Metadata": {"pl_email_id": str(EMAIL_ID)}, "To": "ada@example.com", "MessageID": MESSAGE_ID},
    ],
)
def test_a_record_that_is_not_surely_ours_proves_nothing(held: Any) -> None:
    assert looked_up(outgoing(), listing(held))[0] is None


def test_the_filter_may_be_ignored() -> None:
    others = [record("ada@example.com", message_id=f"m{n}", Metadata={"pl_email_id": str(n)}) for n in range(30)]
    answer, _ = looked_up(outgoing(), listing(*others, record("ada@example.com")))
    assert list(found(answer).values()) == [MESSAGE_ID]


def test_a_search_without_metadata_is_followed_by_a_look_at_the_details() -> None:
    bare = record("ada@example.com", message_id="a/b")
    del bare["Metadata"]
    answer, requests = looked_up(outgoing(), listing(bare), json_answer(record("ada@example.com", message_id="a/b")))
    assert list(found(answer).values()) == ["a/b"]
    assert [urlsplit(r.path).path for r in requests][1] == "/messages/outbound/a%2Fb/details"
    assert looked_up(outgoing(), listing(bare), json_answer(record("ada@example.com", Metadata={})))[0] is None
    assert looked_up(outgoing(), listing(bare), Answered(404))[0] is None
    assert looked_up(outgoing(), listing(bare), Broken.RESET_AFTER_REQUEST)[0] is None


def test_not_every_record_is_looked_into() -> None:
    bare = [{"MessageID": f"m{n}"} for n in range(50)]
    answer, requests = looked_up(outgoing(), listing(*bare))
    assert answer is None
    assert len(requests) == 11


def test_an_older_attempts_record_proves_nothing_about_this_one() -> None:
    message = attempt(outgoing(), attempt=2, occurred_at=NOW + timedelta(hours=1))
    older, newer = (
        record("ada@example.com"),
        record("ada@example.com", message_id="new", ReceivedAt="2026-03-01T13:00:01Z"),
    )
    assert looked_up(message, listing(older))[0] is None
    assert looked_up(message, listing(record("ada@example.com", ReceivedAt=None)))[0] is None
    assert list(found(looked_up(message, listing(older, newer))[0]).values()) == ["new"]


def test_beyond_the_shortest_retention_nothing_found_proves_nothing() -> None:
    message = attempt(outgoing(), occurred_at=NOW - timedelta(days=7))
    assert looked_up(message, listing(), listing())[0] is None
    assert found(looked_up(message, listing(record("ada@example.com")))[0])


# -- the check


def checked(reaction: Reaction) -> tuple[str | None, list[Received]]:
    async def use(stub: HttpStub, provider: PostmarkProvider) -> tuple[str | None, list[Received]]:
        return await provider.check(), stub.requests

    return with_stub(reaction, use, "&test=on")


def test_a_check_asks_for_the_server() -> None:
    wrong, (request,) = checked(json_answer({"ID": 1, "Name": "Mine", "DeliveryType": "Live"}))
    assert wrong is None
    assert (request.method, request.path) == ("GET", "/server")
    assert request.headers["x-postmark-server-token"] == "server-token"


@pytest.mark.parametrize(
    "reaction",
    [refused(401, 10, "server-token"), Answered(200, {}, b"<html>"), Answered(503), Broken.RESET_AFTER_REQUEST],
)
def test_a_check_that_fails_says_so_without_secrets(reaction: Reaction) -> None:
    wrong, _ = checked(reaction)
    assert wrong
    assert "server-token" not in wrong


# -- the suppression list


def dumped(reaction: Reaction, options: str = "") -> tuple[list[ListedSuppression], list[Received]]:
    async def use(stub: HttpStub, provider: PostmarkProvider) -> tuple[list[ListedSuppression], list[Received]]:
        return [entry async for entry in provider.suppressions()], stub.requests

    return with_stub(reaction, use, options)


def entry(reason: Any, origin: Any, address: Any = "ada@example.com") -> dict[str, Any]:
    return {
        "EmailAddress": address,
        "SuppressionReason": reason,
        "Origin": origin,
        "CreatedAt": "2026-01-01T05:00:00-05:00",
    }


def test_the_list_of_the_stream_is_read() -> None:
    listed, (request,) = dumped(json_answer({"Suppressions": [entry("HardBounce", "Recipient")]}), "&stream=my/own")
    assert (request.method, request.path) == ("GET", "/message-streams/my%2Fown/suppressions/dump")
    (one,) = listed
    assert (one.address, one.cause, one.words) == ("ada@example.com", "bounce", "HardBounce (Recipient)")
    assert one.listed_at is not None
    assert one.listed_at.isoformat() == "2026-01-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("reason", "origin", "cause"),
    [
        ("HardBounce", "Recipient", "bounce"),
        ("HardBounce", "Admin", "bounce"),
        ("SpamComplaint", "Recipient", "complaint"),
        ("SpamComplaint", "Customer", "complaint"),
        ("ManualSuppression", "Recipient", "unsubscribe"),
        ("ManualSuppression", "Customer", "manual"),
        ("ManualSuppression", "Admin", "manual"),
        ("SomethingNew", "Recipient", "manual"),
        (None, None, "manual"),
    ],
)
def test_the_cause_of_an_entry(reason: str | None, origin: str | None, cause: str) -> None:
    listed, _ = dumped(json_answer({"Suppressions": [entry(reason, origin)]}))
    assert [one.cause for one in listed] == [cause]


def test_entries_without_an_address_are_passed_over() -> None:
    listed, _ = dumped(json_answer({"Suppressions": [None, [], {}, entry("HardBounce", "Recipient", 0.5)]}))
    assert listed == []


def test_a_list_too_long_for_one_answer_is_read_in_parts() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(40)]
    asked: list[tuple[str, ...]] = []

    def dump(request: Received) -> Answered:
        query = parse_qs(urlsplit(request.path).query)
        if not query:
            return Answered(200, {}, b"x" * (1 << 22))
        asked.append((query["fromdate"][0], query["todate"][0]))
        first, last = (date.fromisoformat(each) for each in asked[-1])
        within = [day for day in days if first <= day <= last]
        if len(within) > 20:
            return Answered(200, {}, b"[" * (1 << 22))
        return json_answer({"Suppressions": [entry("HardBounce", "Recipient", f"{day}@example.com") for day in within]})

    listed, _ = dumped(dump)
    assert [one.address for one in listed] == [f"{day}@example.com" for day in days]  # once each
    assert asked[0] == ("2009-01-01", "2017-08-01")


def test_a_day_too_long_to_be_read_is_trouble() -> None:
    with pytest.raises(ProviderTrouble, match="single day"):
        dumped(Answered(200, {}, b"x" * (1 << 22)))


@pytest.mark.parametrize(
    "reaction", [refused(401, 10, "x"), json_answer({}), json_answer([]), Answered(200), Broken.RESET_AFTER_REQUEST]
)
def test_a_list_that_cannot_be_had_is_trouble(reaction: Reaction) -> None:
    with pytest.raises(ProviderTrouble):
        dumped(reaction)
