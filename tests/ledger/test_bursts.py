"""Much at once, of everything, on both stores: patience, not refusals."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from eventsourcing.persistence import Notification, StoredEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from application.errors import StreamConflict
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.store import Append, Outcome, judge, keys, positions
from tests.ledger.conftest import Scenario
from tests.samples import content, queued, stamp, stored_content

Play = Callable[[Scenario], None]


def test_a_burst_of_appends_loads_and_reads_is_all_answered(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        emails = [queued() for _ in range(300)]
        appended = await asyncio.gather(
            *(ledger.append(email.collect_events(), [stored_content(email)]) for email in emails)
        )
        assert sorted(appended) == list(range(min(appended), min(appended) + 300))
        more = [queued() for _ in range(100)]
        loads = [ledger.load(email.id) for email in emails]
        contents = [ledger.load_content(email.id) for email in emails]
        pages = [ledger.read(after, 50) for after in range(0, 300, 3)]
        appends = [ledger.append(email.collect_events()) for email in more]
        tips = [ledger.position() for _ in range(100)]
        answers = await asyncio.gather(*loads, *contents, *pages, *appends, *tips)
        assert [len(history) for history in answers[:300] if isinstance(history, list)] == [1] * 300
        assert answers[300:600] == [content()] * 300
        assert await ledger.position() == max(appended) + 100

    play(scenario)


def test_an_append_over_many_streams_answers_with_the_position_of_its_last_event(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        async def append(size: int) -> None:
            emails = [queued() for _ in range(size)]
            for email in emails[::2]:
                email.cancel(stamp())
            events = [event for email in emails for event in email.collect_events()]
            position = await ledger.append(events, [stored_content(email) for email in emails])
            page = await ledger.read(position - len(events), len(events))
            assert [recorded.event for recorded in page] == events
            assert page[-1].position == position

        await asyncio.gather(*(append(size) for size in range(1, 30)))

    play(scenario)


def test_errors_leave_no_connection_behind(play: Play) -> None:
    async def scenario(ledger: EventLedger) -> None:
        first = queued()
        events = first.collect_events()
        await ledger.append(events)
        for _ in range(40):
            twin = [event.model_copy(update={"event_id": uuid4()}) for event in events]
            with pytest.raises(StreamConflict):
                await ledger.append(twin)
        await asyncio.gather(*(ledger.position() for _ in range(40)))

    play(scenario)


_STREAMS = [uuid4() for _ in range(3)]


def _event(place: tuple[int, int], event_id: int) -> StoredEvent:
    stream, version = place
    return StoredEvent(_STREAMS[stream], version, "t.v1", to_json({"event_id": event_id}))


places = st.tuples(st.integers(0, 2), st.integers(1, 3))
wishes = st.dictionaries(places, st.integers(0, 1), min_size=1, max_size=4).map(
    lambda wish: Append([_event(place, event_id) for place, event_id in wish.items()])
)


@given(before=st.dictionaries(places, st.integers(0, 1)), appends=st.lists(wishes, max_size=6))
@settings(deadline=None, max_examples=400)
def test_judgement_writes_each_version_once_and_answers_everyone(
    before: dict[tuple[int, int], int], appends: list[Append]
) -> None:
    stored = {}
    for position, (place, event_id) in enumerate(before.items(), 1):
        event = _event(place, event_id)
        stored[_STREAMS[place[0]], place[1]] = Notification(
            event.originator_id, event.originator_version, event.topic, event.state, id=position
        )
    outcomes, fresh = judge(appends, stored)
    written = keys(fresh)
    assert len(set(written)) == len(written)
    assert not set(written) & set(stored)
    answers: list[Outcome] = positions(outcomes, fresh, len(stored) + 1)
    assert len(answers) == len(appends)
    assert [a for a, o in zip(answers, outcomes, strict=True) if o is None] == ends(fresh, len(stored))
    for append, answer in zip(appends, answers, strict=True):
        assert isinstance(answer, StreamConflict) or set(keys([append])) <= set(written) | set(stored)


def ends(fresh: list[Append], before: int) -> list[int]:
    sizes = [len(append.events) for append in fresh]
    return [before + sum(sizes[: place + 1]) for place in range(len(sizes))]
