"""Amazon SES: only what SNS itself has signed, about a topic of ours, is believed."""

import asyncio
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from application.errors import ProviderTrouble, Untrusted, VerificationUnavailable
from application.ports import Hook
from infrastructure.providers import sns
from infrastructure.providers.ses import SesProvider, SesSettings
from tests.mail import NOW
from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction
from tests.providers.rigs.ses import refused, url

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors" / "sns_signature.json").read_text())
(TOPIC,) = VECTORS["allowed_topics"]
((CERTIFICATE_URL, CERTIFICATE),) = VECTORS["certs"].items()
CASES = {case["id"]: case for case in VECTORS["cases"]}
VALID = CASES["v2-notification-with-subject"]
TRUST = sns.SnsTrust(frozenset({TOPIC}))
T = TypeVar("T")


def self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    whole = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).sign(key, SHA256())
    return whole.public_bytes(Encoding.PEM)


OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OUR_CERTIFICATE = self_signed(OURS)


class Fetcher:
    """Answers from a dictionary and remembers what it was asked for."""

    def __init__(self, certificates: Mapping[str, bytes | Exception]) -> None:
        self.certificates = dict(certificates)
        self.asked: list[str] = []

    async def __call__(self, wanted: str) -> bytes:
        self.asked.append(wanted)
        await asyncio.sleep(0)
        found = self.certificates.get(wanted, VerificationUnavailable())
        if isinstance(found, Exception):
            raise found
        return found


def verify(hook: Hook, fetch: sns.Fetch, now: datetime = NOW, **options: str) -> str:
    async def run() -> str:
        settings = SesSettings.from_url(url("default", **{"topic_arn": TOPIC, **options}))
        provider = SesProvider("ses", settings, lambda: now, fetch)
        try:
            return await provider.verify(hook)
        finally:
            await provider.close()

    return asyncio.run(run())


def reason(hook: Hook, fetch: sns.Fetch, now: datetime = NOW, **options: str) -> str:
    with pytest.raises(Untrusted) as refusal:
        verify(hook, fetch, now, **options)
    return refusal.value.reason


def hook_of(case: Mapping[str, Any], **changed: str) -> Hook:
    headers = {name.lower(): value for name, value in case["headers"].items()}
    return Hook({**headers, **changed}, b64decode(case["body_b64"]), NOW)


def at(case: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(case["now"], UTC)


def signed(version: str = "2", **changes: Any) -> Hook:
    """A notification as SNS could have sent it at NOW, changed before it is signed."""
    said: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": "{}",
        "Timestamp": NOW.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        **changes,
    }
    names = VECTORS["signed_keys_in_order"].get(said["Type"], [])
    text = "".join(f"{name}\n{said[name]}\n" for name in names if said.get(name) is not None)
    algorithm = SHA1() if version == "1" else SHA256()  # noqa: S303 - as SNS does in version 1
    said["Signature"] = b64encode(OURS.sign(text.encode(), PKCS1v15(), algorithm)).decode()
    return hook(said)


def hook(said: Mapping[str, Any]) -> Hook:
    return Hook({"x-amz-sns-message-type": str(said["Type"])}, json.dumps(said).encode(), NOW)


def ours() -> Fetcher:
    return Fetcher({CERTIFICATE_URL: OUR_CERTIFICATE})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_shared_messages(case: dict[str, Any]) -> None:
    known = {**VECTORS["certs"], **case.get("certs", {})}
    fetch = Fetcher({where: certificate.encode() for where, certificate in known.items()})
    body = json.loads(case["body_text"])
    if case["expect"] == "valid":
        assert verify(hook_of(case), fetch, at(case)) == body["MessageId"]
        assert sns.string_to_sign(body) == case["string_to_sign"].encode()
    else:
        assert reason(hook_of(case), fetch, at(case)) == "bad_signature"
    assert set(fetch.asked) <= {CERTIFICATE_URL}  # nothing else is ever fetched
    if "cert" in case["id"]:
        assert fetch.asked == []


@pytest.mark.parametrize("check", VECTORS["cert_url_checks"], ids=lambda check: check["url"] or "empty")
def test_shared_certificate_urls(check: dict[str, Any]) -> None:
    regions = ("eu-west-1", "us-east-1", "us-gov-west-1", "cn-north-1")
    topics = [f"arn:aws:sns:{region}:123456789012:ses-events" for region in regions]
    assert any(sns.is_certificate_url(check["url"], topic) for topic in topics) == check["ok"]


