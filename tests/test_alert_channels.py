"""How alerts leave: as lines of the log, as signed calls, and as emails of our own that find a provider that works."""

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from svix.webhooks import Webhook, WebhookVerificationError

from application.alert_rules import Thresholds
from application.alerts import AlertWatch, WatchPace
from application.delivery import Delivery
from application.incidents import Alert
from application.policies import Policies
from application.send_email import SendEmailHandler
from domain.delivery import DeliveryPolicy
from domain.events import EmailDeliveryStarted, EmailDispatched, EmailQueued, Priority
from domain.ids import email_id_for_key
from domain.provider_state import ProviderState
from infrastructure.alerts.email import TENANT, EmailAlerts
from infrastructure.alerts.log import LogAlerts
from infrastructure.alerts.webhook import NotTaken, WebhookAlerts, document
from infrastructure.outbound import Outbound, OutboundTrouble, Refused
from infrastructure.standard_webhooks import key_of
from tests.application.test_alerts import FakeVitals, MemoryIncidents
from tests.fakes import FakeStates, FakeSuppressions, MemoryLedger
from tests.providers.http_stub import Answered, Broken, HttpStub
from tests.providers_fake import MemoryBlobs, ScriptedProvider
from tests.tools import tools

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALERT = Alert(
    uuid4(), "provider_down", "main", "warning", "raised", SINCE, "The provider main is down.", {"provider": "main"}
)
OVER = replace(ALERT, status="resolved", resolved_at=SINCE + timedelta(minutes=3), text="It is over.")
ENCODED = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"


@pytest.mark.parametrize(
    ("alert", "level"),
    [(ALERT, "WARNING"), (replace(ALERT, severity="critical"), "ERROR"), (OVER, "INFO")],
)
def test_the_log_gets_one_line(alert: Alert, level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asyncio.run(LogAlerts().tell(alert))
    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage() == f"provider_down: {alert.text} (incident {alert.id}, {alert.status})"


async def call(stub: HttpStub, alert: Alert = ALERT, secret: str | None = None, internal: bool = True) -> None:
    outbound = Outbound(internal=internal, timeout=0.3)
    try:
        await WebhookAlerts(f"http://{stub.host}/hook", outbound, lambda: datetime.now(UTC), secret).tell(alert)
    finally:
        await outbound.close()


@pytest.mark.parametrize("alert", [ALERT, OVER], ids=["raised", "resolved"])
def test_a_webhook_gets_all_there_is_to_know(alert: Alert) -> None:
    async def course() -> None:
        async with HttpStub(Answered(204)) as stub:
            await call(stub, alert)
            (request,) = stub.requests
            assert (request.method, request.path, request.json()) == ("POST", "/hook", document(alert))
            assert "webhook-signature" not in request.headers
            assert request.headers["webhook-id"] == f"{alert.id}-{alert.status}"

    asyncio.run(course())


@pytest.mark.parametrize("secret", [ENCODED, "any other secret"])
def test_a_signature_is_what_standard_libraries_verify(secret: str) -> None:
    async def course() -> None:
        async with HttpStub(Answered(200)) as stub:
            await call(stub, ALERT, secret)
            (request,) = stub.requests
            verifier = Webhook(key_of(secret))
            verifier.verify(request.body, dict(request.headers))
            with pytest.raises(WebhookVerificationError):
                verifier.verify(request.body.replace(b"main", b"mein"), dict(request.headers))

    asyncio.run(course())


def test_a_secret_that_only_looks_encoded_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="base64") as refused:
        key_of("whsec_no!base64")
    assert "no!" not in str(refused.value)


@pytest.mark.parametrize("answer", [Answered(500), Answered(302, {"Location": "/"}), Answered(404), *Broken])
def test_whatever_is_no_2xx_is_not_told(answer: Answered | Broken) -> None:
    async def course() -> None:
        async with HttpStub(answer) as stub:
            if answer is Broken.RESET_IN_ANSWER:  # its 200 had come
                await call(stub)
                return
            with pytest.raises(OutboundTrouble):
                await call(stub)

    asyncio.run(course())


def test_a_webhook_inside_is_not_called_unless_the_operator_says_so() -> None:
    async def course() -> None:
        async with HttpStub(Answered(200)) as stub:
            with pytest.raises(Refused):
                await call(stub, internal=False)
            assert stub.connections == 0

    asyncio.run(course())


def test_only_the_status_is_told_of_an_answer() -> None:
    assert issubclass(NotTaken, OutboundTrouble)
    assert str(NotTaken("it answered 500")) == "it answered 500"


class Post:
    """Our own service, with the email channel as the one way to reach an operator."""

    def __init__(self, *providers: ScriptedProvider) -> None:
        self.ledger, self.blobs, self.states = MemoryLedger(), MemoryBlobs(), FakeStates()
        self.now = datetime.now(UTC)
        self.send = SendEmailHandler(
            self.ledger, self.blobs, FakeSuppressions(), lambda: self.now, Policies(DeliveryPolicy())
        )
        self.deliver = Delivery(tools(self.ledger, *providers, states=self.states, clock=lambda: self.now))
        self.channel = EmailAlerts(self.send, "alerts@example.org", ["ops@example.org", "Ada <ada@example.org>"])

    def sent(self, alert: Alert) -> Iterator[EmailQueued]:
        id = email_id_for_key(TENANT, f"{alert.id}-{alert.status}")
        return (r.event for r in self.ledger._log if isinstance(r.event, EmailQueued) and r.event.originator_id == id)


def test_an_alert_is_one_email_however_often_it_is_told() -> None:
    post = Post(ScriptedProvider())

    async def course() -> None:
        for _ in range(3):
            await post.channel.tell(ALERT)
        await post.channel.tell(replace(ALERT, text="In other words."))  # as another version of ours would put it
        await post.channel.tell(OVER)

    asyncio.run(course())
    (raised,), (resolved,) = post.sent(ALERT), post.sent(OVER)
    assert (raised.tenant, raised.priority, raised.stream) == ("postledger", Priority.CRITICAL, "alerts")
    assert raised.subject == "[Postledger] warning: provider_down main"
    assert resolved.subject == "[Postledger] resolved: provider_down main"
    assert [recipient.address for recipient in raised.recipients] == ["ops@example.org", "ada@example.org"]


def test_that_a_provider_is_down_goes_out_through_another_one() -> None:
    main, backup = ScriptedProvider(), ScriptedProvider()
    main.name, backup.name = "main", "backup"
    post = Post(main, backup)
    until = post.now + timedelta(hours=1)
    post.states.known["main"] = ProviderState("main", cause="sends", degraded_until=until, openings=1)
    incidents = MemoryIncidents()
    watch = AlertWatch(
        *(FakeVitals(), post.states, ["main", "backup"], incidents, [post.channel], Thresholds(), WatchPace()),
        lambda: post.now,
    )

    async def course() -> None:
        await watch.look()
        (incident,) = await incidents.unsettled()
        (queued,) = post.sent(incident.alert)
        await post.deliver(queued.originator_id, lambda: True)
        history = [recorded.event for recorded in await post.ledger.load(queued.originator_id)]
        assert [event.provider for event in history if isinstance(event, EmailDeliveryStarted)] == ["backup"]
        assert isinstance(history[-1], EmailDispatched)

    asyncio.run(course())


def test_nothing_but_json_types_are_in_a_document() -> None:
    assert json.loads(json.dumps(document(OVER))) == document(OVER)
