"""Each event store in turn, behind the same ledger."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.ledger.store import EventStore

Scenario = Callable[[EventLedger], Coroutine[Any, Any, None]]


def open_store(url: str) -> EventStore:
    if url.startswith("sqlite:///"):
        return SqliteEventStore(Path(url.removeprefix("sqlite:///")))
    return PostgresEventStore(url)


def open_ledger(url: str) -> EventLedger:
    return EventLedger(open_store(url), Signal())


@pytest.fixture
def play(database_url: str) -> Callable[[Scenario], None]:
    """Runs a scenario against a fresh ledger, once on each kind of database."""

    def run(scenario: Scenario) -> None:
        async def play_it() -> None:
            ledger = open_ledger(database_url)
            try:
                await scenario(ledger)
            finally:
                await ledger.close()

        asyncio.run(play_it())

    return run
