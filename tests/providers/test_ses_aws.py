"""Amazon SES, SNS and SQS together, as `moto` has them: from sending to the events that a queue brings."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import exceptions as boto
from moto.backends import get_backend
from moto.server import ThreadedMotoServer

from application.errors import StoreUnavailable
from application.ports import Hook
from domain.address import Mailbox
from domain.delivery import ErrorClass
from domain.feedback import Kind
from infrastructure.providers.http import AnswerLost, NotSent
from infrastructure.providers.ses import SesProvider, SesSettings, translate
from infrastructure.providers.ses_aws import Aws, _failed
from infrastructure.providers.ses_queue import SqsFeedback, delivery_key
from tests.mail import NOW, outgoing
from tests.providers.http_stub import HttpStub, Received, json_answer
from tests.providers.rigs.ses import KEY, SECRET, refused, url

REGION, ACCOUNT = "eu-west-1", "123456789012"  # the account that moto plays
BOUNCE = (Path(__file__).parent / "payloads" / "ses" / "event_publishing" / "bounce_permanent_general.json").read_text()


@dataclass
class Cloud:
    """What moto plays, and boto3 to set it up."""

    host: str
    names: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=f"http://{self.host}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def queue(self, **attributes: str) -> str:
        made = self.client("sqs").create_queue(QueueName=f"q{next(self.names)}", Attributes=attributes)
        return str(made["QueueUrl"])

    def topic(self, queue_url: str | None = None, *, raw: bool = False) -> str:
        sns = self.client("sns")
        arn = str(sns.create_topic(Name=f"t{next(self.names)}")["TopicArn"])
        if queue_url:
            asked = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
            attributes = {"RawMessageDelivery": "true"} if raw else {}
            endpoint = asked["Attributes"]["QueueArn"]
            sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=endpoint, Attributes=attributes)
        return arn

    def publish(self, topic: str, message: str) -> str:
        return str(self.client("sns").publish(TopicArn=topic, Message=message)["MessageId"])

    def left(self, queue_url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        asked = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
        return sum(int(asked["Attributes"][name]) for name in names)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Cloud(f"{host}:{port}")
    server.stop()


@asynccontextmanager
async def feedback(host: str, queue_url: str) -> AsyncIterator[SqsFeedback]:
    settings = SesSettings.from_url(url(host, queue_url=queue_url))
    source = SqsFeedback("ses", settings, lambda: NOW, wait=1, first_pause=0.05)
    try:
        yield source
    finally:
        await source.close()


Kept = list[tuple[Hook, str]]


def collect(host: str, queue_url: str, until: Callable[[Kept], bool], failing: int = 0) -> Kept:
    """What is kept until that is enough; the store is away for the first `failing` messages."""
    kept: Kept = []
    stop = asyncio.Event()
    away = iter(range(failing))

    async def keep(hook: Hook, key: str) -> None:
        if next(away, None) is not None:
            raise StoreUnavailable
        kept.append((hook, key))
        if until(kept):
            stop.set()

    async def run() -> None:
        async with feedback(host, queue_url) as source:
            await asyncio.wait_for(source.run(keep, stop), 20)

    asyncio.run(run())
    return kept


def test_mail_goes_through_aws(cloud: Cloud) -> None:
    cloud.client("sesv2").create_email_identity(EmailIdentity="news@sender.example")
    message = outgoing(["ada@example.com"], bcc=["zed@example.com"], subject="Grüße")

    async def run() -> None:
        provider = SesProvider("ses", SesSettings.from_url(url(cloud.host)), lambda: NOW)
        answer = await provider.send(message)
        unknown = await provider.send(outgoing(sender=Mailbox(address="news@other.example")))
        await provider.close()
        sent = {each.id: each for each in get_backend("ses")[ACCOUNT][REGION].sent_messages}
        assert [m.recipient_id for m in answer.messages] == [r.id for r in message.recipients]
        for taken, recipient in zip(answer.messages, message.recipients, strict=True):
            mail = message_from_string(sent[taken.message_id].raw_data, policy=policy.default)
            assert sent[taken.message_id].destinations[0] == recipient.address
            assert (mail["Subject"], mail["X-Postledger-Recipient-Id"]) == ("Grüße", str(recipient.id))
        assert (unknown.error_class, unknown.messages) == (ErrorClass.PERMANENT, ())

    asyncio.run(run())


@pytest.mark.parametrize("raw", [False, True])
def test_an_event_comes_through_the_queue_and_is_deleted_when_kept(cloud: Cloud, raw: bool) -> None:
    queue = cloud.queue()
    published = cloud.publish(cloud.topic(queue, raw=raw), BOUNCE)
    ((hook, key),) = collect(cloud.host, queue, lambda kept: len(kept) == 1)
    assert (hook.headers, hook.received_at) == ({"x-postledger-transport": "sqs"}, NOW)
    assert (key == published) is not raw
    (said,) = translate(hook)
    assert (said.kind, said.recipient, said.bounce_class) == (Kind.BOUNCED, "ada@example.com", "hard")
    assert said.provider_event_id == (None if raw else published)
    assert cloud.left(queue) == 0


def test_what_could_not_be_kept_comes_back_under_the_same_key(cloud: Cloud) -> None:
    queue = cloud.queue(VisibilityTimeout="0")
    topic = cloud.topic(queue)
    published = {cloud.publish(topic, BOUNCE) for _ in range(25)}
    kept = collect(cloud.host, queue, lambda kept: {key for _, key in kept} == published, failing=4)
    assert {key for _, key in kept} == published
    assert cloud.left(queue) == 0


def test_whatever_is_in_the_queue_is_kept(cloud: Cloud) -> None:
    queue = cloud.queue()
    sent = cloud.client("sqs").send_message(QueueUrl=queue, MessageBody="nonsense ü")["MessageId"]
    ((hook, key),) = collect(cloud.host, queue, lambda kept: len(kept) == 1)
    assert (hook.body.decode(), key) == ("nonsense ü", sent)
    assert [said.provider_type for said in translate(hook)] == ["unreadable"]


def test_an_empty_queue_is_waited_for_and_stopping_ends_that(cloud: Cloud) -> None:
    async def run() -> None:
        stop = asyncio.Event()

        async def keep(hook: Hook, key: str) -> None:
            raise AssertionError(key)

        async with feedback(cloud.host, cloud.queue()) as source:
            running = asyncio.create_task(source.run(keep, stop))
            await asyncio.sleep(0.2)
            stop.set()
            await asyncio.wait_for(running, 5)

    asyncio.run(run())


def test_a_queue_that_is_not_there_is_told_and_tried_again(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        stop = asyncio.Event()

        async def keep(hook: Hook, key: str) -> None:
            raise AssertionError(key)

        async with feedback(cloud.host, f"http://{cloud.host}/123456789012/none") as source:
            running = asyncio.create_task(source.run(keep, stop))
            while len(told()) < 2:
                await asyncio.sleep(0.02)
            stop.set()
            await asyncio.wait_for(running, 5)

    def told() -> list[str]:
        return [record.message for record in caplog.records if "queue" in record.message]

    asyncio.run(run())
    assert all("receive_message was refused" in each and "NonExistentQueue" in each for each in told())


def test_the_log_says_what_went_wrong_without_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        stop = asyncio.Event()

        async def keep(hook: Hook, key: str) -> None:
            stop.set()
            raise ValueError("ada@example.com")

        async with HttpStub(one_message) as stub, feedback(stub.host, f"http://{stub.host}/1/q") as source:
            await source.run(keep, stop)
            assert [call.headers["x-amz-target"] for call in stub.requests] == ["AmazonSQS.ReceiveMessage"]

    asyncio.run(run())
    (record,) = [record for record in caplog.records if "queue" in record.message]
    assert "ValueError" in record.message
    assert "ada@" not in caplog.text


def test_what_sqs_would_not_delete_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        stop = asyncio.Event()

        async def keep(hook: Hook, key: str) -> None:
            stop.set()

        async with HttpStub(one_message) as stub, feedback(stub.host, f"http://{stub.host}/1/q") as source:
            stub.answers.append(one_message)
            stub.answers.append(json_answer({"Successful": [], "Failed": [{"Id": "0", "Code": "x"}]}))
            await source.run(keep, stop)
            asked, deleted = (call.json() for call in stub.requests)
            assert (asked["WaitTimeSeconds"], asked["MaxNumberOfMessages"]) == (1, 10)
            assert deleted["Entries"] == [{"Id": "0", "ReceiptHandle": "r"}]

    asyncio.run(run())
    assert "delete_message_batch left 1 of 1" in caplog.text


def one_message(_: Received) -> Any:
    return json_answer({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "ada@example.com"}]})


@pytest.mark.parametrize("wait", [0, 21])
def test_a_wait_that_sqs_does_not_know_is_refused(wait: int) -> None:
    settings = SesSettings.from_url(url("default", queue_url="https://sqs.eu-west-1.amazonaws.com/1/q"))
    with pytest.raises(ValueError, match="wait"):
        SqsFeedback("ses", settings, lambda: NOW, wait=wait)
    with pytest.raises(ValueError, match="queue_url"):
        SqsFeedback("ses", SesSettings.from_url(url("default")), lambda: NOW)


def test_there_is_always_a_key() -> None:
    wrapped = json.dumps({"Type": "Notification", "MessageId": "sns", "TopicArn": "t", "Message": "m"}).encode()
    assert (delivery_key(wrapped, "sqs"), delivery_key(b"{}", "sqs")) == ("sns", "sqs")
    assert delivery_key(b"{}", None) == delivery_key(b"{}", None) != delivery_key(b"[]", None)


def test_a_signature_made_by_others_is_believed(cloud: Cloud) -> None:
    """moto signs in its own way what it puts in a queue; the same could come by HTTP."""
    queue = cloud.queue()
    topic = cloud.topic(queue)
    published = cloud.publish(topic, BOUNCE)
    ((hook, _),) = collect(cloud.host, queue, lambda kept: len(kept) == 1)
    certificates = get_backend("sns")[ACCOUNT][REGION]._message_public_keys

    async def fetch(wanted: str) -> bytes:
        found = certificates[wanted.rpartition("/")[2]]
        assert isinstance(found, bytes)
        return found

    async def run() -> str:
        settings = SesSettings.from_url(url("default", topic_arn=topic))
        at = json.loads(hook.body)["Timestamp"]
        provider = SesProvider("ses", settings, lambda: NOW.fromisoformat(at), fetch)
        return await provider.verify(Hook({"x-amz-sns-message-type": "Notification"}, hook.body, NOW))

    assert asyncio.run(run()) == published


def test_a_subscription_is_confirmed_with_aws(cloud: Cloud) -> None:
    topic = cloud.topic()
    asked = {"Type": "SubscriptionConfirmation", "TopicArn": topic, "Token": "t", "Message": "m", "MessageId": "i"}

    async def run() -> None:
        settings = SesSettings.from_url(url(cloud.host, topic_arn=topic, confirm_subscriptions="on"))
        provider = SesProvider("ses", settings, lambda: NOW)
        await provider.follow_up(Hook({}, json.dumps(asked).encode(), NOW))
        await provider.close()

    asyncio.run(run())


def test_without_credentials_anywhere_it_is_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    async def run() -> None:
        async with HttpStub(refused("x")) as stub:
            settings = SesSettings.from_url(f"ses://{stub.host}?region=eu-west-1&tls=off")
            provider = SesProvider("ses", settings, lambda: NOW)
            answer = await provider.send(outgoing())
            assert (answer.error_class, answer.words) == (ErrorClass.CONFIG, "NoCredentialsError")
            assert "NoCredentialsError" in str(await provider.check())
            assert stub.requests == []
            await provider.close()

    asyncio.run(run())


def test_boto3s_own_chain_is_used_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFROMTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    async def run() -> None:
        async with HttpStub(json_answer({"MessageId": "m"})) as stub:
            provider = SesProvider(
                "ses", SesSettings.from_url(f"ses://{stub.host}?region=eu-west-1&tls=off"), lambda: NOW
            )
            assert (await provider.send(outgoing())).messages
            assert "AKIAFROMTHEENVIRONMENT" in stub.requests[0].headers["authorization"]
            await provider.close()

    asyncio.run(run())


def test_what_boto3_refuses_itself_is_not_sent_and_not_quoted() -> None:
    async def run() -> None:
        async with HttpStub(json_answer({})) as stub:
            aws = Aws(SesSettings.from_url(url(stub.host)).access)
            answer = await aws.call("sesv2", "send_email", Content="ada@example.com")
            assert answer == {"Error": {"Code": "ParamValidationError", "Message": ""}}
            assert stub.requests == []
            await aws.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (boto.ConnectTimeoutError(endpoint_url="https://e.example"), NotSent),
        (boto.EndpointConnectionError(endpoint_url="https://e.example"), NotSent),
        (boto.ProxyConnectionError(proxy_url="https://e.example"), NotSent),
        (boto.ReadTimeoutError(endpoint_url="https://e.example"), AnswerLost),
        (boto.ConnectionClosedError(endpoint_url="https://e.example"), AnswerLost),
        (boto.SSLError(endpoint_url="https://e.example", error="in the middle"), AnswerLost),
        (boto.HTTPClientError(error="whatever"), AnswerLost),
        (AttributeError("in a parser"), AnswerLost),
    ],
)
def test_only_what_certainly_was_not_sent_may_be_sent_again(
    error: Exception, means: type[NotSent | AnswerLost]
) -> None:
    with pytest.raises(means) as trouble:
        _failed(error)
    assert "e.example" not in str(trouble.value)


def test_boto3_is_not_imported_before_it_is_used() -> None:
    program = (
        "import sys, infrastructure.providers.ses_queue; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
