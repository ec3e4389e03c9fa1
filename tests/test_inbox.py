"""From a provider's delivery to events: kept, translated, matched, corrected, on both databases."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from application.errors import Untrusted
from application.feedback import RecordFeedback
from application.inbox import HookDoor, InboxFilter, TranslateInbox
from application.ports import Hook
from application.provider_lists import FollowProviderLists
from application.suppressions import Suppressions
from domain import events as e
from domain.answer import Answer
from domain.email import Email
from domain.ids import uuid7
from infrastructure.bootstrap import PROJECTIONS
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.inbox import Kept, SqlInbox
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.store import Append
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.sent_messages import SqlSentMessages
from tests.feedback_source import SIGNED, WordForWord
from tests.ledger.conftest import open_store
from tests.samples import LEASE, NOW, queued, stamp, stored_content

ADA, BOB = "ada@example.com", "bob@example.com"


@dataclass
class Post:
    """A ledger, an inbox, and one provider that tells."""

    ledger: EventLedger
    database: Database
    inbox: SqlInbox
    runner: ProjectionRunner
    source: WordForWord = field(default_factory=WordForWord)
    sleeping: bool = False
    passed: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.suppressions = Suppressions(self.ledger, self.clock)
        lists = FollowProviderLists(self.suppressions, {"acme", "globex"}, self.clock)
        record = RecordFeedback(self.ledger, SqlSentMessages(self.database), lists, self.clock)
        self.door = HookDoor(self.inbox, {"scripted": self.source})
        self.counted: list[tuple[str, str, str]] = []
        sources = {"scripted": self.source}
        self.translate = TranslateInbox(self.inbox, sources, record, self.clock, lambda *c: self.counted.append(c))

    def clock(self) -> Any:
        return NOW + self.passed

    async def sent(self, *people: str, provider: str = "scripted", message_id: str = "m-1") -> UUID:
        """An email that the provider has taken."""
        email = queued(*(people or (ADA,)), id=uuid7(NOW))
        email.start_delivery(provider, "default", LEASE, stamp())
        messages = tuple(e.ProviderMessage(recipient_id=id, message_id=message_id) for id in email.standing.recipients)
        email.conclude(1, Answer(messages=messages), stamp(), chance=0)
        await self.ledger.append(email.collect_events(), [stored_content(email)])
        return email.id

    async def deliver(self, *said: Mapping[str, Any], key: str = "", provider: str = "scripted") -> bool:
        headers = {**SIGNED, "x-key": key} if key else dict(SIGNED)
        hook = Hook(headers=headers, body=json.dumps(said).encode(), received_at=self.clock())
        return await self.door(provider, hook)

    async def digest(self) -> None:
        while await self.translate.step():
            pass

    async def history(self, id: UUID) -> list[e.Event]:
        return [recorded.event for recorded in await self.ledger.load(id)]

    async def reports(self, id: UUID) -> list[str]:
        return [event.TYPE.removeprefix("email.recipient_") for event in (await self.history(id))[3:]]

    async def status(self, id: UUID) -> str:
        email = Email.of(await self.history(id))
        assert email is not None
        return email.status.value

    async def entries(self, **wanted: Any) -> list[Kept]:
        return await self.inbox.page(InboxFilter(**wanted), None, 100)


Play = Callable[[Callable[[Post], Awaitable[None]]], None]


@pytest.fixture
def play(database_url: str) -> Play:
    def run(scenario: Callable[[Post], Awaitable[None]]) -> None:
        async def scene() -> None:
            database, wakeups = Database.open(database_url), Wakeups(database_url)
            ledger = EventLedger(open_store(database_url), wakeups.events)
            inbox = SqlInbox(database, wakeups)
            runner = ProjectionRunner(ledger, database, PROJECTIONS, wakeups, lambda: NOW, alone=True)
            await runner.prepare()
            await inbox.prepare()
            try:
                await scenario(Post(ledger, database, inbox, runner))
            finally:
                await inbox.close()
                await ledger.close()
                database.close()

        asyncio.run(scene())

    return run


def delivered(id: UUID, **more: Any) -> dict[str, Any]:
    return {"kind": "delivered", "key": "d", "email_id": str(id), "recipient": ADA, "at": NOW.isoformat(), **more}


def bounced(id: UUID, **more: Any) -> dict[str, Any]:
    at = (NOW + timedelta(seconds=5)).isoformat()
    return {"kind": "bounced", "key": "b", "email_id": str(id), "recipient": ADA, "at": at, **more}


def test_what_a_provider_tells_becomes_an_event_that_knows_where_it_came_from(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        assert await post.deliver(delivered(id))
        await post.digest()
        (kept,) = await post.entries()
        event = (await post.history(id))[-1]
        assert isinstance(event, e.EmailRecipientDelivered)
        assert (event.actor, event.raw, event.causation_id) == ("provider:scripted", kept.entry.id, kept.entry.id)
        assert event.correlation_id == (await post.history(id))[0].correlation_id
        assert (kept.state, kept.kinds, kept.statements) == ("done", ("delivered",), 1)
        assert post.counted == [("scripted", "delivered", "recorded")]

    play(scenario)


def test_a_repeated_delivery_is_kept_once_and_repeated_words_are_recorded_once(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        assert [await post.deliver(delivered(id), key="k") for _ in range(3)] == [True, False, False]
        assert await post.deliver(delivered(id), key="another")
        await post.digest()
        assert await post.reports(id) == ["delivered"]

    play(scenario)


def test_many_at_once_are_kept_once_each(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        keys = [str(n % 20) for n in range(200)]
        fresh = await asyncio.gather(*(post.deliver(delivered(id), key=key) for key in keys))
        assert sum(fresh) == 20
        await post.digest()
        assert await post.reports(id) == ["delivered"]

    play(scenario)


def test_a_used_key_with_another_body_is_a_replay(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        await post.deliver(delivered(id), key="token")
        with pytest.raises(Untrusted) as caught:
            await post.deliver(bounced(id), key="token")
        assert caught.value.reason == "replayed"

    play(scenario)


def test_only_a_configured_provider_may_deliver_and_only_what_it_signed(play: Play) -> None:
    async def scenario(post: Post) -> None:
        with pytest.raises(Untrusted, match="prove"):
            await post.deliver({}, provider="nobody")
        with pytest.raises(Untrusted) as caught:
            await post.door("scripted", Hook(headers={}, body=b"[]", received_at=NOW))
        assert caught.value.reason == "bad_signature"
        assert await post.entries() == []

    play(scenario)


def test_secrets_among_the_headers_are_not_kept(play: Play) -> None:
    async def scenario(post: Post) -> None:
        headers = {**SIGNED, "authorization": "Basic c2VjcmV0", "x-webhook-secret": "s", "svix-id": "msg_1"}
        await post.door("scripted", Hook(headers=headers, body=b"[]", received_at=NOW))
        (kept,) = await post.entries()
        assert kept.entry.hook.headers == {"svix-id": "msg_1"}

    play(scenario)


def test_without_our_id_the_providers_message_id_leads_to_the_email(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(message_id="sg-42")
        await post.runner.catch_up()
        await post.deliver(delivered(id, message_id="sg-42"))
        said = {k: v for k, v in bounced(id, message_id="sg-42").items() if k != "email_id"}
        await post.deliver(said)
        await post.digest()
        assert sorted(await post.reports(id)) == ["delivered", "delivery_failed"]

    play(scenario)


def test_any_number_of_message_ids_can_be_asked_for(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(message_id="m-7")
        await post.runner.catch_up()
        asked = {f"m-{number}" for number in range(70_000)}  # more than a statement can have parameters
        assert await SqlSentMessages(post.database).emails("scripted", asked) == {"m-7": id}

    play(scenario)


def test_our_own_message_id_needs_no_table(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        said = {k: v for k, v in bounced(id, message_id=f"{id}@sender.example").items() if k != "email_id"}
        await post.deliver(said)
        await post.digest()
        assert await post.reports(id) == ["delivery_failed"]

    play(scenario)


def test_a_webhook_that_overtakes_our_commit_is_matched_later(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(message_id="sg-43")  # the read model has not seen it yet
        await post.deliver({k: v for k, v in delivered(id, message_id="sg-43").items() if k != "email_id"})
        await post.digest()
        (kept,) = await post.entries()
        assert (kept.state, kept.unmatched) == ("unmatched", 1)
        assert await post.reports(id) == []
        await post.runner.catch_up()
        post.passed = timedelta(seconds=2)
        await post.digest()
        assert await post.reports(id) == ["delivered"]
        assert (await post.entries())[0].state == "done"

    play(scenario)


def test_what_never_matches_is_left_alone_in_the_end(play: Play) -> None:
    async def scenario(post: Post) -> None:
        await post.deliver(delivered(uuid7(NOW)))
        for _ in range(12):
            await post.digest()
            post.passed += timedelta(days=2)
        (kept,) = await post.entries()
        assert (kept.state, kept.next_try_at, kept.entry.tries) == ("unmatched", None, 11)

    play(scenario)


def test_a_provider_that_never_had_the_email_is_not_believed(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(provider="another")
        await post.deliver(delivered(id))
        await post.digest()
        assert await post.reports(id) == []
        assert (await post.entries())[0].state == "unmatched"

    play(scenario)


def test_translating_history_again_records_nothing_twice(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(ADA, BOB)
        await post.deliver(delivered(id), bounced(id, recipient=BOB))
        await post.digest()
        before = await post.history(id)
        settled = await post.translate.translate([kept.entry for kept in await post.entries()])
        assert [each.recorded for each in settled] == [0]
        assert await post.history(id) == before

    play(scenario)


def test_a_mended_translator_corrects_history_and_says_what(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        await post.deliver(delivered(id))
        await post.deliver(bounced(id))
        await post.digest()
        (mistaken,) = [each for each in await post.history(id) if isinstance(each, e.EmailRecipientDeliveryFailed)]
        assert await post.status(id) == "bounced"
        post.source.renamed["bounced"] = "ignored"  # it was an automatic reply
        entries = await post.entries(kind="bounced")
        (settled,) = await post.translate.translate([kept.entry for kept in entries])
        assert settled.recorded == 1
        event = (await post.history(id))[-1]
        assert isinstance(event, e.EmailRecipientReportWithdrawn)
        assert event.corrects is not None
        assert event.corrects.event_id == mistaken.event_id
        assert await post.status(id) == "delivered"

    play(scenario)


def test_a_delivery_that_the_translator_chokes_on_waits_and_holds_up_nobody(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        await post.door("scripted", Hook(headers=SIGNED, body=b"no json", received_at=NOW))
        await post.deliver(delivered(id))
        await post.digest()
        assert sorted(kept.state for kept in await post.entries()) == ["done", "failed"]
        assert await post.reports(id) == ["delivered"]

    play(scenario)


def test_a_delivery_that_cannot_be_recorded_waits_and_holds_up_nobody(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id, broken = await post.sent(), queued(id=uuid7(NOW))
        with closing(open_store(post.database.url)) as store:
            facts: dict[str, Any] = {"originator_version": 1, "topic": e.EmailQueued.topic(), "state": b"not ours"}
            store.commit([Append([StoredEvent(originator_id=broken.id, **facts)])])
        await post.deliver(delivered(broken.id))
        await post.deliver(delivered(id))
        await post.digest()
        assert sorted(kept.state for kept in await post.entries()) == ["done", "failed"]
        assert await post.reports(id) == ["delivered"]

    play(scenario)


def test_statements_of_one_delivery_that_share_a_key_are_one_however_often_it_is_read(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent(ADA, BOB)
        later = (NOW + timedelta(seconds=9)).isoformat()
        await post.deliver(bounced(id), bounced(id, at=later), bounced(id, recipient=BOB))
        await post.digest()
        before = await post.history(id)
        assert await post.reports(id) == ["delivery_failed"] * 2
        await post.translate.translate([kept.entry for kept in await post.entries()])
        assert await post.history(id) == before

    play(scenario)


def test_a_delivery_is_followed_up_once(play: Play) -> None:
    async def scenario(post: Post) -> None:
        await post.deliver(delivered(uuid7(NOW)))
        await post.digest()
        post.passed = timedelta(minutes=1)
        await post.digest()
        assert len(post.source.followed) == 1

    play(scenario)


def test_a_change_of_the_providers_list_is_ours_too_and_told_twice_counts_once(play: Play) -> None:
    async def scenario(post: Post) -> None:
        await post.deliver({"kind": "suppression_added", "key": "s", "recipient": BOB, "reason": "manual"})
        await post.digest()
        for tenant in ("acme", "globex"):
            assert await post.suppressions.rules(tenant, "transactional", [ADA, BOB]) == {BOB: "provider_list"}
        await post.deliver({"kind": "resubscribed", "key": "r", "recipient": BOB})
        await post.digest()
        assert await post.suppressions.rules("acme", "transactional", [BOB]) == {}
        await post.translate.translate([kept.entry for kept in await post.entries()])
        assert await post.suppressions.rules("acme", "transactional", [BOB]) == {}

    play(scenario)


def test_two_workers_share_an_inbox_without_recording_twice(play: Play) -> None:
    async def scenario(post: Post) -> None:
        ids = [await post.sent() for _ in range(10)]
        for number, id in enumerate(ids):
            await post.deliver(delivered(id), key=f"a{number}")
            await post.deliver(delivered(id), bounced(id), key=f"b{number}")
        await asyncio.gather(post.digest(), post.digest(), post.digest())
        for id in ids:
            assert sorted(await post.reports(id)) == ["delivered", "delivery_failed"]

    play(scenario)


def test_a_worker_that_died_leaves_its_entries_to_others(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        await post.deliver(delivered(id))
        assert len(await post.inbox.claim(10, timedelta(seconds=60), NOW)) == 1
        await post.digest()
        assert await post.reports(id) == []
        post.passed = timedelta(seconds=61)
        await post.digest()
        assert await post.reports(id) == ["delivered"]

    play(scenario)


def test_old_deliveries_are_deleted_once_nothing_is_left_to_do(play: Play) -> None:
    async def scenario(post: Post) -> None:
        id = await post.sent()
        await post.deliver(delivered(id))
        await post.deliver(delivered(uuid7(NOW)))
        await post.digest()
        assert await post.inbox.forget(NOW) == 0
        assert await post.inbox.forget(NOW + timedelta(seconds=1)) == 1
        (kept,) = await post.entries()
        assert kept.state == "unmatched"

    play(scenario)
