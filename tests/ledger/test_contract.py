"""What every event store owes the application, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from application.errors import StreamConflict
from application.ports import Part, Recorded, StoredContent, Unreadable
from domain.content import Content
from domain.email import Email
from domain.events import EmailCancelled, EmailQueued
from infrastructure.ledger.ledger import EventLedger
from tests.ledger.conftest import Scenario
from tests.samples import NOW, content, draft, queued, stamp, stored_content

Play = Callable[[Scenario], None]


def test_what_was_appended_is_loaded_and_read_in_order(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        email = queued()
        email.cancel(stamp())
        events = email.collect_events()
        position = await ledger.append(events, [stored_content(email)])
        assert [r.event for r in await ledger.load(email.id)] == events
        assert [r.event for r in await ledger.read(0, 10)] == events
        assert [r.position for r in await ledger.read(0, 10)] == [position - 1, position]
        assert await ledger.position() == position

    play(scenario)


def test_content_is_there_exactly_when_its_event_is(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        email, twin = queued(), queued()
        await ledger.append(email.collect_events(), [stored_content(email, "a" * 64)])
        assert await ledger.load_content(email.id) == content()
        assert await ledger.load_content(twin.id) is None
        assert await ledger.blobs_in_use(["a" * 64, "b" * 64]) == {"a" * 64}
        again = Email.queue(email.id, "default", draft(email.id), stamp())
        with pytest.raises(StreamConflict):
            await ledger.append(again.collect_events(), [stored_content(again, "b" * 64)])
        assert await ledger.blobs_in_use(["b" * 64]) == set()

    play(scenario)


@pytest.mark.parametrize("of", [1, 2, 3, 16])
def test_parts_of_the_log_are_in_order_and_together_the_whole(play: Play, of: int) -> None:
    async def scenario(ledger: EventLedger) -> None:
        for _ in range(40):
            email = queued()
            email.cancel(stamp())
            await ledger.append(email.collect_events())
        whole = await ledger.read(0, 100)
        parts = [Part(number, of) for number in range(of)]
        found = [recorded for part in parts for recorded in await _all(ledger, part)]
        assert sorted(found, key=lambda each: each.position) == whole
        for part in parts:
            assert await _all(ledger, part) == [each for each in whole if part.has(each.event.originator_id)]

    async def _all(ledger: EventLedger, part: Part) -> list[Recorded | Unreadable]:
        found: list[Recorded | Unreadable] = []
        while page := await ledger.scan(found[-1].position if found else 0, 7, part):
            found += page
        return found

    play(scenario)


def test_an_unknown_stream_is_empty(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        assert await ledger.load(UUID(int=7)) == []
        assert await ledger.read(0, 10) == []
        assert await ledger.position() == 0

    play(scenario)


def test_a_conflict_fails_only_its_own_caller(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        first = queued()
        await ledger.append(first.collect_events())
        history = [r.event for r in await ledger.load(first.id)]
        racers = [Email.of(history) for _ in range(3)]
        others = [queued() for _ in range(20)]
        for racer in racers:
            assert racer is not None
            racer.cancel(stamp())
        wishes = [ledger.append(o.collect_events(), [stored_content(o)]) for o in others]
        wishes[5:5] = [ledger.append(racer.collect_events()) for racer in racers if racer]
        results = await asyncio.gather(*wishes, return_exceptions=True)
        conflicts = [r for r in results if isinstance(r, StreamConflict)]
        assert [c.stream_ids for c in conflicts] == [{first.id}, {first.id}]
        assert len([r for r in results if isinstance(r, int)]) == 21
        assert [type(r.event) for r in await ledger.load(first.id)] == [EmailQueued, EmailCancelled]
        for other in others:
            assert len(await ledger.load(other.id)) == 1

    play(scenario)


def test_an_append_over_several_streams_is_all_or_nothing(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        there, fresh = queued(), queued()
        await ledger.append(there.collect_events())
        twin = Email.queue(there.id, "default", draft(there.id), stamp())
        with pytest.raises(StreamConflict) as caught:
            await ledger.append([*fresh.collect_events(), *twin.collect_events()])
        assert caught.value.stream_ids == {there.id}
        assert await ledger.load(fresh.id) == []

    play(scenario)


def test_an_append_whose_answer_was_lost_is_recognised_when_repeated(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        email = queued()
        events = email.collect_events()
        position = await ledger.append(events, [stored_content(email)])
        assert await ledger.append(events, [stored_content(email)]) == position
        assert len(await ledger.read(0, 10)) == 1

    play(scenario)


def test_reading_can_be_narrowed_to_topics_with_or_without_version(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        email = queued()
        email.cancel(stamp())
        await ledger.append(email.collect_events())
        for topic in ("email.cancelled", "email.cancelled.v1"):
            assert [r.topic for r in await ledger.read(0, 10, [topic])] == ["email.cancelled.v1"]

    play(scenario)


def test_a_waiting_follower_is_woken_by_an_append(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        waiting = asyncio.create_task(ledger.wait(0, 60))
        await asyncio.sleep(0)
        await ledger.append(queued().collect_events())
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(ledger.wait(0, 60), 10)

    play(scenario)


def test_bodies_of_any_text_survive(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        email = queued(subject="Grüße \u2028 🎉")
        text = Content(html="<p>\u0000 ü 🎉</p>", headers={"X-A": "b"})
        await ledger.append(email.collect_events(), [StoredContent(email.id, text.encode())])
        assert await ledger.load_content(email.id) == text
        assert (await ledger.load(email.id))[0].event.occurred_at == NOW

    play(scenario)
