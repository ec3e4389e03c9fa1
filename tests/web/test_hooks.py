"""The door for webhooks under abuse: only 200, 401 or 503, nothing unproven is kept, and every refusal is counted."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infrastructure.provider_table import make_provider
from tests.ledger.test_outages import no_file_larger_than
from tests.providers.tellers import TELLERS, mailgun, ses
from tests.providers.tellers.teller import Letter, Post
from tests.web.door import Door, open_door, raw, without_secrets

KINDS = sorted(TELLERS)
SIGNING = ["mailgun", "resend", "sendgrid", "ses"]  # the others have a password, and nothing about the body
TOLERANCE = {
    "mailgun": timedelta(hours=9),
    "resend": timedelta(minutes=5),
    "sendgrid": timedelta(days=1),
    "ses": timedelta(hours=1),
}
LIMIT = 8 << 20  # bytes
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with open_door(tmp_path) as opened:
        yield opened


@pytest.fixture
def letter(door: Door) -> Letter:
    """What the payloads are about: nothing that was ever sent."""
    return Letter("0195f3a0-0000-7000-8000-000000000001", None, ("ada@example.com",), "m-1", "")


def refused(door: Door, kind: str, post: Post, *reasons: str) -> None:
    """Answered with 401, counted once under one of these reasons, and nothing was kept."""
    before, kept, position = door.outcomes(), door.kept(), door.position()
    assert door.tell(kind, post) == 401
    counted = door.outcomes() - before
    assert list(counted.values()) == [1]
    ((provider, reason),) = counted
    assert provider == kind
    assert not reasons or reason in reasons
    assert (door.kept(), door.position()) == (kept, position)


def forged(kind: str, post: Post) -> Post:
    """As somebody without the secret would make it."""
    post = without_secrets(post)
    return post if kind == "smtp" else Post(post.headers, post.body.replace(b"ada@example.com", b"eve@example.com"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_genuine_is_kept_once_and_becomes_an_event(door: Door, kind: str) -> None:
    letter = door.sent(kind)
    genuine = door.genuine(kind, letter)
    assert [door.tell(kind, genuine) for _ in range(3)] == [200, 200, 200]
    assert door.outcomes() == {(kind, "stored"): 1, (kind, "duplicate"): 2}
    door.translate()
    assert door.reports(letter) == ["email.recipient_delivered"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mailgun"])
def test_the_forged_is_refused(door: Door, letter: Letter, kind: str) -> None:
    refused(door, kind, forged(kind, door.genuine(kind, letter)), "bad_signature")


def test_a_token_of_mailguns_is_good_for_one_event(door: Door) -> None:
    """Its signature covers the token and nothing of the event."""
    letter = door.sent("mailgun")
    genuine = door.genuine("mailgun", letter)
    assert door.tell("mailgun", genuine) == 200
    bounce = json.loads(door.genuine("mailgun", letter, "bounced").body)["event-data"]
    copied = {"signature": json.loads(genuine.body)["signature"], "event-data": bounce}
    refused(door, "mailgun", Post(genuine.headers, json.dumps(copied).encode()), "replayed")
    door.translate()
    assert door.reports(letter) == ["email.recipient_delivered"]


@pytest.mark.parametrize("kind", SIGNING)
@pytest.mark.parametrize("side", [-1, 1], ids=["stale", "ahead"])
def test_what_was_signed_at_another_time_is_refused(door: Door, letter: Letter, kind: str, side: int) -> None:
    teller, late = TELLERS[kind], TOLERANCE[kind] + timedelta(seconds=1)
    post = teller.sign(teller.event("delivered", letter, "ada@example.com", door.now), door.now + side * late, "late")
    refused(door, kind, post, "stale")
    door.world.clock.pass_time(side * late)
    assert door.tell(kind, post) == 200


@pytest.mark.parametrize("kind", SIGNING)
def test_a_part_of_the_genuine_is_refused(door: Door, letter: Letter, kind: str) -> None:
    genuine = door.genuine(kind, letter)
    for length in (0, 1, len(genuine.body) // 2, len(genuine.body) - 1):
        refused(door, kind, Post(genuine.headers, genuine.body[:length]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [[b"x" * (LIMIT + 1)], [b"x" * (1 << 20)] * 8 + [b"x"]], ids=["whole", "chunked"])
@pytest.mark.parametrize("announced", [b"9000000", b"10", b"-1", b"\xb2", b"9" * 5000, None])
def test_the_oversized_is_refused(door: Door, kind: str, chunks: list[bytes], announced: bytes | None) -> None:
    headers = [(b"content-length", announced)] if announced else []
    assert door.knock(f"/hooks/{kind}", headers, *chunks) == 401
    assert door.outcomes() == {(kind, "oversized"): 1}
    assert door.kept() == 0


def test_what_is_announced_as_oversized_is_not_even_read(door: Door) -> None:
    assert door.knock("/hooks/postmark", [(b"content-length", b"8388609")]) == 401
    assert door.outcomes() == {("postmark", "oversized"): 1}


def test_the_largest_is_kept(door: Door) -> None:
    post = TELLERS["postmark"].sign(b" " * LIMIT, door.now, "")
    headers = [*raw(post.headers), (b"content-length", str(LIMIT).encode())]
    assert door.knock("/hooks/postmark", headers, post.body) == 200


STRANGE: Mapping[str, bytes] = {
    "empty": b"",
    "deep": DEEP,
    "deep_array": b"[" * 100_000,
    "utf16": '{"event":"żółć"}'.encode("utf-16"),
    "utf16_without_mark": '{"event":"delivered"}'.encode("utf-16-le"),
    "invalid_utf8": b'{"event":"\xc3\x28\xff"}',
    "nul": b"\x00" * 1000,
    "nul_inside": b'{"event":"a\x00b"}',
    "surrogate": rb'{"event":"\ud800"}',
    "infinite": b'{"timestamp":1e999,"signature":{"timestamp":NaN,"token":"t","signature":"s"}}',
    "many_digits": b'{"signature":{"timestamp":%b,"token":"t","signature":"s"}}' % (b"9" * 4000),
    "more_digits": b'{"signature":{"timestamp":%b,"token":"t","signature":"s"}}' % (b"9" * 5000),
    "xml": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "form": b"signature=a&token=b&timestamp=1",
    "no_objects": b'{"signature":[],"event-data":"","Type":{},"TopicArn":[]}',
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_strange_bodies_are_refused(door: Door, kind: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    genuine = {} if kind == "postmark" else door.genuine(kind, Letter("0", None, (), "m")).headers
    for headers in ({}, genuine):
        refused(door, kind, Post(headers, body))
    assert caplog.messages == []  # no verifier stumbled


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_type_does_not_matter(door: Door, kind: str) -> None:
    letter = door.sent(kind)
    genuine = door.genuine(kind, letter)
    for content_type in ("text/html", "application/json; charset=utf-16", "multipart/form-data", "\xff", ""):
        assert door.tell(kind, Post({**genuine.headers, "Content-Type": content_type}, genuine.body)) == 200
    assert door.kept() == 1


# Of each, a header without which nothing is believed.
HEADERS: Mapping[str, str] = {
    "postmark": "authorization",
    "resend": "svix-signature",
    "sendgrid": "x-twilio-email-event-webhook-signature",
    "ses": "x-amz-sns-message-type",
}


@pytest.mark.parametrize(("kind", "name"), HEADERS.items())
@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\xfe", "żółć".encode(), b"x" * (1 << 20), b"v1," * 100_000, b"Basic " + b"=" * 99_999, b"\x00"],
    ids=["missing", "empty", "bytes", "utf8", "huge", "commas", "padding", "nul"],
)
def test_strange_headers_are_refused(door: Door, kind: str, name: str, value: bytes | None) -> None:
    genuine = door.genuine(kind, Letter("0", None, (), "m"))
    headers = [(key, other) for key, other in raw(genuine.headers) if key.decode() != name]
    headers += [] if value is None else [(name.encode(), value)]
    assert door.knock(f"/hooks/{kind}", headers, genuine.body) == 401
    assert set(door.outcomes()) <= {(kind, reason) for reason in ("missing_header", "malformed", "bad_signature")}
    assert door.kept() == 0


@pytest.mark.parametrize(("kind", "name"), HEADERS.items())
def test_of_a_repeated_header_the_last_counts(door: Door, kind: str, name: str) -> None:
    genuine = door.genuine(kind, Letter("0", None, (), "m"))
    headers, wrong = raw(genuine.headers), (name.encode(), b"wrong")
    assert door.knock(f"/hooks/{kind}", [*headers, wrong], genuine.body) == 401
    assert door.kept() == 0
    assert door.knock(f"/hooks/{kind}", [wrong, *headers], genuine.body) == 200


@pytest.mark.parametrize(
    "name", ["nobody", "SENDGRID", "sendgrid ", "sendgrid\x00", "..", "%2e%2e", "{provider}", "żółć", "x" * 100_000]
)
def test_an_unknown_provider_is_told_nothing_else(door: Door, letter: Letter, name: str) -> None:
    genuine = door.genuine("sendgrid", letter)
    assert door.knock(f"/hooks/{name}", raw(genuine.headers), genuine.body) == 401
    assert door.outcomes() == {("unknown", "unknown_provider"): 1}
    assert door.kept() == 0


@pytest.mark.parametrize("path", ["/hooks", "/hooks/", "/hooks/sendgrid/", "/hooks/sendgrid/x", "//hooks/sendgrid"])
def test_what_is_no_door_is_not_found(door: Door, path: str) -> None:
    assert door.knock(path, [], b"{}") == 404
    assert not door.outcomes()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_only_post_delivers(door: Door, letter: Letter, method: str) -> None:
    for kind in (*KINDS, "nobody"):
        assert door.tell(kind, door.genuine(kind if kind in KINDS else "ses", letter), method) == 405
    assert door.kept() == 0


def test_whoever_hangs_up_has_said_nothing(door: Door, letter: Letter) -> None:
    genuine, status = door.genuine("sendgrid", letter), []

    async def receive() -> Mapping[str, Any]:
        return parts.pop(0)

    async def send(message: Mapping[str, Any]) -> None:
        status.append(message)

    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": genuine.body, "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {"type": "http", "method": "POST", "path": "/hooks/sendgrid", "headers": raw(genuine.headers)}
    door.run(door.app(scope, receive, send))  # type: ignore[arg-type]
    assert status == []
    assert door.kept() == 0


GARBAGE: Mapping[str, bytes] = {
    **STRANGE,
    "null": b"null",
    "number": b"0",
    "text": b'"delivered"',
    "list_of_nothing": b"[null, [], {}, 0]",
    "unknown_type": b'{"type":"email.abducted","event":"abducted","RecordType":"Abducted","eventType":"Abducted"}',
    "unknown_fields": b'{"event":"delivered","type":"email.delivered","RecordType":"Delivery","brand":{"new":[1]}}',
    "not_ours": b'{"event":"delivered","pl_email_id":"7","email":"x","type":"email.delivered","data":{"tags":[]}}',
    "mail": b"Subject: no report\n\nat all",
}


@pytest.mark.parametrize("kind", KINDS)
def test_signed_garbage_is_kept_and_never_becomes_an_event_nor_stops_others(
    door: Door, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    teller, letter = TELLERS[kind], door.sent(kind)
    position = door.position()
    for name, garbage in GARBAGE.items():
        status = door.tell(kind, teller.sign(garbage, door.now, name))
        assert status == 200 or (kind == "mailgun" and status == 401), name  # whose signature is a part of the JSON
    kept = door.kept()
    assert kept >= (len(GARBAGE) if kind != "mailgun" else 6)
    assert door.tell(kind, door.genuine(kind, letter)) == 200
    door.translate()
    assert door.reports(letter) == ["email.recipient_delivered"]
    assert door.position() == position + 1
    assert {entry.state for entry in door.entries()} <= {"done", "unmatched"}
    assert caplog.messages == []


@pytest.mark.parametrize("kind", KINDS)
def test_when_the_database_is_away_it_is_to_be_sent_again(door: Door, kind: str) -> None:
    letter = door.sent(kind)
    genuine = door.genuine(kind, letter)
    with no_file_larger_than(1024):
        assert [door.tell(kind, genuine) for _ in range(3)] == [503, 503, 503]
        assert door.tell(kind, Post({}, b"{}")) == 401
    assert door.outcomes()[kind, "unavailable"] == 3
    assert door.kept() == 0
    assert door.tell(kind, genuine) == 200
    door.translate()
    assert door.reports(letter) == ["email.recipient_delivered"]


def test_without_the_certificate_it_is_to_be_sent_again(door: Door, letter: Letter) -> None:
    other = ses.CERTIFICATE.replace("0123", "3210")
    unknown = ses.post(ses.notification("{}", door.now, "a", SigningCertURL=other))
    assert door.tell("ses", unknown) == 503
    assert door.outcomes() == {("ses", "unavailable"): 1}
    assert door.kept() == 0
    elsewhere = ses.post(ses.notification("{}", door.now, "b", SigningCertURL="https://evil.example/x.pem"))
    refused(door, "ses", elsewhere, "bad_signature")
    assert door.tell("ses", door.genuine("ses", letter)) == 200


EMPTY_KEYS = {
    "sendgrid": ["webhook_key="],
    "mailgun": ["webhook_key=", "webhook_key=%20", "webhook_key=good&webhook_key="],
    "postmark": [
        *(
            "webhook_key=",
            "webhook_key=:",
            "webhook_key=user:",
            "webhook_key=user:%20",
            "webhook_key=:word",
            "webhook_key=%20:%20",
            "webhook_key=X-Secret=",
        ),
    ],
    "resend": ["webhook_key=", "webhook_key=whsec_", "webhook_key=whsec_%20"],
    "ses": ["topic_arn="],
    "smtp": ["bounce=b@b.example&verp_key=", "bounce=b@b.example&verp_key=%20"],
}


@pytest.mark.parametrize(("kind", "option"), [(kind, option) for kind, some in EMPTY_KEYS.items() for option in some])
def test_a_key_that_is_empty_is_refused_at_the_start(kind: str, option: str) -> None:
    """Anybody could sign with it."""
    more = {"mailgun": "&domain=mg.example.com", "ses": "&region=eu-west-1"}.get(kind, "")
    with pytest.raises(ValueError, match=option.partition("=")[0] if kind != "smtp" else "verp_key"):
        make_provider(kind, f"{kind}://key:secret@default?{option}{more}", lambda: pytest.fail("no time is needed"))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_key_nobody_is_believed(door: Door, letter: Letter, kind: str) -> None:
    options = {"mailgun": "?domain=mg.example.com", "ses": "?region=eu-west-1"}.get(kind, "")
    keyless = make_provider(kind, f"{kind}://key:secret@default{options}", door.world.clock)
    door.world.sources[kind] = keyless  # type: ignore[assignment]
    refused(door, kind, door.genuine(kind, letter), "no_key")
    assert mailgun.KEY not in repr(keyless)
