"""Attempts that give up something: what is recorded of it, and that what was sent can always be made again."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

from application.concessions import Conceding, Concessions
from application.delivery import Delivery
from application.ports import OutgoingMessage, StoredContent
from application.routes import Route, RouteProvider
from application.routing import Router
from domain.answer import Answer
from domain.content import Content, content_ref
from domain.delivery import ErrorClass
from domain.email import Email
from domain.events import EmailDeliveryStarted
from domain.status import EmailStatus
from infrastructure.mime import build_mime
from tests.application.test_concessions import ALL_WORDS, CONCEDING, FILES, HTML, LINKS, FakeTemplates
from tests.fakes import MemoryLedger
from tests.providers_fake import MemoryBlobs, ScriptedProvider, accepted
from tests.samples import LEASE, NOW, queued
from tests.tools import tools


@dataclass
class Bench:
    """One email with a main provider, and a backup that gives up what a test says."""

    main: ScriptedProvider
    backup: ScriptedProvider
    concessions: Concessions
    conceding: Conceding = CONCEDING
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    now: datetime = NOW

    async def accept(self) -> Email:
        content = Content(html=HTML, text="Hello Ada")
        files = tuple(reference for reference, _ in FILES)
        email = queued(content=content_ref(content.encode()), attachments=files)
        await self.ledger.append(email.collect_events(), [StoredContent(email.id, content.encode())])
        return email

    async def step(self, email: Email, after: timedelta = timedelta(0)) -> EmailStatus:
        self.now += after
        self.main.name, self.backup.name = "main", "backup"
        backup = RouteProvider(name="backup", priority=2, concessions=self.concessions)
        routes = [Route(providers=(RouteProvider(name="main"), backup))]
        given: dict[str, Any] = {
            "router": Router(routes),
            "blobs": MemoryBlobs(NOW, *(data for _, data in FILES)),
            "clock": lambda: self.now,
            "lease": LEASE,
            "conceding": self.conceding,
        }
        await Delivery(tools(self.ledger, self.main, self.backup, **given))(email.id, lambda: True)
        return (await self.email(email)).status

    async def email(self, email: Email) -> Email:
        found = Email.of(recorded.event for recorded in await self.ledger.load(email.id))
        assert found is not None
        return found

    async def attempts(self, email: Email) -> list[EmailDeliveryStarted]:
        return list((await self.email(email)).attempts.values())


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def mime_of(message: OutgoingMessage) -> bytes:
    async def build() -> bytes:
        return build_mime(message, [(each, await message.read(each)) for each in message.email.attachments])

    return asyncio.run(build())


DOWN = Answer(error_class=ErrorClass.TRANSIENT, reason="down")
LOST = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
EVERYTHING = Concessions(tracking=False, template="simple.html@0123456789ab", link_attachments_over=5_000)


def test_an_attempt_records_what_it_gives_up_and_the_main_provider_gets_everything() -> None:
    bench = Bench(ScriptedProvider(DOWN), ScriptedProvider(accepted), EVERYTHING)

    async def scenario() -> None:
        email = await bench.accept()
        assert await bench.step(email) is EmailStatus.DEFERRED
        assert await bench.step(email) is EmailStatus.DISPATCHED
        assert [each.concessions for each in await bench.attempts(email)] == [(), ALL_WORDS]

    play(scenario)
    (first,), (second,) = bench.main.sent, bench.backup.sent
    assert (first.tracking, first.content.html, len(first.email.attachments)) == (True, HTML, 3)
    assert (second.tracking, len(second.email.attachments)) == (False, 1)
    assert first.message_id == second.message_id
    parts = [part.get_content_type() for part in message_from_bytes(mime_of(second), policy=policy.default).walk()]
    assert parts == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/plain"]


def test_every_attempt_that_gives_up_the_same_sends_the_same_bytes() -> None:
    """Links included, however much later it is."""
    bench = Bench(ScriptedProvider(DOWN), ScriptedProvider(DOWN, DOWN, accepted), EVERYTHING)

    async def scenario() -> None:
        email = await bench.accept()
        for _ in range(9):
            await bench.step(email, timedelta(hours=5))
            await bench.step(email)
        assert len(bench.backup.sent) == 3

    play(scenario)
    assert len({mime_of(message) for message in bench.backup.sent}) == 1
    assert len({message.attempt.attempt for message in bench.backup.sent}) == 3
    assert len({mime_of(message) for message in bench.main.sent}) == 1


def test_a_look_up_is_for_the_message_that_was_sent() -> None:
    asked: list[OutgoingMessage] = []

    class Asked(ScriptedProvider):
        async def look_up(self, message: OutgoingMessage) -> Answer | None:
            asked.append(message)
            return accepted(message)

    bench = Bench(ScriptedProvider(DOWN), Asked(LOST), EVERYTHING)

    async def scenario() -> None:
        email = await bench.accept()
        await bench.step(email)
        assert await bench.step(email) is EmailStatus.UNCONFIRMED
        bench.concessions = Concessions(text_only=True)  # the settings have changed since
        assert await bench.step(email, timedelta(minutes=15)) is EmailStatus.DISPATCHED

    play(scenario)
    (sent,) = bench.backup.sent
    assert mime_of(asked[0]) == mime_of(sent)
    assert asked[0].tracking is sent.tracking is False


def test_what_cannot_be_made_again_is_not_looked_up() -> None:
    """A provider that is asked by sending again would take another message for the same one."""
    bench = Bench(ScriptedProvider(DOWN), ScriptedProvider(LOST, accepted), EVERYTHING)

    async def scenario() -> None:
        email = await bench.accept()
        await bench.step(email)
        await bench.step(email)
        bench.backup.evidence = Answer()
        bench.conceding = Conceding(FakeTemplates({}), LINKS)  # the template was changed
        await bench.step(email, timedelta(minutes=15))
        resolved = (await bench.email(email)).history[-1]
        assert resolved.model_dump()["evidence"] == "policy"

    play(scenario)


def test_what_cannot_be_made_is_not_sent_and_is_not_the_providers_fault() -> None:
    bench = Bench(ScriptedProvider(DOWN), ScriptedProvider(accepted), EVERYTHING, Conceding(FakeTemplates({}), LINKS))

    async def scenario() -> None:
        email = await bench.accept()
        await bench.step(email)
        assert await bench.step(email) is EmailStatus.DEFERRED
        deferred = (await bench.email(email)).history[-1].model_dump()
        assert (deferred["error_class"], deferred["reason"]) == (ErrorClass.CONFIG, "concession_lost")

    play(scenario)
    assert bench.backup.sent == []


def test_a_template_that_was_changed_is_told_with_the_next_attempt() -> None:
    bench = Bench(ScriptedProvider(DOWN), ScriptedProvider(DOWN, accepted), EVERYTHING)

    async def scenario() -> None:
        email = await bench.accept()
        await bench.step(email)
        await bench.step(email)
        bench.concessions = Concessions(template="simple.html@ffffffffffff")
        bench.conceding = Conceding(FakeTemplates({"simple.html@ffffffffffff": "new"}), LINKS)
        for _ in range(4):
            await bench.step(email, timedelta(hours=5))
            await bench.step(email)
        words = [each.concessions for each in await bench.attempts(email) if each.provider == "backup"]
        assert words == [ALL_WORDS, ("template:simple.html@ffffffffffff",)]

    play(scenario)
    assert bench.backup.sent[1].content.html == "<p>new</p>"
