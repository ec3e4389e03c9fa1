"""What is wrong with one caller's wish stays with that caller, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from application.errors import StreamConflict
from application.ports import StoredContent
from domain.errors import UnreadableEvent
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.store import Append
from tests.ledger.conftest import Scenario, open_store
from tests.samples import content, queued, stored_content

Play = Callable[[Scenario], None]


def bad_contents(there: UUID) -> list[StoredContent]:
    """Rows that no database takes: a second content for one email, a NUL in a text, something that is no bytes."""
    return [
        StoredContent(there, b"{}"),
        StoredContent(uuid4(), b"{}", ("a\0b" * 30, "a\0b" * 30)),
        StoredContent(uuid4(), object()),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("number", range(3))
def test_an_append_that_cannot_be_stored_fails_alone(play: Play, number: int) -> None:
    async def scenario(ledger: EventLedger) -> None:
        there = queued()
        await ledger.append(there.collect_events(), [stored_content(there)])
        others = [queued() for _ in range(6)]
        wishes = [ledger.append(o.collect_events(), [stored_content(o)]) for o in others]
        bad = queued()
        wishes.insert(3, ledger.append(bad.collect_events(), [bad_contents(there.id)[number]]))
        results = await asyncio.gather(*wishes, return_exceptions=True)
        assert [isinstance(result, int) for result in results] == [True] * 3 + [False] + [True] * 3
        assert not isinstance(results[3], StreamConflict)
        assert await ledger.load(bad.id) == []
        assert [len(await ledger.load(o.id)) for o in others] == [1] * 6
        again = queued()
        assert await ledger.append(again.collect_events(), [stored_content(again)]) == await ledger.position()

    play(scenario)


def test_what_cannot_be_read_fails_only_for_its_own_reader(database_url: str) -> None:
    broken = uuid4()
    with closing(open_store(database_url)) as store:
        garbage = StoredEvent(originator_id=broken, originator_version=1, topic="email.queued.v1", state=b"ada@x.test")
        store.commit([Append([garbage], [StoredContent(broken, b"not json")])])
        play_on(database_url, broken)


def play_on(url: str, broken: UUID) -> None:
    async def scenario() -> None:
        ledger = EventLedger(open_store(url), Signal())
        email = queued()
        await ledger.append(email.collect_events(), [stored_content(email)])
        histories = await asyncio.gather(ledger.load(broken), ledger.load(email.id), return_exceptions=True)
        assert isinstance(histories[0], UnreadableEvent)
        assert "ada@x.test" not in str(histories[0])
        assert isinstance(histories[1], list)
        assert len(histories[1]) == 1
        contents = await asyncio.gather(
            ledger.load_content(broken), ledger.load_content(email.id), return_exceptions=True
        )
        assert isinstance(contents[0], Exception)
        assert contents[1] == content()
        await ledger.close()

    asyncio.run(scenario())