@pytest.mark.parametrize(
    "wrong",
    [
        CERTIFICATE_URL + "\n",
        CERTIFICATE_URL.replace("/Simple", "/\tSimple"),
        CERTIFICATE_URL.replace("sns.", "\u017fns."),  # the long s, which is an s when case is ignored
        CERTIFICATE_URL.replace("eu-west-1", "eu-west-2"),  # another region than the topic's
        CERTIFICATE_URL.replace("https://", "https:\\\\"),
        CERTIFICATE_URL.replace(".com/", ".com@evil.example/"),
        CERTIFICATE_URL.replace(".com/", ".com:443/"),
        "https://sns.eu-west-1.amazonaws.com/%2e%2e/SimpleNotificationService.pem",
        None,
        7,
    ],
)
def test_certificate_urls_that_only_look_right(wrong: object) -> None:
    assert not sns.is_certificate_url(wrong, TOPIC)


def test_what_sns_signs_is_believed_in_either_version() -> None:
    assert verify(signed("1"), ours()) == verify(signed("2"), ours()) == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    assert verify(signed(Subject=None), ours())
    assert reason(signed("1"), ours(), sns_v1="off") == "bad_signature"
    assert verify(signed("2"), ours(), sns_v1="off")
    assert reason(signed("3"), ours()) == "bad_signature"


def test_a_lambda_shaped_record_is_believed_too() -> None:
    said = json.loads(signed(Subject=None).body)
    said["SigningCertUrl"] = said.pop("SigningCertURL")
    assert verify(hook(said), ours())


def test_topics_of_others_are_not_believed() -> None:
    assert reason(signed(TopicArn=f"{TOPIC}2"), ours()) == "unknown_topic"
    settings = SesSettings.from_url(url("default"))

    async def without_topics() -> None:
        with pytest.raises(Untrusted) as refusal:
            await SesProvider("ses", settings, lambda: NOW, ours()).verify(signed())
        assert refusal.value.reason == "no_key"

    asyncio.run(without_topics())


@pytest.mark.parametrize(
    ("age", "tolerance", "stale"),
    [(3600, "3600", False), (3601, "3600", True), (-3601, "3600", True), (61, "60", True), (-60, "60", False)],
)
def test_old_messages_are_stale(age: int, tolerance: str, stale: bool) -> None:
    now = NOW + timedelta(seconds=age)
    if stale:
        assert reason(signed(), ours(), now, tolerance=tolerance) == "stale"
    else:
        assert verify(signed(), ours(), now, tolerance=tolerance)


@pytest.mark.parametrize("timestamp", ["", "yesterday", None, 5, "0001-01-01T00:00:00+14:00"])
def test_a_message_must_say_when_it_was_sent(timestamp: object) -> None:
    assert reason(signed(Timestamp=timestamp), ours()) in ("stale", "malformed")


def test_the_header_and_the_body_must_agree() -> None:
    right = signed()
    assert reason(Hook({}, right.body, NOW), ours()) == "missing_header"
    other = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
    assert reason(Hook(other, right.body, NOW), ours()) == "malformed"
    assert reason(signed(Type="Whatever"), ours()) == "malformed"


def test_raw_delivery_and_a_queues_mark_prove_nothing_over_http() -> None:
    raw = (HERE / "payloads" / "ses" / "envelope" / "sns_http_delivery_raw.json").read_bytes()
    headers = {"x-amz-sns-message-type": "Notification", "x-amz-sns-rawdelivery": "true"}
    assert reason(Hook(headers, raw, NOW), ours()) == "malformed"
    assert reason(Hook({**headers, **signed().headers}, signed().body, NOW), ours()) == "malformed"
    assert reason(Hook({"x-postledger-transport": "sqs"}, raw, NOW), ours()) == "missing_header"


def test_an_id_cannot_take_in_what_follows_it() -> None:
    """What is signed has no ends: `Subject` could be told as a part of the id, and the delivery get another key."""
    said = json.loads(signed(Subject="S").body)
    del said["Subject"]
    said["MessageId"] += "\nSubject\nS"
    assert reason(hook(said), ours()) == "malformed"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 10_000, b'{"Type": "Notification"}'])
def test_malformed_bodies(body: bytes) -> None:
    assert reason(Hook({"x-amz-sns-message-type": "Notification"}, body, NOW), ours()) == "malformed"


