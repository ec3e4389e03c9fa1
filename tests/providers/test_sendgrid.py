"""SendGrid: what is sent, what its answers mean, and what it has on record."""

import asyncio
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.mail import (
    Attachment,
    Category,
    CustomArg,
    From,
    Header,
    Mail,
    MailSettings,
    SandBoxMode,
    To,
)
from sendgrid.helpers.mail import (
    Content as OfficialContent,
)

from application.errors import BlobMissing, ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import Mailbox
from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailDeliveryStarted, Tag
from infrastructure.providers.http import Reply
from infrastructure.providers.sendgrid import RESERVED, SendGridProvider, SendGridSettings, build, parse
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.providers.rigs.sendgrid import ACCEPTED, MESSAGE_ID, provider_at, refused
from tests.providers.stubbed import stubbed
from tests.providers_fake import MemoryBlobs

ANSWERS = json.loads((Path(__file__).parent / "vectors" / "sendgrid_answers.json").read_text())["cases"]
WEBHOOK_KEY = json.loads((Path(__file__).parent / "vectors" / "sendgrid_signature.json").read_text())[
    "public_key_spki_b64"
]
T = TypeVar("T")


def with_stub(reaction: Reaction, use: Callable[[HttpStub, SendGridProvider], Awaitable[T]], options: str = "") -> T:
    return stubbed(lambda host: provider_at(host, options), reaction, use)


def sent(message: OutgoingMessage, options: str = "") -> Received:
    async def use(stub: HttpStub, provider: SendGridProvider) -> Received:
        answer = await provider.send(message)
        assert answer.error_class is None
        (request,) = stub.requests
        return request

    return with_stub(ACCEPTED, use, options)


def answer_to(message: OutgoingMessage, reaction: Reaction, options: str = "") -> Answer:
    return with_stub(reaction, lambda _, provider: provider.send(message), options)


def written(content: Content) -> OutgoingMessage:
    return outgoing(content=content)


def tagged(*tags: tuple[str, str], metadata: dict[str, str] | None = None) -> OutgoingMessage:
    message = outgoing()
    changes = {"tags": tuple(Tag(name=name, value=value) for name, value in tags), "metadata": metadata or {}}
    return replace(message, email=message.email.model_copy(update=changes))


# -- settings


def test_a_url_is_all_there_is_to_set() -> None:
    settings = SendGridSettings.from_url(
        f"sendgrid://SG.a%2Fb@default?region=eu&sandbox=on&tolerance=300&timeout=5&webhook_key={WEBHOOK_KEY}"
    )
    assert settings.base_url == "https://api.eu.sendgrid.com"
    assert (settings.key, settings.sandbox, settings.timeout) == ("SG.a/b", True, 5.0)
    assert (settings.tolerance, len(settings.webhook_keys)) == (timedelta(minutes=5), 1)
    assert "SG.a/b" not in repr(settings)


def test_what_is_left_out_has_a_default() -> None:
    settings = SendGridSettings.from_url("sendgrid://SG.key@default")
    assert settings == SendGridSettings("SG.key")
    assert (settings.base_url, settings.sandbox, settings.timeout) == ("https://api.sendgrid.com", False, 60.0)
    assert (settings.tolerance, settings.webhook_keys) == (timedelta(days=1), ())


@pytest.mark.parametrize(
    "url",
    [
        "sendgrid://default",
        "sendgrid://",
        "sendgrid://a%0d%0ab@default",
        "sendgrid://caf%C3%A9@default",
        "sendgrid://k@default?webhook_key=s3cret",
        "sendgrid://k@default?webhook_key=",
        "sendgrid://k@default?region=s3cret",
        "sendgrid://k@default?sandbox=s3cret",
        "sendgrid://k@default?tolerance=s3cret",
        "sendgrid://k@default?tolerance=86401",
        "sendgrid://k@default?timeout=0",
        "sendgrid://k@default?key=s3cret",
        "sendgrid://k@default?region=us&region=eu",
    ],
)
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|missing|is not an option|is sendgrid") as caught:
        SendGridSettings.from_url(url)
    assert "s3cret" not in str(caught.value)


# -- what is sent


