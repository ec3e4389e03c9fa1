"""Sending through Mailgun: what is sent, and what its answers mean."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email import policy as policies
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import BlobMissing
from application.ports import OutgoingMessage
from domain.address import Mailbox
from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import Tag
from infrastructure.mime import build_mime
from infrastructure.providers.http import Reply
from infrastructure.providers.mailgun import MailgunProvider, MailgunSettings, build, parse
from infrastructure.providers.mailgun_form import Form
from tests.mail import NOW, attach, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Received, json_answer
from tests.providers.rigs.mailgun import queued, settings

ANSWERS = json.loads((Path(__file__).parent / "vectors" / "mailgun_answers.json").read_text())["cases"]
_T = TypeVar("_T")
RECIPIENT = outgoing().recipients[0]


def reply(status: int, body: object, headers: dict[str, str] | None = None) -> Reply:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Reply(status, headers or {}, raw)


def sent(message: OutgoingMessage, options: str = "") -> list[Received]:
    """Send it, and return the requests that came in."""

    async def use(provider: MailgunProvider, stub: HttpStub) -> list[Received]:
        answer = await provider.send(message)
        assert answer.error_class is None
        return stub.requests

    return with_provider(use, options)


def with_provider(use: Callable[[MailgunProvider, HttpStub], Awaitable[_T]], options: str = "") -> _T:
    async def run() -> _T:
        async with HttpStub(queued(1)) as stub:
            provider = MailgunProvider("mailgun", settings(stub.host, options), lambda: NOW)
            try:
                return await use(provider, stub)
            finally:
                await provider.close()

    return asyncio.run(run())


def form(request: Received) -> list[tuple[str, str | None, bytes]]:
    """The form's parts as (name, file name, value), read by the standard library."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parsed = message_from_bytes(head + request.body, policy=policies.HTTP)
    return [
        (str(part.get_param("name", header="content-disposition")), part.get_filename(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in parsed.iter_parts()
    ]


def fields(request: Received) -> list[tuple[str, str]]:
    return [(name, value.decode()) for name, file, value in form(request) if file is None]


def mime(request: Received) -> EmailMessage:
    (file,) = [value for name, file, value in form(request) if name == "message" and file]
    parsed = message_from_bytes(file, policy=policies.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def tagged(*tags: tuple[str, str]) -> OutgoingMessage:
    message = outgoing()
    made = tuple(Tag(name=name, value=value) for name, value in tags)
    return replace(message, email=message.email.model_copy(update={"tags": made}))


# -- what is sent ----------------------------------------------------------------------------------------------


def test_our_mime_goes_to_the_domain_in_a_form() -> None:
    message = outgoing(subject="Grüße")
    (request,) = sent(message)
    assert (request.method, request.path) == ("POST", "/v3/mg.example.com/messages.mime")
    assert request.headers["authorization"] == "Basic YXBpOmtleS0wMTIzNDU2Nzg5"  # api:key-0123456789
    assert fields(request) == [
        ("to", "ada@example.com"),
        ("v:pl_email_id", str(message.email.originator_id)),
        ("v:pl_recipient_id", str(message.recipients[0].id)),
    ]
    (file,) = [each for each in form(request) if each[1]]
    assert file == ("message", "message.eml", build_mime(message, []))
    assert mime(request)["subject"] == "Grüße"
    assert mime(request)["message-id"] == message.message_id


def test_a_body_has_its_length_and_is_not_chunked() -> None:
    (request,) = sent(outgoing())
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers


def test_every_recipient_gets_a_call_and_the_same_message() -> None:
    message = outgoing(["ada@example.com"], cc=["bob@example.com"], bcc=["eve@example.com"])
    requests = sent(message)
    assert [dict(fields(each))["to"] for each in requests] == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert [dict(fields(each))["v:pl_recipient_id"] for each in requests] == [str(r.id) for r in message.recipients]
    assert len({each.body[each.body.index(b'name="message"') :] for each in requests}) == 1
    assert (mime(requests[2])["to"], mime(requests[2])["cc"]) == ("ada@example.com", "bob@example.com")
    assert b"eve@example.com" not in mime(requests[0]).as_bytes()


def test_only_those_of_this_attempt_are_called_for_and_the_headers_stay() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    (request,) = sent(replace(message, only=frozenset({message.recipients[1].id})))
    assert dict(fields(request))["to"] == "bob@example.com"
    assert mime(request)["to"] == "ada@example.com, bob@example.com"


def test_names_stand_in_the_headers_only() -> None:
    message = outgoing(
        ["ada@example.com"],
        names=['Lovelace, "Ada" Ł'],
        sender=Mailbox(address="news@sender.example", name="Sender, Inc."),
        reply_to=(Mailbox(address="help@sender.example"),),
        content=Content(text="Hi", headers={"X-Author": "yes"}),
    )
    (request,) = sent(message)
    assert dict(fields(request))["to"] == "ada@example.com"
    read = mime(request)
    (to,) = read["to"].addresses
    assert (to.display_name, to.addr_spec) == ('Lovelace, "Ada" Ł', "ada@example.com")
    assert (read["reply-to"], read["x-author"]) == ("help@sender.example", "yes")


@pytest.mark.parametrize(
    ("address", "wire"),
    [("ada@bücher.example", "ada@xn--bcher-kva.example"), ("jörg@bücher.example", "jörg@bücher.example")],
)
def test_a_domain_goes_in_a_labels_where_it_can(address: str, wire: str) -> None:
    (request,) = sent(outgoing([address]))
    assert dict(fields(request))["to"] == wire


def test_attachments_arrive_as_they_were() -> None:
    pdf, png = bytes(range(256)) * 1200, b"\x89PNG\r\n--postledger-\r\n"
    html = Content(text="Hi", html='<img src="cid:logo">')
    files = [attach(pdf, "Rechnung März.pdf"), attach(png, "logo.png", "image/png", content_id="logo")]
    (request,) = sent(outgoing(content=html, attachments=files))
    parts = {part.get_filename(): part for part in mime(request).walk() if part.get_filename()}
    assert parts["Rechnung März.pdf"].get_payload(decode=True) == pdf
    assert parts["logo.png"].get_payload(decode=True) == png
    assert parts["logo.png"]["content-id"] == "<logo>"
    assert parts["logo.png"].get_content_disposition() == "inline"
    assert request.headers["content-length"] == str(len(request.body))


def test_a_missing_attachment_is_for_the_caller_to_judge() -> None:
    message = outgoing(attachments=[attach(b"x", "x.pdf")])
    without = replace(message, blobs=outgoing().blobs)

    async def use(provider: MailgunProvider, stub: HttpStub) -> None:
        with pytest.raises(BlobMissing):
            await provider.send(without)
        assert not stub.requests

    with_provider(use)


def test_tags_within_the_limits_go_along() -> None:
    message = tagged(
        ("kind", "receipt"),
        ("grüße", "x"),  # not ASCII
        ("kind", "receipt"),
        ("long", "x" * 124),
        ("line", "a\r\nb"),
        ("batch", "7"),
        ("exactly", "x" * 120),
        ("fourth", "x"),
    )
    (request,) = sent(message)
    tags = [value for name, value in fields(request) if name == "o:tag"]
    assert tags == ["kind:receipt", "batch:7", "exactly:" + "x" * 120]


def test_metadata_stays_with_us() -> None:
    message = outgoing()
    message = replace(message, email=message.email.model_copy(update={"metadata": {"order": "SECRET-4711"}}))
    (request,) = sent(message)
    assert b"SECRET-4711" not in request.body


def test_test_mode_is_a_switch() -> None:
    assert ("o:testmode", "yes") in fields(sent(outgoing(), "&testmode=on")[0])
    assert "o:testmode" not in dict(fields(sent(outgoing(), "&testmode=off")[0]))


def test_the_same_attempt_is_the_same_bytes() -> None:
    message = outgoing()
    first, second = (sent(message)[0] for _ in range(2))
    assert first.body == second.body
    other = outgoing(email_id=message.recipients[0].id)
    assert sent(other)[0].headers["content-type"] != first.headers["content-type"]


@given(st.binary(max_size=200), st.integers(0, 3))
def test_a_file_cannot_end_the_form(file: bytes, copies: int) -> None:
    first = Form.of([("to", "ada@example.com")], "message", file, "key")
    hostile = file + f"\r\n--{first.boundary}--\r\n".encode() * copies
    made = Form.of([("to", "ada@example.com")], "message", hostile, "key")
    assert made.boundary.encode() not in hostile

    async def whole() -> bytes:
        return b"".join([chunk async for chunk in made])

    body = asyncio.run(whole())
    assert len(body) == made.length
    request = Received("POST", "/", {"content-type": made.content_type}, body)
    assert len(form(request)) == 2
    assert hostile in body


def test_a_large_message_is_sent_in_chunks() -> None:
    data = b"x" * 3_000_000
    (request,) = sent(outgoing(attachments=[attach(data, "x.bin", "application/octet-stream")]))
    assert len(request.body) > 4_000_000


# -- what answers mean -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case["id"])
def test_answers_mean_what_the_contract_says(case: dict[str, Any]) -> None:
    answer = parse(RECIPIENT, reply(case["status"], case["body"], case["headers"]), NOW)
    expect = case["expect"]
    assert (answer.error_class or "accepted") == expect["outcome"]
    if "provider_message_id" in expect:
        assert [m.message_id for m in answer.messages] == [expect["provider_message_id"]]


DATE = format_datetime(NOW + timedelta(minutes=5), usegmt=True)
C = ErrorClass


@pytest.mark.parametrize(
    ("status", "body", "error_class", "reason"),
    [
        (200, {"message": "Queued. Thank you."}, C.CONFIG, "not_the_api"),
        (200, {"id": "<>"}, C.CONFIG, "not_the_api"),
        (200, "", C.CONFIG, "not_the_api"),
        (200, [1], C.CONFIG, "not_the_api"),
        (202, "later", C.UNKNOWN, "unexpected_answer"),
        (302, "", C.CONFIG, "redirected"),
        (400, {"message": "to parameter is not a valid address"}, C.PERMANENT, "refused"),
        (400, {"message": "Domain x is not allowed to send: unverified"}, C.CONFIG, "domain_not_allowed"),
        (400, {"message": "The domain is unverified and requires DNS configuration."}, C.CONFIG, "domain_not_allowed"),
        (400, {"message": "Domain mg.example.com is disabled."}, C.CONFIG, "domain_not_allowed"),
        (400, {"message": "Please activate your Mailgun account."}, C.CONFIG, "domain_not_allowed"),
        (401, "Forbidden", C.CONFIG, "unauthorized"),
        (402, {"message": "request failed"}, C.PERMANENT, "request_failed"),
        (403, {"message": "IP not on the allow-list"}, C.CONFIG, "forbidden"),
        (404, {"message": "Domain not found: mg.example.com"}, C.CONFIG, "domain_not_found"),
        (408, "", C.TRANSIENT, "request_timeout"),
        (413, {"message": "request size exceeds 52.4MiB limit"}, C.PERMANENT, "too_large"),
        (418, "", C.PERMANENT, "refused"),
        (429, {"message": "limit exceeded"}, C.RATE_LIMITED, "rate_limited"),
        (500, {"message": "Internal Server Error"}, C.TRANSIENT, "server_error"),
        (502, "<html>", C.TRANSIENT, "server_error"),
        (503, "", C.TRANSIENT, "server_error"),
        (999, "", C.UNKNOWN, "unexpected_answer"),
    ],
)
def test_every_other_answer(status: int, body: object, error_class: ErrorClass, reason: str) -> None:
    answer = parse(RECIPIENT, reply(status, body), NOW)
    assert (answer.error_class, answer.reason, answer.messages) == (error_class, reason, ())


@pytest.mark.parametrize(
    ("status", "message", "headers", "seconds"),
    [
        (429, f"Domain recipient limit exceeded, try again after {DATE}", {}, 300),
        (429, f"limit exceeded, try again after {DATE.replace('GMT', '+0000')}", {}, 300),
        (429, "limit exceeded, try again after Sun, 32 Mar 2026 12:05:00 GMT", {}, None),
        (429, "limit exceeded, try again after Sun, 01 Mar 2020 12:05:00 GMT", {}, None),
        (429, "slow down", {"retry-after": "17"}, 17),
        (429, "slow down", {"retry-after": DATE}, 300),
        (429, "slow down", {"retry-after": "-1"}, None),
        (429, "slow down", {"retry-after": "9" * 18}, None),
        (429, "slow down", {"retry-after": "soon"}, None),
        (429, "slow down", {"x-ratelimit-reset": str(int(NOW.timestamp()) + 60)}, 60),
        (429, "slow down", {"x-ratelimit-reset": str(int(NOW.timestamp() + 60) * 1000)}, 60),
        (503, "maintenance", {"retry-after": "120"}, 120),
        (400, "no", {"retry-after": "120"}, None),
    ],
)
def test_a_hint_when_to_come_back_is_read(
    status: int, message: str, headers: dict[str, str], seconds: int | None
) -> None:
    answer = parse(RECIPIENT, reply(status, {"message": message}, headers), NOW)
    assert answer.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@given(
    st.integers(100, 999),
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(lambda document: json.dumps(document).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset"]), st.text(max_size=40)),
)
def test_any_answer_can_be_read(status: int, body: bytes, headers: dict[str, str]) -> None:
    answer = parse(RECIPIENT, Reply(status, headers, body), NOW)
    assert bool(answer.messages) != bool(answer.error_class)
    assert len(answer.words) <= 500


def test_words_never_hold_the_key() -> None:
    async def use(provider: MailgunProvider, stub: HttpStub) -> Answer:
        told = "No such key: key-0123456789 (Basic YXBpOmtleS0wMTIzNDU2Nzg5)"
        stub.answers.append(json_answer({"message": told}, 401))
        return await provider.send(outgoing())

    answer = with_provider(use)
    assert "No such key" in answer.words
    assert "0123456789" not in answer.words
    assert "YXBp" not in answer.words


def test_ada_is_refused_bob_is_not() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    ada, bob = (r.id for r in message.recipients)

    async def use(provider: MailgunProvider, stub: HttpStub) -> Answer:
        stub.answers.append(json_answer({"message": "to parameter is not a valid address"}, 400))
        return await provider.send(message)

    answer = with_provider(use)
    assert answer.refused() == (ada,)
    assert [(m.recipient_id, m.message_id) for m in answer.messages] == [
        (bob, "20260301120000.1.48906CB1@mg.example.com")
    ]


@pytest.mark.parametrize("trouble", [Answered(500), Broken.RESET_AFTER_REQUEST, Broken.SILENCE])
def test_trouble_stops_the_calls(trouble: Answered | Broken) -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "eve@example.com"])
    ada, bob, eve = (r.id for r in message.recipients)

    async def use(provider: MailgunProvider, stub: HttpStub) -> Answer:
        stub.answers.extend([queued(1), trouble])
        answer = await provider.send(message)
        assert len(stub.requests) == 2
        return answer

    answer = with_provider(use)
    assert [m.recipient_id for m in answer.messages] == [ada]
    if isinstance(trouble, Answered):
        assert (answer.put_off, answer.doubtful) == ((bob, eve), ())
    else:
        assert (answer.put_off, answer.doubtful) == ((eve,), (bob,))


# -- settings --------------------------------------------------------------------------------------------------


def test_a_url_says_it_all() -> None:
    url = "mailgun://KEY@default?domain=MG.example.com&region=eu&webhook_key=a&webhook_key=b&testmode=on&tolerance=900"
    made = MailgunSettings.from_url(url + "&timeout=5")
    assert (made.key, made.base_url, made.domain) == ("KEY", "https://api.eu.mailgun.net", "mg.example.com")
    assert (made.webhook_keys, made.testmode, made.timeout) == (("a", "b"), True, 5.0)
    assert made.tolerance == timedelta(minutes=15)


def test_defaults_are_the_us_region_and_nine_hours() -> None:
    made = MailgunSettings.from_url("mailgun://KEY@default?domain=mg.example.com")
    assert (made.base_url, made.webhook_keys, made.testmode) == ("https://api.mailgun.net", (), False)
    assert made.tolerance == timedelta(hours=9)


def test_secrets_are_not_shown() -> None:
    made = MailgunSettings.from_url("mailgun://SECRETKEY@default?domain=mg.example.com&webhook_key=SECRETHOOK")
    assert "SECRET" not in repr(made)


@contextmanager
def refused(what: str) -> Iterator[None]:
    with pytest.raises(ValueError, match=what) as caught:
        yield
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mailgun://SECRET@default", "domain is missing"),
        ("mailgun://SECRET@default?domain=a/SECRET", "no domain"),
        ("mailgun://SECRET@default?domain=a.example&domain=b.example", "domain must be given only once"),
        ("mailgun://default?domain=a.example", "API key is missing"),
        ("mailgun://SECRET@default?domain=a.example&region=SECRET", "region must be one of us, eu"),
        ("mailgun://SECRET@default?domain=a.example&webhook_key=", "webhook_key is empty"),
        ("mailgun://SECRET@default?domain=a.example&testmode=SECRET", "testmode must be on or off"),
        ("mailgun://SECRET@default?domain=a.example&tolerance=SECRET", "tolerance must be a number"),
        ("mailgun://SECRET@default?domain=a.example&colour=SECRET", "'colour' is not an option"),
    ],
)
def test_a_wrong_url_is_told_without_its_values(url: str, what: str) -> None:
    with refused(what):
        MailgunSettings.from_url(url)


def test_a_call_is_built_without_a_network() -> None:
    message = outgoing()
    request = build(message, message.recipients[0], b"mime", settings("default"))
    assert request.length is not None
    assert "ada@example.com" not in repr(request)
