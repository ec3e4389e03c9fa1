"""One run: a whole Postledger of several processes under load, things that go wrong, and the account at the end."""

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from application.ports import Recorded
from domain.events import EmailQueued, Event
from domain.standing import Standing
from infrastructure.database.engines import Database
from infrastructure.ledger.ledger import EventLedger
from projections import email_list
from tests.chaos.account import ENDS, Account, account
from tests.chaos.script import LEASE, Act, Weights, script
from tests.chaos.sinks import Mood, Sinks
from tests.crash.load import Client
from tests.crash.processes import Process
from tests.ledger.conftest import open_ledger
from tests.postgres import PostgresServer
from tests.service import free_port

KEY = "chaos-key"
CLIENTS = 3
_GOOD = (0, -signal.SIGTERM)  # who was killed at the end may not be back so far that it can stop in order
GIVE_UP = 120.0  # seconds until every email must have reached an end


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do to it."""

    seed: int
    seconds: float
    workers: int = 3
    restarts: int = 0  # of PostgreSQL
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True, slots=True)
class Outcome:
    account: Account
    done: Counter[str]  # what was done to it, by kind
    drained: int  # seconds that it took until every email had ended, once nothing went wrong any more

    @property
    def well(self) -> bool:
        return not (self.account.wrong or self.account.unexplained or self.account.lost)

    def rows(self) -> Iterator[tuple[str, int]]:
        yield from self.account.rows()
        yield "kills", self.done["kill"]
        yield "stops (SIGSTOP)", self.done["pause"]
        yield "restarts of PostgreSQL", self.done["crash"]
        yield "seconds until all had ended", self.drained


def run(wanted: Wanted, server: PostgresServer, home: Path) -> Outcome:
    """Returns when everything has healed and every email ended, or there is no hope of that."""
    url = server.fresh_database()
    with Sinks(wanted.seed) as sinks, _processes(url, sinks.providers, wanted.workers, home) as (processes, port):
        scene = _Scene(server, sinks, processes)
        clients = [Client(port, KEY, f"c{n}", pause=0.03, patience=5, several=True) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        _wait(lambda: all(client.accepted for client in clients), "the service did not start")
        scene.play(script(wanted.seed, wanted.seconds, wanted.workers, wanted.restarts, wanted.weights))
        scene.heal()
        healed = time.monotonic()
        for client in clients:
            client.stop()
        ids = {id for client in clients for id in client.accepted.values()}
        histories = asyncio.run(_when_all_ended(url, len(ids)))
        drained = round(time.monotonic() - healed)
        made = account(ids, histories, sinks.taken())
        made.wrong += _read_model(histories, url)
        for process in processes.values():
            process.ask_to_stop()
        ends = {name: process.ended() for name, process in processes.items()}
        made.wrong += [f"{name} ended with {code}" for name, code in ends.items() if code not in _GOOD]
    return Outcome(made, scene.done, drained)


@contextmanager
def _processes(url: str, providers: str, workers: int, home: Path) -> Iterator[tuple[dict[str, Process], int]]:
    settings = {
        "POSTLEDGER_DATABASE_URL": url,
        "POSTLEDGER_BLOB_URL": f"file:{home}/blobs",
        "POSTLEDGER_API_KEY": KEY,
        "POSTLEDGER_PROVIDERS": providers,
        "POSTLEDGER_LEASE": f"PT{LEASE}S",
        "POSTLEDGER_SETTLE_AFTER": "PT1S",
        "POSTLEDGER_FIRST_RETRY": "PT0.2S",
        "POSTLEDGER_LONGEST_RETRY": "PT1S",
        "POSTLEDGER_MAX_ATTEMPTS": "100",
        "POSTLEDGER_POLL": "PT0.2S",
        "POSTLEDGER_BREAKER_OPEN": "PT0.5S",
        "POSTLEDGER_BREAKER_LONGEST": "PT2S",
        "POSTLEDGER_HEALTH_INTERVAL": "PT0.5S",
        "POSTLEDGER_LOG_LEVEL": "warning",
    }
    port = free_port()
    processes = {f"worker{number}": Process("worker", 0, settings, home / "log") for number in range(workers)}
    processes["api"] = Process("api", port, settings, home / "log")
    for process in processes.values():
        process.start()
    try:
        yield processes, port
    finally:
        for process in processes.values():
            process.end()


class _Scene:
    """Does what the script says."""

    def __init__(self, server: PostgresServer, sinks: Sinks, processes: dict[str, Process]) -> None:
        self.done: Counter[str] = Counter()
        self._server = server
        self._sinks = sinks
        self._processes = processes
        self._down = False

    def play(self, acts: Sequence[Act]) -> None:
        begun = time.monotonic()
        for act in acts:
            time.sleep(max(0.0, begun + act.at - time.monotonic()))
            self._act(act)

    def heal(self) -> None:
        if self._down:
            self._server.resume()
        for process in self._processes.values():
            process.go_on()
        for name in ("main", "backup"):
            self._sinks.be(name, Mood.WELL)

    def _act(self, act: Act) -> None:
        self.done[act.what] += 1
        match act.what:
            case "kill":
                self._processes[act.whom].kill()
            case "pause":
                self._processes[act.whom].pause()
            case "go_on":
                self._processes[act.whom].go_on()
            case "mood":
                self._sinks.be(act.whom, act.mood)
            case "crash":
                self._server.crash()
                self._down = True
            case "resume":
                self._server.resume()
                self._down = False


async def _when_all_ended(url: str, count: int) -> list[list[Event]]:
    """Every email's history; when the time is up as it is by then."""
    ledger = open_ledger(url)
    try:
        end = time.monotonic() + GIVE_UP
        while True:
            streams = await _streams(ledger)
            ended = all(Standing.of(history).status in ENDS for history in streams)
            if (len(streams) >= count and ended) or time.monotonic() > end:
                return streams
            await asyncio.sleep(0.5)
    finally:
        await ledger.close()


async def _streams(ledger: EventLedger) -> list[list[Event]]:
    streams: defaultdict[UUID, list[Event]] = defaultdict(list)
    page: list[Recorded] = []
    while page := await ledger.read(page[-1].position if page else 0, 5000):
        for recorded in page:
            streams[recorded.event.originator_id].append(recorded.event)
    return [history for history in streams.values() if isinstance(history[0], EmailQueued)]


def _read_model(histories: Sequence[Sequence[Event]], url: str) -> Iterator[str]:
    """The list of emails says the same as the log, as soon as somebody has folded it."""
    expected: Counter[str] = Counter(Standing.of(history).status for history in histories)
    database = Database.open(url)

    def counts() -> Counter[str]:
        with database.read() as connection:
            return Counter(email_list.counts_by_status(connection, "default"))

    try:
        _wait(lambda: counts() == expected, "the read model is not what the log is")
    except TimeoutError as error:
        yield str(error)
    finally:
        database.close()


def _wait(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + GIVE_UP / 2
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.1)