def test_a_message_as_sendgrid_wants_it() -> None:
    message = outgoing(
        ["ada@example.com"],
        sender=Mailbox(address="news@sender.example", name="News, daily"),
        reply_to=(Mailbox(address="help@sender.example"), Mailbox(address="desk@sender.example", name="Desk")),
        content=Content(text="Hello", html="<p>Hello</p>", headers={"List-Unsubscribe": "<https://x.example>"}),
    )
    request = sent(message)
    assert (request.method, request.path) == ("POST", "/v3/mail/send")
    assert request.headers["authorization"] == "Bearer SG.s3cret"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.json() == {
        "personalizations": [
            {
                "to": [{"email": "ada@example.com"}],
                "custom_args": {"pl_email_id": str(EMAIL_ID), "pl_recipient_id": str(message.recipients[0].id)},
            }
        ],
        "from": {"email": "news@sender.example", "name": "News, daily"},
        "reply_to_list": [{"email": "help@sender.example"}, {"email": "desk@sender.example", "name": "Desk"}],
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello</p>"}],
        "headers": {"List-Unsubscribe": "<https://x.example>", "Message-ID": f"<{EMAIL_ID}@sender.example>"},
    }


def test_the_official_library_writes_the_same() -> None:
    message = outgoing(["ada@example.com"], names=["Ada"], attachments=[attach(b"%PDF", "a.pdf")])
    message = replace(message, email=message.email.model_copy(update={"tags": (Tag(name="a", value="b"),)}))
    to = To("ada@example.com", "Ada")
    official = Mail(From("news@sender.example"), to, "Hello")
    official.content = [
        OfficialContent("text/plain", "Hello Ada"),
        OfficialContent("text/html", "<p>Hello Ada</p>"),
    ]
    for name, value in (("pl_email_id", str(EMAIL_ID)), ("pl_recipient_id", str(message.recipients[0].id))):
        official.add_custom_arg(CustomArg(name, value, p=0))
    official.add_attachment(Attachment(b64encode(b"%PDF").decode(), "a.pdf", "application/pdf", "attachment"))
    official.add_category(Category("a:b"))
    official.add_header(Header("Message-ID", f"<{EMAIL_ID}@sender.example>"))
    official.mail_settings = MailSettings(sandbox_mode=SandBoxMode(True))
    assert sent(message, "&sandbox=on").json() == official.get()


def test_recipients_stand_where_the_author_put_them() -> None:
    message = outgoing(
        ["ada@example.com", "bob@bücher.example"],
        cc=["cy@example.com"],
        bcc=["dee@example.com", "eve@example.com"],
        names=["Lovelace, Ada", 'Bob "the \\ Builder"; PhD', "Ć. Żółw", "Dee\u2028D."],
    )
    (personalization,) = sent(message).json()["personalizations"]
    assert personalization == {
        "to": [
            {"email": "ada@example.com", "name": '"Lovelace, Ada"'},
            {"email": "bob@xn--bcher-kva.example", "name": '"Bob \\"the \\\\ Builder\\"; PhD"'},
        ],
        "cc": [{"email": "cy@example.com", "name": "Ć. Żółw"}],
        "bcc": [{"email": "dee@example.com", "name": "Dee D."}, {"email": "eve@example.com"}],
        "custom_args": {"pl_email_id": str(EMAIL_ID)},  # one recipient's id would be wrong for the others
    }


def only(message: OutgoingMessage, *addresses: str) -> OutgoingMessage:
    return replace(message, only=frozenset(r.id for r in message.email.recipients if r.address in addresses))


def addressed(message: OutgoingMessage) -> list[dict[str, list[str]]]:
    return [
        {kind: [box["email"] for box in boxes] for kind, boxes in each.items() if kind != "custom_args"}
        for each in sent(message).json()["personalizations"]
    ]


def test_a_second_try_names_only_those_it_is_for() -> None:
    message = outgoing(
        ["ada@example.com", "bob@example.com"], cc=["cy@example.com", "di@example.com"], bcc=["ed@a.com"]
    )
    assert addressed(only(message, "bob@example.com", "ed@a.com")) == [{"to": ["bob@example.com"], "bcc": ["ed@a.com"]}]
    assert addressed(only(message, "cy@example.com", "di@example.com", "ed@a.com")) == [
        {"to": ["cy@example.com"], "cc": ["di@example.com"], "bcc": ["ed@a.com"]}
    ]


