"""The store goes away, fills up, restarts, or its answer gets lost: what was said is true all the same."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from application.errors import StoreUnavailable
from domain.email import Email
from infrastructure.ledger.ledger import EventLedger
from tests.ledger.conftest import open_ledger
from tests.ledger.meddler import Loses, Meddler
from tests.postgres import PostgresServer
from tests.samples import content, queued, stored_content

MANY_TIMES = 100


async def accept(ledger: EventLedger, email: Email) -> int:
    return await ledger.append(email.collect_events(), [stored_content(email)])


async def answer(ledger: EventLedger, email: Email) -> int | StoreUnavailable:
    try:
        return await accept(ledger, email)
    except StoreUnavailable as error:
        return error


async def is_whole(ledger: EventLedger, email_id: UUID) -> bool:
    """Whether the email is there exactly once with its content. Fails when there is one without the other."""
    history, body = await ledger.load(email_id), await ledger.load_content(email_id)
    assert (len(history), body) in ((0, None), (1, content()))
    return bool(history)


@pytest.mark.parametrize("loses", ["answer", "question"])
def test_a_lost_commit_is_found_out_about(postgres_url: str, loses: Loses) -> None:
    async def scenario() -> None:
        meddler = Meddler(postgres_url, loses)
        async with meddler.url() as url:
            ledger = open_ledger(url)
            await accept(ledger, queued())
            meddler.times = 1
            emails = [queued() for _ in range(10)]
            positions = await asyncio.gather(*(accept(ledger, email) for email in emails))
            assert meddler.times == 0
            for email, position in zip(emails, positions, strict=True):
                assert [recorded.position for recorded in await ledger.load(email.id)] == [position]
                assert await is_whole(ledger, email.id)
            assert len(await ledger.read(0, 100)) == 11
            await ledger.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("loses", ["answer", "question"])
def test_a_commit_lost_again_and_again_is_unknown_and_a_repeat_tells_the_truth(postgres_url: str, loses: Loses) -> None:
    async def scenario() -> None:
        meddler = Meddler(postgres_url, loses)
        async with meddler.url() as url:
            ledger = open_ledger(url)
            await accept(ledger, queued())
            meddler.times = MANY_TIMES
            email = queued()
            events = email.collect_events()
            with pytest.raises(StoreUnavailable, match="not known"):
                await ledger.append(events, [stored_content(email)])
            meddler.times = 0
            assert await is_whole(ledger, email.id) is (loses == "answer")
            position = await ledger.append(events, [stored_content(email)])
            assert [recorded.position for recorded in await ledger.load(email.id)] == [position]
            await ledger.close()

    asyncio.run(scenario())


def test_killed_connections_lose_nothing_that_was_acknowledged(postgres_url: str) -> None:
    async def scenario() -> None:
        ledger = open_ledger(postgres_url)
        results: dict[UUID, int | StoreUnavailable] = {}
        await asyncio.gather(kill(results), *(write(ledger, results) for _ in range(16)))
        for email_id, result in results.items():
            positions = [recorded.position for recorded in await ledger.load(email_id)]
            assert await is_whole(ledger, email_id) is bool(positions)
            assert positions == [result] or isinstance(result, StoreUnavailable)
        await accept(ledger, queued())
        await ledger.close()

    async def write(ledger: EventLedger, results: dict[UUID, int | StoreUnavailable]) -> None:
        for _ in range(40):
            email = queued()
            results[email.id] = await answer(ledger, email)

    async def kill(results: dict[UUID, int | StoreUnavailable]) -> None:
        for count in range(30, 270, 30):
            while len(results) < count:
                await asyncio.sleep(0)
            await asyncio.to_thread(terminate_all, postgres_url)

    asyncio.run(scenario())


def terminate_all(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class Restartable(PostgresServer):
    """A server of our own, to be stopped and started."""

    def halt(self) -> None:
        self._server.stop()

    def resume(self) -> None:
        self._server.ensure_postgres_running()


@pytest.fixture
def restartable() -> Iterator[Restartable]:
    server = Restartable()
    yield server
    server.stop()


def test_a_database_that_is_away_is_said_to_be_and_is_used_as_soon_as_it_is_back(restartable: Restartable) -> None:
    url = restartable.fresh_database()

    async def scenario() -> None:
        restartable.halt()
        ledger = open_ledger(url)
        with pytest.raises(StoreUnavailable):
            await accept(ledger, queued())
        with pytest.raises(StoreUnavailable):
            await ledger.load(UUID(int=1))
        restartable.resume()
        first = queued()
        await accept(ledger, first)
        restartable.halt()
        missed = queued()
        with pytest.raises(StoreUnavailable):
            await accept(ledger, missed)
        with pytest.raises(StoreUnavailable):
            await ledger.read(0, 10)
        restartable.resume()
        assert await is_whole(ledger, first.id)
        assert not await is_whole(ledger, missed.id)
        await accept(ledger, queued())
        restartable.halt()
        restartable.resume()  # between two appends, so that every pooled connection is dead
        await asyncio.gather(*(accept(ledger, queued()) for _ in range(20)))
        await ledger.close()

    asyncio.run(scenario())


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What the operating system does when a disk is full, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_whole_appends_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
        await accept(ledger, queued())
        emails = [queued() for _ in range(400)]
        with no_file_larger_than(256 * 1024):
            results = [await answer(ledger, email) for email in emails]
        assert StoreUnavailable in {type(result) for result in results}
        for email, result in zip(emails, results, strict=True):
            assert await is_whole(ledger, email.id) is isinstance(result, int)
        again = queued()
        position = await accept(ledger, again)
        assert position == await ledger.position()
        assert await is_whole(ledger, again.id)
        await ledger.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("acknowledgements", [1, 57, 400])
def test_kill_nine_loses_nothing_that_was_acknowledged(database_url: str, acknowledgements: int) -> None:
    command = [sys.executable, "-m", "tests.ledger.acknowledging", database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = list(islice(process.stdout, acknowledgements))
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = {UUID(line.strip()) for line in lines if line.endswith("\n")}

    async def scenario() -> None:
        ledger = open_ledger(database_url)
        there = await ledger.read(0, 100_000)
        assert acknowledged <= {recorded.event.originator_id for recorded in there}
        for recorded in there:
            assert await is_whole(ledger, recorded.event.originator_id)
        await accept(ledger, queued())
        await ledger.close()

    assert len(acknowledged) >= acknowledgements
    asyncio.run(scenario())
