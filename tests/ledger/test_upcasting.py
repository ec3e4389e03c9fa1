"""Old stored events are read by the code of today, from the real tables of both stores."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from domain.errors import UnreadableEvent
from domain.events import Event
from domain.upcasting import Catalogue
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.mapper import EventMapper
from tests.ledger.conftest import open_store
from tests.samples import NOW

STREAM = UUID(int=7)


class PostedV1(Event):
    """As it was first stored."""

    TYPE = "letter.posted"
    stamps: int


class PostedV3(Event):
    """As it is today: two changes later."""

    TYPE = "letter.posted"
    VERSION = 3
    postage_in_cents: int
    carrier: str


def priced(state: dict[str, Any]) -> dict[str, Any]:
    stamps = state.pop("stamps")
    return {**state, "postage": stamps * 85}


def carried(state: dict[str, Any]) -> dict[str, Any]:
    postage = state.pop("postage")
    return {**state, "postage_in_cents": postage, "carrier": "snail"}


YESTERDAY = EventMapper(Catalogue([PostedV1], {}))
TODAY = EventMapper(Catalogue([PostedV3], {("letter.posted", 1): priced, ("letter.posted", 2): carried}))


def fields(version: int) -> dict[str, Any]:
    bookkeeping = {"originator_id": STREAM, "originator_version": version, "event_id": UUID(int=version)}
    return {**bookkeeping, "occurred_at": NOW, "tenant": "t", "actor": "a", "correlation_id": STREAM}


def test_events_of_an_old_version_on_disk_are_read_as_todays(database_url: str) -> None:
    async def scenario() -> None:
        old = EventLedger(open_store(database_url), Signal(), YESTERDAY)
        await old.append([PostedV1(**fields(1), stamps=2)])
        await old.close()
        ledger = EventLedger(open_store(database_url), Signal(), TODAY)
        today = PostedV3(**fields(2), postage_in_cents=95, carrier="owl")
        await ledger.append([today])
        expected = [PostedV3(**fields(1), postage_in_cents=170, carrier="snail"), today]
        for history in (await ledger.load(STREAM), await ledger.read(0, 10)):
            assert [recorded.event for recorded in history] == expected
            assert [recorded.topic for recorded in history] == ["letter.posted.v1", "letter.posted.v3"]
        await ledger.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("letter.burned.v1", b'{"stamps": "ada@example.com"}'),
        ("letter.posted.v4", b'{"stamps": "ada@example.com"}'),
        ("letter.posted.v0", b'{"stamps": "ada@example.com"}'),
        ("letter.posted", b'{"stamps": "ada@example.com"}'),
        ("letter.posted.vx", b"{}"),
        ("letter.posted.v1", b'{"stamps": "ada@example.com"}'),
        ("letter.posted.v3", b'{"carrier": "ada@example.com"}'),
        ("letter.posted.v1", b"ada@example.com"),
        ("letter.posted.v1", b'["ada@example.com"]'),
        ("letter.posted.v1", b'"ada@example.com"'),
        ("letter.posted.v1", b"null"),
        ("letter.posted.v1", b'"\xff'),
        ("letter.posted.v1", b'{"postage": "ada@example.com"}'),
        ("", b""),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place_and_never_by_its_data(topic: str, state: bytes) -> None:
    with pytest.raises(UnreadableEvent) as caught:
        TODAY.to_domain_event(StoredEvent(originator_id=STREAM, originator_version=3, topic=topic, state=state))
    assert f"{STREAM} version 3" in str(caught.value)
    assert "ada@example.com" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