def test_blind_recipients_alone_do_not_see_each_other() -> None:
    message = only(outgoing(bcc=["bob@example.com", "cy@example.com"]), "bob@example.com", "cy@example.com")
    bob, cy = message.recipients
    assert addressed(message) == [{"to": ["bob@example.com"]}, {"to": ["cy@example.com"]}]
    assert [each["custom_args"] for each in sent(message).json()["personalizations"]] == [
        {"pl_email_id": str(EMAIL_ID), "pl_recipient_id": str(recipient.id)} for recipient in (bob, cy)
    ]
    answer = answer_to(message, ACCEPTED)
    assert {m.recipient_id for m in answer.messages} == {bob.id, cy.id}
    assert not answer.put_off


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (Content(text="x"), [("text/plain", "x")]),
        (Content(html="<p>"), [("text/html", "<p>")]),
        (Content(text="", html="<p>"), [("text/html", "<p>")]),
        (Content(text=""), [("text/plain", " ")]),
    ],
)
def test_no_part_is_empty(content: Content, parts: list[tuple[str, str]]) -> None:
    assert [(each["type"], each["value"]) for each in sent(written(content)).json()["content"]] == parts


def test_a_subject_there_must_be() -> None:
    assert sent(outgoing(subject="")).json()["subject"] == " "


def test_reserved_headers_are_left_out() -> None:
    headers = {name.title(): "x" for name in RESERVED} | {"message-ID": "<x@y>", "References": "<a@b>"}
    assert sent(written(Content(text="x", headers=headers))).json()["headers"] == {
        "References": "<a@b>",
        "Message-ID": f"<{EMAIL_ID}@sender.example>",
    }


def test_sendgrids_reserved_headers_are_all_known() -> None:
    named = (
        "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject reply-to cc"
    )
    assert RESERVED.issuperset([*named.split(), "bcc"])


@pytest.mark.parametrize("value", ["plain", "żółw " * 40, "a word " * 40, "line\r\nInjected: yes", "=?utf-8?q?x?="])
def test_a_header_is_one_line_of_ascii_that_means_the_same(value: str) -> None:
    header = sent(written(Content(text="x", headers={"X-Own": value}))).json()["headers"]["X-Own"]
    assert header.isascii()
    assert header.isprintable()
    assert " ".join(str(make_header(decode_header(header))).split()) == " ".join(value.split())


def test_tags_are_categories_as_far_as_they_fit() -> None:
    many = [(f"n{number}", "v") for number in range(12)]
    document = sent(tagged(("a", "b"), ("a", "b"), ("long", "x" * 251), ("ż", "v"), *many)).json()
    assert document["categories"] == ["a:b", *(f"n{number}:v" for number in range(9))]
    assert sent(tagged(("long", "x" * 250))).json()["categories"] == ["long:" + "x" * 250]


def test_metadata_stays_here() -> None:
    assert b"stays here" not in sent(tagged(metadata={"note": "stays here"})).body


def test_attachments_are_streamed_and_come_out_as_they_went_in() -> None:
    report, logo = bytes(range(256)) * 1000, b"\x89PNG"
    attachments = [
        attach(report, "Résumé — 1.pdf", "text/csv; charset=utf-8"),
        attach(logo, "logo.png", "image/png", "logo"),
    ]
    message = outgoing(attachments=attachments)
    assert not isinstance(build(message, SendGridSettings("k")).body, bytes)
    request = sent(message)
    assert "transfer-encoding" not in request.headers
    first, second = request.json()["attachments"]
    assert b64decode(first.pop("content")) == report
    assert first == {"filename": "Resume _ 1.pdf", "type": "text/csv", "disposition": "attachment"}
    assert b64decode(second.pop("content")) == logo
    assert second == {"filename": "logo.png", "type": "image/png", "disposition": "inline", "content_id": "logo"}


def test_without_html_nothing_is_inline() -> None:
    message = outgoing(attachments=[attach(b"x", "logo.png", "image/png", "logo")], content=Content(text="x"))
    (written,) = sent(message).json()["attachments"]
    assert (written["disposition"], "content_id" in written) == ("attachment", False)


