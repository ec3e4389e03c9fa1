"""Amazon SES: what is sent, what its answers mean, its account and its list."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import Mailbox
from domain.content import Content
from domain.delivery import ErrorClass
from domain.events import EmailRecipientDeliveryFailed, Tag
from infrastructure.providers.ses import ANSWERS, SesProvider, SesSettings, build, parse
from infrastructure.providers.sns import SnsTrust
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.providers.rigs.ses import KEY, SECRET, accepted, refused, url

CASES = json.loads((Path(__file__).parent / "vectors" / "ses_answers.json").read_text())["cases"]
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
ADA = outgoing().recipients[0]
TOKEN = "longer-than-any-text-we-keep" * 50
T = TypeVar("T")


def with_stub(reaction: Reaction, use: Callable[[HttpStub, SesProvider], Awaitable[T]], **options: str) -> T:
    async def run() -> T:
        async with HttpStub(reaction) as stub:
            provider = SesProvider("ses", SesSettings.from_url(url(stub.host, timeout="0.5", **options)), lambda: NOW)
            try:
                return await use(stub, provider)
            finally:
                await provider.close()

    return asyncio.run(run())


def calls_for(message: OutgoingMessage, **options: str) -> list[Received]:
    async def use(stub: HttpStub, provider: SesProvider) -> list[Received]:
        assert (await provider.send(message)).error_class is None
        return stub.requests

    return with_stub(accepted(), use, **options)


def mime_of(call: Received) -> EmailMessage:
    raw = base64.b64decode(call.json()["Content"]["Raw"]["Data"])
    assert raw.isascii()
    read = message_from_bytes(raw, policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def test_each_recipient_has_a_call_with_an_envelope_and_ids_of_its_own() -> None:
    message = outgoing(["ada@example.com", "bob@bücher.example"], cc=["eve@example.com"], bcc=["zed@example.com"])
    calls = calls_for(message)
    assert [(call.method, call.path) for call in calls] == [("POST", "/v2/email/outbound-emails")] * 4
    for call, recipient, address in zip(
        calls,
        message.recipients,
        ["ada@example.com", "bob@xn--bcher-kva.example", "eve@example.com", "zed@example.com"],
        strict=True,
    ):
        said = call.json()
        assert said["Destination"] == {"ToAddresses": [address]}
        assert said["EmailTags"] == [
            {"Name": "pl_email_id", "Value": str(EMAIL_ID)},
            {"Name": "pl_recipient_id", "Value": str(recipient.id)},
        ]
        assert set(said) == {"Destination", "EmailTags", "Content"}
        mail = mime_of(call)
        assert mail.get_all("X-Postledger-Recipient-Id") == [str(recipient.id)]
        assert mail.get_all("X-Postledger-Email-Id") == [str(EMAIL_ID)]
        assert mail["To"] == "ada@example.com, bob@xn--bcher-kva.example"
        assert mail["Cc"] == "eve@example.com"
        assert mail["Bcc"] is None
        assert mail["Message-ID"] == message.message_id


def test_the_mail_is_as_its_author_wrote_it() -> None:
    message = outgoing(
        ["ada@example.com"],
        sender=Mailbox(address="news@sender.example", name="Ärzte, Inc."),
        reply_to=(Mailbox(address="help@sender.example", name="Help"),),
        subject="Grüße 🎉",
        content=Content(text="Grüße", html="<p>Grüße</p>", headers={"List-Id": "<a.example>"}),
        names=["Lovelace, Ada"],
    )
    mail = mime_of(calls_for(message)[0])
    assert mail["From"].addresses[0].display_name == "Ärzte, Inc."
    assert mail["To"].addresses[0].display_name == "Lovelace, Ada"
    assert mail["Reply-To"].addresses[0].addr_spec == "help@sender.example"
    assert (mail["Subject"], mail["List-Id"]) == ("Grüße 🎉", "<a.example>")
    text = mail.get_body(("plain",))
    assert text is not None
    assert text.get_content().strip() == "Grüße"


def test_attachments_arrive_byte_for_byte() -> None:
    report, logo = attach(bytes(range(256)) * 800, "Bericht ä.pdf"), attach(b"\x89PNG", "logo.png", "image/png", "logo")
    message = outgoing(content=Content(html='<img src="cid:logo">'), attachments=[report, logo])
    parts = {part.get_filename(): part for part in mime_of(calls_for(message)[0]).walk() if part.get_filename()}
    assert parts["Bericht ä.pdf"].get_payload(decode=True) == report[1]
    assert parts["Bericht ä.pdf"].get_content_disposition() == "attachment"
    assert parts["logo.png"].get_payload(decode=True) == logo[1]
    assert (parts["logo.png"]["Content-ID"], parts["logo.png"].get_content_disposition()) == ("<logo>", "inline")


def test_only_those_still_outstanding_get_a_call() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    only = OutgoingMessage(
        message.email,
        message.attempt,
        message.content,
        message.date,
        message.blobs,
        frozenset({message.recipients[1].id}),
    )
    (call,) = calls_for(only)
    assert call.json()["Destination"] == {"ToAddresses": ["bob@example.com"]}


def test_the_configuration_set_is_named_and_calls_are_signed_for_the_region() -> None:
    (call,) = calls_for(outgoing(), configuration_set="events")
    assert call.json()["ConfigurationSetName"] == "events"
    assert f"Credential={KEY}/" in call.headers["authorization"]
    assert "/eu-west-1/ses/aws4_request" in call.headers["authorization"]
    assert SECRET not in str(call)


def test_tags_that_fit_go_along() -> None:
    message = outgoing()
    tags = [("kind", "receipt"), ("kind", "twice"), ("bad name", "x"), ("bad", "value!"), ("x" * 257, "x"), ("e", "")]
    tags += [("pl_email_id", "forged")] + [(f"n{number}", "1") for number in range(50)]
    email = message.email.model_copy(update={"tags": tuple(Tag(name=n, value=v) for n, v in tags)})
    tagged = OutgoingMessage(email, message.attempt, message.content, message.date, message.blobs)
    sent = build(tagged, message.recipients[0], b"", None)["EmailTags"]
    named = {tag["Name"]: tag["Value"] for tag in sent}
    assert len(sent) == len(named) == 10
    assert (named["pl_email_id"], named["kind"], named["n0"]) == (str(EMAIL_ID), "receipt", "1")
    assert not {"bad name", "bad", "e"} & set(named)


def test_an_address_that_ses_cannot_write_to_is_refused_alone() -> None:
    message = outgoing(["bücher@example.com", "bob@example.com"])

    async def use(stub: HttpStub, provider: SesProvider) -> None:
        answer = await provider.send(message)
        assert [m.recipient_id for m in answer.messages] == [message.recipients[1].id]
        (report,) = answer.reports
        assert (report.kind, report.recipient_id) == (EmailRecipientDeliveryFailed, message.recipients[0].id)
        assert report.details["reason"] == "non_ascii_local_part"
        assert len(stub.requests) == 1
        mime_of(stub.requests[0])  # 7-bit all the same

    with_stub(accepted(), use)


def test_a_sender_that_ses_cannot_write_from_is_refused_for_good() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        answer = await provider.send(outgoing(sender=Mailbox(address="bücher@sender.example")))
        assert (answer.error_class, answer.reports) == (ErrorClass.PERMANENT, ())
        assert not stub.requests

    with_stub(accepted(), use)


def test_a_throttled_recipient_puts_the_rest_off() -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "eve@example.com"])

    async def use(stub: HttpStub, provider: SesProvider) -> None:
        stub.answers.extend([accepted(1), refused("TooManyRequestsException", status=429)])
        answer = await provider.send(message)
        ada, bob, eve = (r.id for r in message.recipients)
        assert [m.recipient_id for m in answer.messages] == [ada]
        assert (answer.put_off, answer.error_class) == ((bob, eve), ErrorClass.RATE_LIMITED)
        assert len(stub.requests) == 2

    with_stub(accepted(), use)


# Answers

OUTCOMES = {
    "accepted": None,
    "rate_limited": ErrorClass.RATE_LIMITED,
    "quota": ErrorClass.QUOTA,
    "config": ErrorClass.CONFIG,
    "permanent": ErrorClass.PERMANENT,
    "transient": ErrorClass.TRANSIENT,
}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_shared_answers(case: dict[str, Any]) -> None:
    said = {**case["body"], "ResponseMetadata": {"HTTPStatusCode": case["status"]}}
    answer = parse(ADA, said)
    assert answer.error_class == OUTCOMES[case["expect"]["outcome"]]
    expected = case["expect"].get("provider_message_id")
    assert [m.message_id for m in answer.messages] == ([expected] if expected else [])


TABLE: list[tuple[str, str, int, ErrorClass, str]] = [
    ("TooManyRequestsException", "", 429, ErrorClass.RATE_LIMITED, "too_many_requests"),
    ("ThrottlingException", "Maximum sending rate exceeded.", 400, ErrorClass.RATE_LIMITED, "throttling"),
    ("ThrottlingException", "Maximum sending rate exceeded.", 429, ErrorClass.RATE_LIMITED, "throttling"),
    ("Throttling", "Rate exceeded", 400, ErrorClass.RATE_LIMITED, "throttling"),
    ("ThrottlingException", "Daily message quota exceeded.", 400, ErrorClass.QUOTA, "daily_quota"),
    ("LimitExceededException", "", 400, ErrorClass.QUOTA, "limit_exceeded"),
    ("AccountSuspendedException", "", 400, ErrorClass.CONFIG, "account_suspended"),
    ("SendingPausedException", "", 400, ErrorClass.CONFIG, "sending_paused"),
    ("MailFromDomainNotVerifiedException", "", 400, ErrorClass.CONFIG, "mail_from_domain_not_verified"),
    ("NotFoundException", "Configuration set <x> does not exist.", 404, ErrorClass.CONFIG, "not_found"),
    ("AccessDeniedException", "", 403, ErrorClass.CONFIG, "access_denied"),
    ("AccessDenied", "", 403, ErrorClass.CONFIG, "access_denied"),
    ("UnrecognizedClientException", "", 403, ErrorClass.CONFIG, "unrecognized_client"),
    ("ExpiredTokenException", "", 403, ErrorClass.CONFIG, "expired_token"),
    ("ExpiredToken", "", 400, ErrorClass.CONFIG, "expired_token"),
    ("SignatureDoesNotMatch", "", 403, ErrorClass.CONFIG, "signature_does_not_match"),
    ("InvalidClientTokenId", "", 403, ErrorClass.CONFIG, "invalid_client_token_id"),
    ("MessageRejected", "Email address is not verified. The following …", 400, ErrorClass.CONFIG, "not_verified"),
    ("MessageRejected", "Invalid header", 400, ErrorClass.PERMANENT, "message_rejected"),
    ("BadRequestException", "Missing final '@domain'", 400, ErrorClass.PERMANENT, "bad_request"),
    ("InternalServiceErrorException", "", 500, ErrorClass.TRANSIENT, "internal_service_error"),
    ("InternalServiceError", "", 500, ErrorClass.TRANSIENT, "internal_service_error"),
    ("ServiceUnavailableException", "", 503, ErrorClass.TRANSIENT, "service_unavailable"),
    ("InternalFailure", "", 500, ErrorClass.TRANSIENT, "internal_failure"),
    ("Whatever", "", 502, ErrorClass.TRANSIENT, "whatever"),
    ("Whatever", "", 400, ErrorClass.PERMANENT, "whatever"),
    ("Whatever", "", 403, ErrorClass.CONFIG, "whatever"),
    ("Whatever", "", 404, ErrorClass.CONFIG, "whatever"),
    ("Whatever", "", 429, ErrorClass.RATE_LIMITED, "whatever"),
]


def test_every_error_code_over_the_wire() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        for code, said, status, error_class, reason in TABLE:
            stub.answers.append(refused(code, said, status))
            answer = await provider.send(outgoing())
            assert (answer.error_class, answer.reason) == (error_class, reason), code
            assert answer.words.startswith(code)
            assert said in answer.words
        assert len(stub.requests) == len(TABLE)

    with_stub(accepted(), use)


def test_every_row_of_the_answer_table_is_seen_above() -> None:
    seen = {code.removesuffix("Exception") for code, *_ in TABLE}
    unseen = {"InvalidSignature", "IncompleteSignature", "MissingAuthenticationToken", "ParamValidationError"}
    assert set(ANSWERS) == (seen & set(ANSWERS)) | unseen


@pytest.mark.parametrize(
    ("reaction", "error_class", "reason"),
    [
        (Broken.SILENCE, ErrorClass.UNKNOWN, "answer_lost"),
        (Broken.RESET_AFTER_REQUEST, ErrorClass.UNKNOWN, "answer_lost"),
        (Broken.RESET_IN_ANSWER, ErrorClass.UNKNOWN, "malformed_answer"),
        (Broken.GARBAGE, ErrorClass.UNKNOWN, "answer_lost"),
        (Answered(200, {}, b"<html>"), ErrorClass.UNKNOWN, "malformed_answer"),
        (Answered(200), ErrorClass.UNKNOWN, "malformed_answer"),
        (json_answer([1]), ErrorClass.UNKNOWN, None),
        (json_answer({"MessageId": ""}), ErrorClass.UNKNOWN, "malformed_answer"),
        (Answered(503, {}, b"<html>"), ErrorClass.TRANSIENT, None),
        (Answered(301, {"Location": "https://elsewhere.example"}), ErrorClass.CONFIG, None),
    ],
)
def test_answers_that_are_none(reaction: Reaction, error_class: ErrorClass, reason: str | None) -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        answer = await provider.send(outgoing())
        assert answer.error_class == error_class, answer
        assert reason is None or answer.reason == reason
        assert len(stub.requests) == 1

    with_stub(reaction, use)


def test_nobody_listening_is_worth_another_try() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        stub._server.close()
        answer = await provider.send(outgoing())
        assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "unreachable")

    with_stub(accepted(), use)


def test_the_words_never_hold_a_key() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        answer = await provider.send(outgoing())
        assert KEY not in answer.words
        assert len(answer.words) <= 500

    with_stub(refused("IncompleteSignatureException", f"Credential={KEY}/20260101, " + "x" * 900, 403), use)


@given(st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_any_answer_is_classified(document: Any) -> None:
    recipient = ADA
    for said in ({"Error": document}, {"Error": {"Code": document, "Message": document}}, {"MessageId": document}):
        answer = parse(recipient, said)
        assert bool(answer.messages) != bool(answer.error_class)


# Settings


def test_a_whole_url() -> None:
    settings = SesSettings.from_url(
        "ses://AKIA1:a%2Fb%2Bc@default?region=eu-west-1&configuration_set=events"
        f"&topic_arn={TOPIC}&topic_arn={TOPIC}-2&queue_url=https://sqs.eu-west-1.amazonaws.com/1/q&sns_v1=off"
        "&confirm_subscriptions=on&tolerance=60&timeout=7&connections=3"
    )
    assert (settings.access.access_key, settings.access.secret_key) == ("AKIA1", "a/b+c")
    assert (settings.access.region, settings.access.endpoint) == ("eu-west-1", None)
    assert (settings.access.timeout, settings.access.connections) == (7.0, 3)
    assert settings.trust == SnsTrust(frozenset({TOPIC, f"{TOPIC}-2"}), frozenset({"2"}), timedelta(seconds=60))
    assert settings.queue_url == "https://sqs.eu-west-1.amazonaws.com/1/q"
    assert settings.confirm_subscriptions
    assert "a/b+c" not in repr(settings)
    assert "AKIA1" not in repr(settings)


def test_the_least_url() -> None:
    settings = SesSettings.from_url("ses://default?region=us-gov-west-1")
    assert (settings.access.access_key, settings.access.timeout, settings.access.connections) == ("", 30.0, 16)
    assert settings.trust == SnsTrust(frozenset(), frozenset({"1", "2"}), timedelta(hours=1))
    assert (settings.configuration_set, settings.queue_url, settings.confirm_subscriptions) == (None, None, False)
    assert SesSettings.from_url("ses://a:b@aws.test:1?region=eu-west-1").access.endpoint == "https://aws.test:1"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("ses://SECRETKEY:b@default", "region"),
        ("ses://SECRETKEY:b@default?region=nowhere", "region"),
        ("ses://SECRETKEY:b@default?region=eu-west-1.evil.example/", "region"),
        ("ses://SECRETKEY:SECRETKEY/x@default?region=eu-west-1", "percent-encoded"),
        ("ses://SECRETKEY@default?region=eu-west-1", "credentials"),
        ("ses://:SECRETKEY@default?region=eu-west-1", "credentials"),
        ("ses://default?region=eu-west-1&topic_arn=arn:aws:sqs:eu-west-1:123456789012:q", "topic_arn"),
        ("ses://default?region=eu-west-1&queue_url=q", "queue_url"),
        ("ses://default?region=eu-west-1&connections=0", "connections"),
        ("ses://default?region=eu-west-1&connections=x", "connections"),
        ("ses://default?region=eu-west-1&tolerance=-1", "tolerance"),
        ("ses://default?region=eu-west-1&sns_v1=maybe", "sns_v1"),
        ("ses://default?region=eu-west-1&sandbox=on", "sandbox"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(wrong: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        SesSettings.from_url(wrong)
    assert "SECRETKEY" not in str(caught.value)


# The account


@pytest.mark.parametrize(
    ("reaction", "expected"),
    [
        (json_answer({"SendingEnabled": True, "EnforcementStatus": "HEALTHY"}), None),
        (json_answer({"SendingEnabled": True, "EnforcementStatus": "PROBATION"}), None),
        (json_answer({"SendingEnabled": False, "EnforcementStatus": "HEALTHY"}), "paused"),
        (json_answer({"SendingEnabled": False, "EnforcementStatus": "SHUTDOWN"}), "shut"),
        (refused("AccessDeniedException", status=403), "AccessDenied"),
        (Broken.RESET_AFTER_REQUEST, "not answered"),
    ],
)
def test_check_says_what_is_wrong_once_a_minute(reaction: Reaction, expected: str | None) -> None:
    now = NOW

    async def run() -> None:
        nonlocal now
        async with HttpStub(reaction) as stub:
            provider = SesProvider("ses", SesSettings.from_url(url(stub.host, timeout="0.5")), lambda: now)
            for _ in range(3):
                wrong = await provider.check()
                assert (wrong is None) if expected is None else (wrong is not None and expected in wrong)
            assert [call.path for call in stub.requests] == ["/v2/email/account"]
            now += timedelta(seconds=60)
            await provider.check()
            assert len(stub.requests) == 2
            await provider.close()

    asyncio.run(run())


def test_there_is_no_look_up() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        assert await provider.look_up(outgoing()) is None
        assert not stub.requests

    with_stub(accepted(), use)


def entry(address: str, reason: str) -> dict[str, Any]:
    return {"EmailAddress": address, "Reason": reason, "LastUpdateTime": 1772366400}


async def listed(provider: SesProvider) -> list[ListedSuppression]:
    return [each async for each in provider.suppressions()]


def test_the_suppression_list_is_read_page_by_page() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        stub.answers.append(
            json_answer({"SuppressedDestinationSummaries": [entry("a@example.com", "BOUNCE")], "NextToken": TOKEN})
        )
        stub.answers.append(refused("TooManyRequestsException", status=429))  # about one call a second is allowed
        found = await listed(provider)
        at = datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert found == [
            ListedSuppression("a@example.com", "bounce", at, "BOUNCE"),
            ListedSuppression("b@example.com", "complaint", at, "COMPLAINT"),
            ListedSuppression("c@example.com", "manual", at, "NEW"),
        ]
        addresses = "/v2/email/suppression/addresses"
        assert [call.path for call in stub.requests] == [addresses, *[f"{addresses}?NextToken={TOKEN}"] * 2]

    last = [entry("b@example.com", "COMPLAINT"), entry("c@example.com", "NEW")]
    with_stub(json_answer({"SuppressedDestinationSummaries": last}), use)


def test_a_page_that_repeats_itself_is_the_last() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        assert len(await listed(provider)) == 2

    page = json_answer({"SuppressedDestinationSummaries": [entry("a@example.com", "BOUNCE")], "NextToken": "same"})
    with_stub(page, use)


def test_a_list_that_cannot_be_read_is_trouble() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        with pytest.raises(ProviderTrouble, match="AccessDenied"):
            await listed(provider)

    with_stub(refused("AccessDeniedException", status=403), use)
