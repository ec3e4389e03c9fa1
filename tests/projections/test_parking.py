"""A stream that a read model cannot fold is parked, all others move on, and it is followed again once it can be."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection

from application.ports import WHOLE, Part, Recorded, Unreadable
from domain.errors import UnreadableEvent
from infrastructure.database import parked
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.unparking import Unparking
from projections import activity, emails
from projections.projection import Events, Projection, Tables
from tests.fakes import MemoryLedger
from tests.projections.reading import ALL
from tests.projections.test_runner import LOG, clock, expected, filled, folded, on
from tests.samples import queued, stamp

STREAMS = sorted({event.originator_id for event in LOG}, key=str)


class Poisoned:
    """A read model whose fold fails on some events, until it is mended."""

    def __init__(self, projection: Projection, poison: set[UUID]) -> None:
        self.poison = poison
        self.original = projection
        self.projection = replace(projection, fold=self.fold)

    def fold(self, connection: Connection, tables: Tables, events: Events) -> None:
        self.original.fold(connection, tables, events)
        if any(each.event.event_id in self.poison for each in events):
            raise ValueError("ada@example.com broke it")


def poisoned(chance: Random, streams: int) -> tuple[list[Poisoned], set[UUID]]:
    """Each read model fails at one event each of some streams."""
    chosen = set(chance.sample(STREAMS, streams))
    found = []
    for projection in ALL:
        events = {id: [e.event_id for e in LOG if e.originator_id == id] for id in chosen}
        found.append(Poisoned(projection, {chance.choice(ids) for ids in events.values()}))
    return found, chosen


async def everything_parked(database: Database) -> list[parked.Parked]:
    return await database.ask(parked.everything)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_parked_is_folded_in_order_once_it_can_be(database_url: str, seed: int) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        chance, truth = Random(seed), expected(database)
        models, chosen = poisoned(chance, 5)
        ledger = await filled()
        runner = ProjectionRunner(ledger, database, [m.projection for m in models], wakeups, clock, page=60)
        await runner.prepare()
        await runner.catch_up()
        held = await everything_parked(database)
        assert {each.stream_id for each in held} <= chosen
        assert held
        assert {p.position for p in await runner.positions()} == {len(LOG)}
        assert sum(p.parked for p in await runner.positions()) == len(held)
        assert folded(database) != truth
        unparking = Unparking(ledger, database, clock)
        assert {await unparking.retry(_model(models, each), each) for each in held} == {"ValueError"}
        assert {(p.name, p.stream_id) for p in await everything_parked(database)} == {
            (p.name, p.stream_id) for p in held
        }
        for model in models:
            model.poison.clear()
        assert {await unparking.retry(_model(models, each), each) for each in held} == {None}
        assert await everything_parked(database) == []
        assert folded(database) == truth

    on(database_url, scenario)


def _model(models: Sequence[Poisoned], each: parked.Parked) -> Projection:
    return next(model.projection for model in models if model.projection.name == each.name)


def test_it_is_followed_again_while_a_runner_goes_on(database_url: str) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        truth, ledger = expected(database), MemoryLedger()
        models, _ = poisoned(Random(9), 4)
        runner = ProjectionRunner(ledger, database, [m.projection for m in models], wakeups, clock, page=9)
        await runner.prepare()

        async def write() -> None:
            for number, event in enumerate(LOG, 1):
                await ledger.append([event])
                if number % 30 == 0 or number == len(LOG):
                    await runner.catch_up()

        writing, unparking = asyncio.create_task(write()), Unparking(ledger, database, clock)
        while not writing.done():
            held = await everything_parked(database)
            await asyncio.gather(*(unparking.retry(_model(models, each), each) for each in held))
            await asyncio.sleep(0)
        await writing
        for model in models:
            model.poison.clear()
        for each in await everything_parked(database):
            assert await unparking.retry(_model(models, each), each) is None
        assert folded(database) == truth

    on(database_url, scenario)


class Illegible(MemoryLedger):
    """Some of its events cannot be read by this version of the code."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[int] = set()

    async def scan(self, after: int, limit: int, part: Part = WHOLE) -> list[Recorded | Unreadable]:
        return [self._named(each) for each in await super().scan(after, limit, part)]

    async def load(self, stream_id: UUID) -> list[Recorded]:
        history = await super().load(stream_id)
        if any(each.position in self.bad for each in history):
            raise UnreadableEvent(f"Stream {stream_id} version 2: No class or upcaster reads it.")
        return history

    def _named(self, each: Recorded | Unreadable) -> Recorded | Unreadable:
        if each.position not in self.bad or isinstance(each, Unreadable):
            return each
        event = each.event
        return Unreadable(each.position, "email.lost.v1", event.originator_id, event.originator_version, "No class.")


def test_what_the_code_cannot_read_parks_its_stream_in_every_read_model(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(database: Database, wakeups: Wakeups) -> None:
        ledger = Illegible()
        unparking = Unparking(ledger, database, clock)
        first, second = queued(tenant="acme"), queued(tenant="acme")
        first.cancel(stamp())
        await ledger.append(first.collect_events())
        await ledger.append(second.collect_events())
        ledger.bad = {2}
        models = (emails.PROJECTION, activity.PROJECTION)
        runner = ProjectionRunner(ledger, database, models, wakeups, clock)
        await runner.prepare()
        await runner.catch_up()
        held = await everything_parked(database)
        assert [(p.name, p.stream_id, p.position, p.topic, p.error) for p in held] == [
            (name, first.id, 2, "email.lost.v1", "No class.") for name in ("activity", "emails")
        ]
        assert [await unparking.retry(model, each) for model, each in zip(reversed(models), held, strict=True)] == [
            f"Stream {first.id} version 2: No class or upcaster reads it."
        ] * 2
        ledger.bad = set()
        assert [await unparking.retry(model, each) for model, each in zip(reversed(models), held, strict=True)] == [
            None
        ] * 2
        assert await everything_parked(database) == []

    with caplog.at_level(logging.ERROR):
        on(database_url, scenario)
    said = [record.getMessage() for record in caplog.records if "is parked from" in record.getMessage()]
    assert len(said) == 1
    assert "by activity, emails: No class." in said[0]


def test_a_store_that_goes_away_in_the_middle_parks_nothing(postgres_url: str) -> None:
    """A lost connection is nobody's poison."""

    async def scenario(database: Database, wakeups: Wakeups) -> None:
        cut = True

        def fold(connection: Connection, tables: Tables, events: Events) -> None:
            nonlocal cut
            if cut:
                cut = False
                raw = connection.connection.driver_connection
                assert isinstance(raw, psycopg.Connection)
                raw.close()
            emails.fold(connection, tables, events)

        ledger = MemoryLedger()
        await ledger.append(queued().collect_events())
        runner = ProjectionRunner(ledger, database, [replace(emails.PROJECTION, fold=fold)], wakeups, clock)
        await runner.prepare()
        with suppress(Exception):
            await runner.catch_up()
        await runner.catch_up()
        assert await everything_parked(database) == []
        assert [p.position for p in await runner.positions()] == [1]

    on(postgres_url, scenario)