@given(st.text(min_size=1))
def test_a_file_name_is_ascii_on_one_line(name: str) -> None:
    body = build(outgoing(attachments=[attach(b"", name)]), SendGridSettings("k")).body
    assert not isinstance(body, bytes)
    text = asyncio.run(_joined(body))
    assert re.fullmatch(r"[ -~]*", json.loads(text)["attachments"][0]["filename"])


async def _joined(body: Any) -> bytes:
    return b"".join([chunk async for chunk in body])


def test_a_missing_attachment_is_told_apart_from_trouble_with_sendgrid() -> None:
    message = replace(outgoing(attachments=[attach(b"x" * 100_000, "a.bin")]), blobs=MemoryBlobs())
    with pytest.raises(BlobMissing):
        answer_to(message, ACCEPTED)


def test_the_same_message_is_the_same_request() -> None:
    message = outgoing(attachments=[attach(b"x" * 100_000, "a.bin")])
    assert sent(message).body == sent(message).body


def test_the_sandbox_switch() -> None:
    assert sent(outgoing(), "&sandbox=on").json()["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert "mail_settings" not in sent(outgoing()).json()


# -- what the answers mean


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case["id"])
def test_an_answer_of_the_vectors(case: dict[str, Any]) -> None:
    expected, body = case["expect"], case["body"]
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    reply = Reply(case["status"], {name.lower(): value for name, value in case["headers"].items()}, encoded)
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    answer = parse(outgoing(), reply, now, sandbox=expected.get("sandbox", False))
    if expected["outcome"] == "accepted":
        message_id = expected["provider_message_id"] or f"{EMAIL_ID}@sender.example"
        assert [m.message_id for m in answer.messages] == [message_id]
        assert answer.error_class is None
        return
    assert (answer.error_class, answer.messages) == (expected["outcome"], ())
    assert expected.get("field", "") in answer.words
    retry_at = now + answer.retry_after if answer.retry_after else None
    assert (retry_at and retry_at.timestamp()) == expected.get("retry_at_epoch")


@pytest.mark.parametrize(
    ("status", "error_class", "reason"),
    [
        (400, "permanent", "invalid_request"),
        (401, "config", "bad_key"),
        (403, "config", "forbidden"),
        (404, "config", "not_the_api"),
        (405, "config", "not_the_api"),
        (406, "config", "not_the_api"),
        (415, "config", "not_the_api"),
        (302, "config", "not_the_api"),
        (422, "config", "not_the_api"),
        (408, "transient", "timeout"),
        (413, "permanent", "too_large"),
        (429, "rate_limited", "rate_limited"),
        (500, "transient", "server_error"),
        (502, "transient", "server_error"),
        (503, "transient", "server_error"),
        (504, "unknown", "server_error"),
        (520, "unknown", "server_error"),
        (200, "unknown", "malformed_answer"),  # nobody asked for the sandbox
        (204, "unknown", "malformed_answer"),
    ],
)
def test_every_status_has_a_class(status: int, error_class: str, reason: str) -> None:
    answer = parse(outgoing(), Reply(status, body=b"<html>No.</html>"), NOW)
    assert (answer.error_class, answer.reason, answer.messages) == (error_class, reason, ())
    assert answer.words == "<html>No.</html>"


@pytest.mark.parametrize("status", [401, 403])
def test_credits_that_are_used_up_are_no_bad_key(status: int) -> None:
    reply = Reply(status, body=b'{"errors": [{"message": "Maximum Credits exceeded", "field": null}]}')
    answer = parse(outgoing(), reply, NOW)
    assert (answer.error_class, answer.reason, answer.words) == ("quota", "no_credits", "Maximum Credits exceeded")


def test_a_yes_without_an_id_is_a_yes_all_the_same() -> None:
    (message,) = parse(outgoing(), Reply(202), NOW).messages
    assert message.message_id == f"{EMAIL_ID}@sender.example"


def test_in_the_sandbox_our_message_id_is_the_messages() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer = answer_to(message, Answered(200), "&sandbox=on")
    assert {m.message_id for m in answer.messages} == {f"{EMAIL_ID}@sender.example"}
    assert {m.recipient_id for m in answer.messages} == {r.id for r in message.recipients}


def test_a_200_without_the_sandbox_is_in_doubt() -> None:
    assert answer_to(outgoing(), Answered(200, {"X-Message-Id": MESSAGE_ID})).in_doubt