@pytest.mark.parametrize("signature", [None, "", "%%%", "ä", 5, [], "AAAA", b64encode(bytes(5000)).decode()])
def test_malformed_signatures(signature: object) -> None:
    said = {**json.loads(signed().body), "Signature": signature}
    assert reason(hook(said), ours()) == "bad_signature"


# The certificate


def test_a_certificate_is_fetched_once_by_all_who_need_it_and_again_after_a_day() -> None:
    fetch, now = ours(), NOW

    async def run() -> None:
        nonlocal now
        provider = SesProvider("ses", SesSettings.from_url(url("default", topic_arn=TOPIC)), lambda: now, fetch)
        await asyncio.gather(*(provider.verify(signed()) for _ in range(20)))
        assert len(fetch.asked) == 1
        now += timedelta(days=1)
        late = signed(Timestamp=now.isoformat())
        await provider.verify(late)
        assert len(fetch.asked) == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "broken",
    [VerificationUnavailable(), b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_trouble_with_the_certificate_is_not_the_messages_fault_and_is_not_kept(broken: bytes | Exception) -> None:
    fetch = Fetcher({CERTIFICATE_URL: broken})

    async def run() -> None:
        provider = SesProvider("ses", SesSettings.from_url(url("default", topic_arn=TOPIC)), lambda: NOW, fetch)
        with pytest.raises(VerificationUnavailable):
            await provider.verify(signed())
        fetch.certificates[CERTIFICATE_URL] = OUR_CERTIFICATE
        assert await provider.verify(signed())

    asyncio.run(run())


def test_a_key_that_is_not_rsa_cannot_be_used() -> None:
    with pytest.raises(VerificationUnavailable):
        sns.public_key(self_signed(ec.generate_private_key(ec.SECP256R1())))


def test_no_more_than_a_few_certificates_are_kept() -> None:
    urls = [CERTIFICATE_URL.replace(".pem", f"{number:x}.pem") for number in range(100)]
    certificates = sns.Certificates(Fetcher(dict.fromkeys(urls, OUR_CERTIFICATE)), lambda: NOW)

    async def run() -> None:
        for each in urls:
            await certificates.key(each)
        assert len(certificates._kept) == 32

    asyncio.run(run())


@pytest.mark.parametrize(
    "reaction",
    [
        Answered(500),
        Answered(503),
        Answered(302, {"Location": "http://169.254.169.254/"}),
        Answered(200, {}, b"x" * 100_000),
        Broken.RESET_IN_ANSWER,
        Broken.GARBAGE,
    ],
)
def test_fetching_goes_wrong(reaction: Reaction) -> None:
    async def run() -> None:
        async with HttpStub(reaction) as stub:
            with pytest.raises(VerificationUnavailable):
                await sns.fetch_certificate(f"http://{stub.host}/SimpleNotificationService.pem")
            assert len(stub.requests) == 1

    asyncio.run(run())


@pytest.mark.parametrize("status", [403, 404])
def test_a_certificate_that_aws_does_not_have_was_never_theirs(status: int) -> None:
    async def run() -> None:
        async with HttpStub(Answered(status)) as stub:
            with pytest.raises(Untrusted):
                await sns.fetch_certificate(f"http://{stub.host}/SimpleNotificationService-00ff.pem")

    asyncio.run(run())


def test_fetching() -> None:
    async def run() -> bytes:
        async with HttpStub(Answered(200, {}, CERTIFICATE.encode())) as stub:
            return await sns.fetch_certificate(f"http://{stub.host}/SimpleNotificationService.pem")

    assert sns.public_key(asyncio.run(run())).key_size == 2048


# Properties

KEY = sns.public_key(OUR_CERTIFICATE)
RIGHT = signed(Subject="S", Message='{"eventType": "Send", "note": "żółć"}')


def passes(tried: Hook) -> str | None:
    with suppress(Untrusted):
        found = sns.examine(tried, TRUST, NOW)
        sns.check_signature(found, KEY)
        return found.message_id
    return None


@given(st.integers(0, len(RIGHT.body) - 1), st.integers(0, 255))
def test_no_changed_byte_says_anything_else(place: int, byte: int) -> None:
    """White space and unsigned fields may change; what is signed may not."""
    body = RIGHT.body[:place] + bytes([byte]) + RIGHT.body[place + 1 :]
    if passes(Hook(RIGHT.headers, body, NOW)):
        names = VECTORS["signed_keys_in_order"]["Notification"]
        assert [json.loads(body)[name] for name in names] == [json.loads(RIGHT.body)[name] for name in names]


@given(st.sampled_from(VECTORS["signed_keys_in_order"]["Notification"]), st.text(max_size=20))
def test_no_signed_value_can_be_replaced(name: str, value: str) -> None:
    said = json.loads(RIGHT.body)
    assert passes(Hook(RIGHT.headers, json.dumps({**said, name: value}).encode(), NOW)) is None or said[name] == value


@given(st.binary() | st.dictionaries(st.text(), st.text()).map(lambda said: json.dumps(said).encode()))
def test_nothing_else_passes(body: bytes) -> None:
    assert passes(Hook(RIGHT.headers, body, NOW)) is None


@given(
    st.dictionaries(st.sampled_from([*json.loads(RIGHT.body), "SigningCertUrl"]), st.none() | st.integers() | st.text())
)
def test_whatever_is_put_in_only_untrusted_is_raised(changes: dict[str, Any]) -> None:
    said = {**json.loads(RIGHT.body), **changes}
    passes(hook(said))


# Subscriptions


def with_sns(reaction: Reaction, use: Callable[[HttpStub, SesProvider], Awaitable[None]], **options: str) -> None:
    async def run() -> None:
        async with HttpStub(reaction) as stub:
            settings = SesSettings.from_url(url(stub.host, timeout="0.5", topic_arn=TOPIC, **options))
            provider = SesProvider("ses", settings, lambda: NOW)
            try:
                await use(stub, provider)
            finally:
                await provider.close()

    asyncio.run(run())


CONFIRMED = Answered(
    200,
    {"Content-Type": "text/xml"},
    b"<ConfirmSubscriptionResponse><ConfirmSubscriptionResult><SubscriptionArn>arn</SubscriptionArn>"
    b"</ConfirmSubscriptionResult></ConfirmSubscriptionResponse>",
)
ASKED = hook_of(CASES["v2-subscription-confirmation"])
GONE = hook_of(CASES["v2-unsubscribe-confirmation"])


def test_a_subscription_is_confirmed_through_the_api() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        await provider.follow_up(ASKED)
        (call,) = stub.requests
        said = {name: value for name, (value,) in parse_qs(call.body.decode()).items()}
        assert (call.path, said["Action"], said["TopicArn"]) == ("/", "ConfirmSubscription", TOPIC)
        assert said["Token"] == json.loads(ASKED.body)["Token"]
        assert said["AuthenticateOnUnsubscribe"] == "true"
        assert "/eu-west-1/sns/aws4_request" in call.headers["authorization"]

    with_sns(CONFIRMED, use, confirm_subscriptions="on")


def test_the_topics_region_is_asked_not_ours() -> None:
    topic = TOPIC.replace("eu-west-1", "us-east-2")

    async def use(stub: HttpStub, provider: SesProvider) -> None:
        elsewhere = Hook(ASKED.headers, ASKED.body.replace(TOPIC.encode(), topic.encode()), NOW)
        await provider.follow_up(elsewhere)
        assert "/us-east-2/sns/aws4_request" in stub.requests[0].headers["authorization"]
        await provider.follow_up(ASKED)  # not one of our topics now
        assert len(stub.requests) == 1

    async def run() -> None:
        async with HttpStub(CONFIRMED) as stub:
            settings = SesSettings.from_url(url(stub.host, topic_arn=topic, confirm_subscriptions="on"))
            provider = SesProvider("ses", settings, lambda: NOW)
            await use(stub, provider)
            await provider.close()

    asyncio.run(run())


def test_nothing_is_confirmed_unless_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        await provider.follow_up(ASKED)
        await provider.follow_up(GONE)
        await provider.follow_up(signed())
        await provider.follow_up(Hook({}, b"nonsense", NOW))
        assert stub.requests == []

    with caplog.at_level(logging.WARNING):
        with_sns(CONFIRMED, use)
    assert [("confirm" in record.message, "missed" in record.message) for record in caplog.records] == [
        (True, False),
        (False, True),
    ]


def test_leaving_is_never_undone() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        await provider.follow_up(GONE)
        assert stub.requests == []

    with_sns(CONFIRMED, use, confirm_subscriptions="on")


def test_a_confirmation_that_fails_is_trouble() -> None:
    async def use(stub: HttpStub, provider: SesProvider) -> None:
        with pytest.raises(ProviderTrouble, match="confirm_subscription"):
            await provider.follow_up(ASKED)

    with_sns(refused("InternalError", status=500), use, confirm_subscriptions="on")
