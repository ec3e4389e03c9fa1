"""History told once more: all of it, in order, to whom it was meant for, and never to a provider."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import grimp
import pytest

from application.ports import Recorded
from infrastructure.database.engines import Database
from infrastructure.outbound import Outbound, Refused
from infrastructure.replay import (
    Broken,
    FileOutlet,
    NotTaken,
    Range,
    UrlOutlet,
    around,
    replay,
    replay_key,
)
from infrastructure.replay_marks import SqlMarks
from infrastructure.web.feed import cloud_event
from tests.fakes import MemoryLedger
from tests.providers.http_stub import Answered, HttpStub
from tests.providers.http_stub import Broken as BrokenAnswer
from tests.samples import NOW, queued
from tests.strategies import history, woven

LOG = woven(Random(3), history(Random(3), emails=20, steps=10))
SENDING = (
    *("infrastructure.providers", "infrastructure.provider_table"),
    *("application.delivery", "application.dispatcher"),
)


def now() -> datetime:
    return datetime.now(UTC)


async def filled() -> MemoryLedger:
    ledger = MemoryLedger()
    for event in LOG:
        await ledger.append([event])
    return ledger


def encode(recorded: Recorded) -> str:
    return cloud_event(recorded).model_dump_json()


def positions(lines: Sequence[str]) -> list[int]:
    return [json.loads(line)["position"] for line in lines]


def nothing(done: int, total: int) -> None:
    pass


async def no_pause(seconds: float) -> None:
    pass


def test_a_file_gets_every_event_once_and_in_order_however_often_it_is_broken_off(tmp_path: Path) -> None:
    class BrokenOff(Exception):
        """The process ends."""

    chance, path = Random(5), tmp_path / "events.ndjson"

    async def scenario() -> None:
        ledger = await filled()
        wanted = Range(0, len(LOG))
        for _ in range(30):
            leave = chance.randrange(1, 4)

            def progress(done: int, total: int) -> None:
                nonlocal leave
                leave -= 1
                if not leave:
                    raise BrokenOff

            with contextlib.suppress(BrokenOff):
                await replay(ledger, wanted, FileOutlet(path, encode), progress, rate=7, pause=no_pause)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) - chance.randrange(0, 40)])  # the last lines did not reach the disk
        await replay(ledger, wanted, FileOutlet(path, encode), nothing)

    asyncio.run(scenario())
    lines = path.read_text().splitlines()
    assert positions(lines) == list(range(1, len(LOG) + 1))
    assert [json.loads(line)["id"] for line in lines] == [str(event.event_id) for event in LOG]
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n")
    with pytest.raises(Broken):
        asyncio.run(FileOutlet(path, encode).reached())
    assert path.read_text() == "remember the milk\n"


def test_long_lines_do_not_matter_to_where_a_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    line = json.dumps({"position": 41, "data": "x" * 200_000})
    path.write_text(f'{{"position": 40}}\n{line}\n{line[:150_000]}')
    assert asyncio.run(FileOutlet(path, encode).reached()) == 41
    assert path.read_text().endswith("}\n")


def test_only_what_was_wanted_is_told(tmp_path: Path) -> None:
    middle = LOG[len(LOG) // 2].occurred_at
    wishes = {
        "types": Range(0, len(LOG), ("email.queued",)),
        "positions": Range(10, 20),
        "times": Range(0, len(LOG), since=middle, until=middle + timedelta(hours=1)),
        "tenant": Range(0, len(LOG), tenant="somebody else"),
    }
    recorded = [Recorded(place, event.topic(), event) for place, event in enumerate(LOG, 1)]
    expected = {
        "types": [r.position for r in recorded if r.topic.startswith("email.queued.")],
        "positions": list(range(11, 21)),
        "times": [r.position for r in recorded if middle <= r.event.occurred_at < middle + timedelta(hours=1)],
        "tenant": [],
    }

    async def scenario() -> None:
        ledger = await filled()
        for name, wanted in wishes.items():
            told = await replay(ledger, wanted, FileOutlet(tmp_path / name, encode), nothing)
            assert positions((tmp_path / name).read_text().splitlines()) == expected[name]
            assert told == len(expected[name])

    asyncio.run(scenario())


def test_a_rate_is_kept() -> None:
    class Nowhere:
        async def reached(self) -> int:
            return 0

        async def put(self, events: Sequence[Recorded]) -> None:
            sizes.append(len(events))

    sizes: list[int] = []
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    async def scenario() -> None:
        await replay(await filled(), Range(0, len(LOG)), Nowhere(), nothing, rate=10, pause=pause)

    asyncio.run(scenario())
    assert max(sizes) == 10
    # Each pause leads to when so many events may have been told; nobody waited for those before it.
    assert max(waited) > (len(LOG) - 1) / 10 - 5


def test_a_url_gets_batches_in_order_tries_again_and_goes_on_after_a_break(database_url: str) -> None:
    async def scenario() -> None:
        database = Database.open(database_url)
        marks, ledger = SqlMarks(database, now), await filled()
        await asyncio.gather(marks.prepare(), marks.prepare())
        async with HttpStub(Answered(204)) as stub:
            stub.answers.extend([Answered(503), BrokenAnswer.RESET_AFTER_REQUEST, Answered(429), Answered(204)])
            stub.answers.extend([Answered(404)])
            url, outbound, wanted = f"http://{stub.host}/in", Outbound(internal=True, timeout=5), Range(0, len(LOG))

            async def run() -> int:
                key = replay_key(url, wanted)
                outlet = UrlOutlet(url, outbound, marks, key, encode, now, b"secret", no_pause)
                return await replay(ledger, wanted, outlet, nothing, rate=20, pause=no_pause)

            with pytest.raises(NotTaken, match="404"):
                await run()
            assert await run() == len(LOG) - 20
            assert await run() == 0  # all is told
            taken = [request for place, request in enumerate(stub.requests) if place not in (0, 1, 2, 4)]
            ids = [event["id"] for request in taken for event in request.json()]
            assert ids == [str(event.event_id) for event in LOG]
            first = {(request.headers["webhook-id"], request.body) for request in stub.requests[:4]}
            assert len(first) == 1  # a receiver can tell that it is the same batch
            assert all(r.headers["content-type"] == "application/cloudevents-batch+json" for r in stub.requests)
            assert all(r.headers["webhook-signature"].startswith("v1,") for r in stub.requests)
            await marks.forget(replay_key(url, wanted))
            assert await run() == len(LOG)
            await outbound.close()
        database.close()

    asyncio.run(scenario())


def test_a_url_that_leads_inside_gets_nothing(sqlite_url: str) -> None:
    async def scenario() -> None:
        database = Database.open(sqlite_url)
        marks = SqlMarks(database, now)
        await marks.prepare()
        outbound = Outbound()
        outlet = UrlOutlet("https://169.254.169.254/in", outbound, marks, "key", encode, now, None, no_pause)
        with pytest.raises(Refused):
            await replay(await filled(), Range(0, len(LOG)), outlet, nothing)
        assert await marks.read("key") == 0
        await outbound.close()
        database.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("hours", [0, 1, 5, 49, 99, 200])
def test_a_time_is_found_without_reading_all(hours: int) -> None:
    class Counting(MemoryLedger):
        reads = 0

        async def read(self, after: int, limit: int, topics: Sequence[str] = ()) -> list[Recorded]:
            self.reads += 1
            return await super().read(after, limit, topics)

    async def scenario() -> None:
        ledger = Counting()
        for hour in range(100):
            await ledger.append(queued(now=NOW + timedelta(hours=hour)).collect_events())
        moment = NOW + timedelta(hours=hours)
        found = await around(ledger, moment)
        before = [r for r in await ledger.read(0, found) if r.position <= found]
        assert all(r.event.occurred_at < moment for r in before)
        assert found >= min(hours, 100) - 2
        assert ledger.reads <= 9

    asyncio.run(scenario())


def test_there_is_no_path_from_a_replay_to_a_provider() -> None:
    graph = grimp.build_graph("domain", "application", "infrastructure", "projections")
    for module in ("infrastructure.replay", "infrastructure.replay_marks"):
        for sending in SENDING:
            targets = {sending, *graph.find_descendants(sending)}
            assert not [target for target in targets if graph.chain_exists(module, target)]