def test_words_name_each_field_and_are_short() -> None:
    errors = [{"message": f"Wrong\n{number}.", "field": f"content.{number}"} for number in range(200)]
    answer = parse(outgoing(), Reply(400, body=json.dumps({"errors": errors}).encode()), NOW)
    assert answer.words.startswith("Wrong 0. (content.0); Wrong 1. (content.1); ")
    assert len(answer.words) == 500


def test_our_key_is_never_kept() -> None:
    answer = answer_to(outgoing(), refused(401, "No such key: Bearer SG.s3cret"))
    assert answer.words == "No such key: Bearer ***"


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (int(NOW.timestamp()) + 42, 42),
        (int(NOW.timestamp()) - 1, None),
        (int(NOW.timestamp()) + 10**7, 86_400),
        ("60", None),
        ("soon", None),
        ("nan", None),
        (None, None),
    ],
)
def test_when_to_come_back(reset: object, seconds: int | None) -> None:
    headers = {} if reset is None else {"x-ratelimit-reset": str(reset)}
    answer = parse(outgoing(), Reply(429, headers), NOW)
    assert answer.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@given(st.integers(200, 599), st.binary() | st.text().map(str.encode), st.booleans())
def test_parse_takes_any_answer(status: int, body: bytes, sandbox: bool) -> None:
    answer = parse(outgoing(), Reply(status, {}, body), NOW, sandbox=sandbox)
    assert bool(answer.messages) == (answer.error_class is None) == (status == 202 or (sandbox and status == 200))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "message", "field"]), inner),
    )
)
def test_parse_takes_any_errors(errors: Any) -> None:
    answer = parse(outgoing(), Reply(400, {}, json.dumps({"errors": errors}).encode()), NOW)
    assert answer.error_class is ErrorClass.PERMANENT


# -- what is on record


def listed(*full_ids: str, created: datetime = NOW) -> Answered:
    return json_answer(
        {"messages": [{"sg_message_id": each, "sg_message_id_created_at": created.isoformat()} for each in full_ids]}
    )


def details(*, subject: str = "Hello", **custom_args: str) -> Answered:
    document = {"sg_message_id": "x", "subject": subject, "events": [{"event": "processed"}]}
    return json_answer({**document, "custom_args": custom_args})


OURS = details(pl_email_id=str(EMAIL_ID))
FULL = f"{MESSAGE_ID}.recvd-5f6c9d7b8c-abcde-1-695660C0-1A.0"


def looked_up(message: OutgoingMessage, *answers: Reaction) -> tuple[Answer | None, list[Received]]:
    async def use(stub: HttpStub, provider: SendGridProvider) -> tuple[Answer | None, list[Received]]:
        stub.answers.extend(answers)
        return await provider.look_up(message), stub.requests

    return with_stub(Answered(500), use)


def at(message: OutgoingMessage, moment: datetime, attempt: int = 1) -> OutgoingMessage:
    changes = {"occurred_at": moment, "attempt": attempt}
    started: EmailDeliveryStarted = message.attempt.model_copy(update=changes)
    return replace(message, attempt=started)


def test_a_record_with_our_id_proves_that_the_call_was_taken() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer, (search, look) = looked_up(message, listed(FULL), OURS)
    assert answer is not None
    assert [(m.recipient_id, m.message_id) for m in answer.messages] == [
        (recipient.id, MESSAGE_ID) for recipient in message.recipients
    ]
    assert (search.method, search.path, look.method, look.path) == ("POST", "/v3/logs", "GET", f"/v3/logs/{FULL}")
    assert search.json() == {
        "query": "to_email = 'ada@example.com' AND sg_message_id_created_at >= TIMESTAMP \"2026-03-01T11:59:00Z\"",
        "limit": 20,
    }
    assert search.headers["authorization"] == "Bearer SG.s3cret"


def test_our_id_may_stand_anywhere_in_the_details() -> None:
    inside = json_answer({"events": [{"unique_args": json.dumps({"pl_email_id": str(EMAIL_ID)})}]})
    answer, _ = looked_up(outgoing(), listed("other.recvd-1.0", FULL), details(pl_email_id="another"), inside)
    assert answer is not None
    assert [m.message_id for m in answer.messages] == [MESSAGE_ID]


