"""`kill -9` at random moments under load: nothing is lost, and nothing goes out twice without a recorded reason.

On SQLite, where one process does everything; `tests/chaos` does the same, and worse, to several on PostgreSQL.
"""

import asyncio
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from application.ports import Recorded, message_id
from domain.events import EmailDeliveryStarted, EmailDeliveryUnconfirmed, EmailQueued, Event
from domain.standing import Standing
from domain.status import EmailStatus
from infrastructure.database.engines import Database
from infrastructure.ledger.ledger import EventLedger
from projections import email_list
from tests.crash.load import Client
from tests.crash.processes import Process
from tests.crash.sink import CountingSink
from tests.ledger.conftest import open_ledger
from tests.service import free_port

KEY = "crash-key"
KILLS = 20
CLIENTS = 3
GIVE_UP = 120  # seconds until every email must have reached an end
ENDS = frozenset({EmailStatus.DISPATCHED, EmailStatus.DELIVERED})

pytestmark = pytest.mark.parametrize("seed", [20260301])


def test_kills_at_random_moments_lose_nothing(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    with CountingSink(seed) as sink:
        port = free_port()
        processes = [_process(sqlite_url, port, sink.port, tmp_path)]
        clients = [Client(port, KEY, f"client{number}") for number in range(CLIENTS)]
        _storm(processes, clients, random.Random(seed))
        accepted = {id for client in clients for id in client.accepted.values()}
        history = asyncio.run(_when_all_ended(sqlite_url, len(accepted)))
        _check_the_read_model(history, sqlite_url)
        assert [process.stop() for process in processes] == [0] * len(processes), (tmp_path / "log").read_text()[-3000:]
    assert sum(process.kills for process in processes) >= KILLS
    _check_each_answer_is_one_email(history, clients)
    _check_the_sink_against_the_ledger(history, sink.taken)


def _process(url: str, port: int, sink: int, home: Path) -> Process:
    settings = {
        "POSTLEDGER_DATABASE_URL": url,
        "POSTLEDGER_BLOB_URL": f"file:{home}/blobs",
        "POSTLEDGER_API_KEY": KEY,
        "POSTLEDGER_PROVIDERS": f"sink=smtp://127.0.0.1:{sink}?starttls=off",
        "POSTLEDGER_LEASE": "PT2S",
        "POSTLEDGER_SETTLE_AFTER": "PT1S",
        "POSTLEDGER_FIRST_RETRY": "PT0.2S",
        "POSTLEDGER_LONGEST_RETRY": "PT1S",
        "POSTLEDGER_POLL": "PT0.2S",
        "POSTLEDGER_LOG_LEVEL": "warning",
    }
    return Process("all", port, settings, home / "log")


def _storm(processes: Sequence[Process], clients: Sequence[Client], chance: random.Random) -> None:
    """Start everything, then kill one process after another, sometimes before it is up again."""
    for process in processes:
        process.start()
    for client in clients:
        client.start()
    _wait_for_traffic(clients)
    for kill in range(KILLS):
        threading.Event().wait(chance.uniform(0.1, 1.8))
        chance.choice(processes).kill()
        if kill % 5 == 4:
            _wait_for_traffic(clients)
    for client in clients:
        client.stop()


def _wait_for_traffic(clients: Sequence[Client]) -> None:
    """Kills only mean something while work is going on."""
    before = sum(len(client.accepted) for client in clients)
    for _ in range(600):
        if sum(len(client.accepted) for client in clients) > before + 10:
            return
        threading.Event().wait(0.1)
    raise AssertionError("the service did not come back")


async def _when_all_ended(database_url: str, count: int) -> dict[object, list[Event]]:
    ledger = open_ledger(database_url)
    try:
        for _ in range(GIVE_UP * 2):
            streams = await _streams(ledger)
            standings = [Standing.of(history) for history in streams.values()]
            if len(streams) >= count and all(standing.status in ENDS for standing in standings):
                return streams
            await asyncio.sleep(0.5)
        raise AssertionError(f"not every email reached an end: {Counter(s.status for s in standings)}")
    finally:
        await ledger.close()


async def _streams(ledger: EventLedger) -> dict[object, list[Event]]:
    streams: defaultdict[object, list[Event]] = defaultdict(list)
    page: list[Recorded] = []
    while page := await ledger.read(page[-1].position if page else 0, 5000):
        for recorded in page:
            streams[recorded.event.originator_id].append(recorded.event)
    return streams


def _check_each_answer_is_one_email(history: dict[object, list[Event]], clients: Sequence[Client]) -> None:
    ids = [id for client in clients for id in client.accepted.values()]
    assert len(ids) == len(set(ids)) == len(history)
    assert set(ids) == {str(id) for id in history}


def _check_the_sink_against_the_ledger(history: dict[object, list[Event]], taken: Counter[str]) -> None:
    """Everything went out; whatever went out n times has n attempts, all but one of them recorded as in doubt."""
    for events in history.values():
        assert isinstance(events[0], EmailQueued)
        sent = taken.pop(message_id(events[0]))
        attempts = sum(isinstance(event, EmailDeliveryStarted) for event in events)
        doubts = {event.attempt for event in events if isinstance(event, EmailDeliveryUnconfirmed)}
        assert 1 <= sent <= attempts
        assert sent - 1 <= len(doubts)
    assert not taken, "something went out that was never recorded"


def _check_the_read_model(history: dict[object, list[Event]], database_url: str) -> None:
    """The list of emails says the same as the log, as soon as the runner has caught up."""
    expected: Counter[str] = Counter(Standing.of(events).status for events in history.values())
    database = Database.open(database_url)
    try:
        for _ in range(100):
            with database.read() as connection:
                counts = email_list.counts_by_status(connection, "default")
            if counts == expected:
                return
            threading.Event().wait(0.2)
        raise AssertionError(f"the read model says {counts}, the log {expected}")
    finally:
        database.close()