def test_a_legacy_id_is_cut_where_the_servers_name_begins() -> None:
    answer, _ = looked_up(outgoing(), listed("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0"), OURS)
    assert answer is not None
    assert [m.message_id for m in answer.messages] == ["14c5d75ce93.dfd.64b469"]


def test_an_id_is_quoted_in_the_path() -> None:
    _, requests = looked_up(outgoing(), listed("../../v3/x?y"))
    assert requests[1].path == "/v3/logs/..%2F..%2Fv3%2Fx%3Fy"


def test_no_records_at_all_are_evidence_too() -> None:
    answer, requests = looked_up(outgoing(["ada@example.com", "bob@example.com"]), listed(), listed())
    assert answer == Answer()
    assert ["'ada@" in requests[0].json()["query"], "'bob@" in requests[1].json()["query"]] == [True, True]


@pytest.mark.parametrize("subject", ["Hello", f"About {EMAIL_ID}"])
def test_records_that_are_not_ours_tell_nothing(subject: str) -> None:
    answer, _ = looked_up(outgoing(), listed(FULL), details(subject=subject, pl_email_id="another"))
    assert answer is None


def test_one_recipient_of_several_is_enough() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    answer, _ = looked_up(message, listed("x.recvd-1.0"), details(), listed(FULL), OURS)
    assert answer is not None
    assert len(answer.messages) == 2


def test_both_spellings_of_an_address_are_searched_for() -> None:
    answer, requests = looked_up(outgoing(["Ada@bücher.example"]), listed(), listed(FULL), OURS)
    assert answer is not None
    assert answer.messages
    assert [r.json()["query"].split("'")[1] for r in requests[:2]] == [
        "Ada@xn--bcher-kva.example",
        "ada@xn--bcher-kva.example",
    ]


def test_of_many_recipients_a_few_are_searched_for() -> None:
    message = outgoing([f"r{number}@example.com" for number in range(50)])
    answer, requests = looked_up(message, *[listed()] * 50)
    assert answer == Answer()
    assert len(requests) == 5


def test_an_address_that_the_query_cannot_hold_is_not_searched_for() -> None:
    answer, requests = looked_up(outgoing(["o'hara@example.com"]))
    assert (answer, requests) == (None, [])
    answer, _ = looked_up(outgoing(["o'hara@example.com", "bob@example.com"]), listed())
    assert answer is None
    answer, _ = looked_up(outgoing(["o'hara@example.com", "bob@example.com"]), listed(FULL), OURS)
    assert answer is not None
    assert len(answer.messages) == 2


@pytest.mark.parametrize(
    "trouble",
    [
        *(Answered(401), Answered(403), Answered(404), Answered(429), Answered(500), Answered(200, {}, b"<html>")),
        *(json_answer([]), json_answer({"messages": None}), json_answer({"messages": [None]})),
        *(json_answer({"messages": [{"sg_message_id": None}]}), Broken.RESET_AFTER_REQUEST, Broken.SILENCE),
    ],
)
def test_a_search_that_fails_tells_nothing(trouble: Reaction) -> None:
    assert looked_up(outgoing(), trouble)[0] is None


@pytest.mark.parametrize("trouble", [Answered(404), Answered(429), Answered(200), json_answer([]), Broken.GARBAGE])
def test_details_that_cannot_be_read_tell_nothing(trouble: Reaction) -> None:
    assert looked_up(outgoing(), listed(FULL), trouble)[0] is None


def test_beyond_retention_nothing_is_asked() -> None:
    assert looked_up(at(outgoing(), NOW - timedelta(days=31)), listed()) == (None, [])


def test_an_earlier_attempts_record_proves_nothing_about_a_later_one() -> None:
    later = at(outgoing(), NOW, attempt=2)
    assert looked_up(later, listed(FULL, created=NOW - timedelta(hours=1)), OURS)[0] is None
    assert looked_up(later, json_answer({"messages": [{"sg_message_id": FULL}]}), OURS)[0] is None
    answer, _ = looked_up(later, listed(FULL, created=NOW + timedelta(seconds=2)), OURS)
    assert answer is not None
    assert answer.messages


# -- the check


def checked(reaction: Reaction) -> str | None:
    return with_stub(reaction, lambda _, provider: provider.check())


def test_a_key_that_may_send_is_fine() -> None:
    async def use(stub: HttpStub, provider: SendGridProvider) -> None:
        assert await provider.check() is None
        (request,) = stub.requests
        assert (request.method, request.path) == ("GET", "/v3/scopes")
        assert request.headers["authorization"] == "Bearer SG.s3cret"

    with_stub(json_answer({"scopes": ["alerts.read", "mail.send"]}), use)


@pytest.mark.parametrize(
    ("reaction", "words"),
    [
        (json_answer({"scopes": ["alerts.read"]}), "mail.send"),
        (json_answer({"scopes": "mail.send"}), "no list of scopes"),
        (refused(401, "authorization required SG.s3cret"), "does not accept the API key"),
        (refused(403, "access forbidden"), "does not accept the API key"),
        (Answered(500), "500"),
        (Answered(200, {}, b"<html>"), "no list of scopes"),
        (Broken.RESET_AFTER_REQUEST, "not reached"),
        (Broken.SILENCE, "not reached"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(reaction: Reaction, words: str) -> None:
    wrong = checked(reaction)
    assert wrong is not None
    assert words in wrong
    assert "s3cret" not in wrong


# -- suppressions


ENTRY = {"created": 1767268800, "email": "ada@example.com", "reason": "550 5.1.1 gone", "status": "5.1.1"}


def lists(entries: dict[str, list[Any]], most: int = 500) -> Callable[[Received], Answered]:
    def react(request: Received) -> Answered:
        url = urlsplit(request.path)
        query = {name: int(value) for name, (value,) in parse_qs(url.query).items()}
        start = query["offset"]
        return json_answer(entries.get(url.path, [])[start : start + min(query["limit"], most)])

    return react


def suppressions(reaction: Reaction) -> tuple[list[ListedSuppression], list[str]]:
    async def use(stub: HttpStub, provider: SendGridProvider) -> tuple[list[ListedSuppression], list[str]]:
        return [entry async for entry in provider.suppressions()], [urlsplit(r.path).path for r in stub.requests]

    return with_stub(reaction, use)


def test_every_list_about_addresses_is_read() -> None:
    entries: dict[str, list[Any]] = {
        "/v3/suppression/bounces": [ENTRY],
        "/v3/suppression/spam_reports": [{**ENTRY, "email": "b@example.com", "reason": None}],
        "/v3/suppression/invalid_emails": [{**ENTRY, "email": "c@example.com"}, "odd", {"email": None}, None],
        "/v3/suppression/unsubscribes": [{"email": "d@example.com", "created": "soon"}],
        "/v3/suppression/blocks": [{**ENTRY, "email": "e@example.com"}],
    }
    found, paths = suppressions(lists(entries))
    listed_at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert found == [
        ListedSuppression("ada@example.com", "bounce", listed_at, "550 5.1.1 gone"),
        ListedSuppression("b@example.com", "complaint", listed_at),
        ListedSuppression("c@example.com", "invalid", listed_at, "550 5.1.1 gone"),
        ListedSuppression("d@example.com", "unsubscribe"),
    ]
    assert "/v3/suppression/blocks" not in paths


@pytest.mark.parametrize("most", [500, 100])
def test_a_long_list_comes_page_by_page(most: int) -> None:
    """Whatever the longest page is that SendGrid gives."""
    entries = [{**ENTRY, "email": f"r{number}@example.com"} for number in range(1001)]
    found, _ = suppressions(lists({"/v3/suppression/spam_reports": entries}, most))
    assert [entry.address for entry in found] == [entry["email"] for entry in entries]
    assert {entry.cause for entry in found} == {"complaint"}


@pytest.mark.parametrize(
    "reaction",
    [
        *(refused(401, "No SG.s3cret"), Answered(403), Answered(429), Answered(500), json_answer({"errors": []})),
        *(Answered(200, {}, b"<html>"), Broken.RESET_AFTER_REQUEST, Broken.SILENCE),
    ],
)
def test_a_list_that_cannot_be_read_is_trouble(reaction: Reaction) -> None:
    with pytest.raises(ProviderTrouble) as caught:
        suppressions(reaction)
    assert "s3cret" not in str(caught.value)
