"""A worker that leads, has claimed an email and begun another, is killed: somebody else sees to all of it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from application.ports import Wanted
from domain import events as e
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from infrastructure.settings import Settings
from tests.crash.processes import Process
from tests.ledger.conftest import open_ledger
from tests.samples import queued, stored_content
from tests.smtp_server import SILENCE, SmtpSink

GIVE_UP = 60.0  # seconds
LEASE: timedelta = Settings.model_fields["lease"].default


class World:
    """A database, a relay that does not answer for its first message, and workers in processes of their own."""

    def __init__(self, url: str, relay: str, home: Path) -> None:
        self.ledger = open_ledger(url)
        self.log = home / "log"
        self._database = Database.open(url)
        self._queue = SqlDispatchQueue(self._database, Wakeups(url))
        self._settings = {
            "POSTLEDGER_DATABASE_URL": url,
            "POSTLEDGER_BLOB_URL": f"file:{home}/blobs",
            "POSTLEDGER_API_KEY": "key",
            "POSTLEDGER_PROVIDERS": f"relay={relay}?starttls=off",
            "POSTLEDGER_WORKER_CONCURRENCY": "1",
            "POSTLEDGER_LOG_LEVEL": "warning",
        }

    async def worker(self) -> Process:
        """Up and running."""
        process = Process("worker", 0, self._settings, self.log)
        before = self._announced()
        process.start()
        await until(lambda: self._announced() > before)
        return process

    async def accept(self) -> UUID:
        email = queued(now=datetime.now(UTC))
        await self.ledger.append(email.collect_events(), [stored_content(email)])
        return email.id

    async def claim(self, worker: str) -> UUID:
        """One email for this worker, that does nothing with it."""
        wanted = Wanted(worker, 1, LEASE, [e.Priority.NORMAL], lambda lane, tenant: 1)
        async with asyncio.timeout(GIVE_UP):
            while not (claims := await self._queue.claim(wanted, datetime.now(UTC))):
                await asyncio.sleep(0.05)
        return claims[0].email_id

    async def keep(self, worker: str, email_id: UUID) -> None:
        await self._queue.extend(worker, [email_id], datetime.now(UTC) + LEASE)

    async def said(self, email_id: UUID, kind: type[e.Event]) -> datetime:
        """When this was said of the email; waits for it."""
        async with asyncio.timeout(GIVE_UP):
            while True:
                for event in await self.history(email_id):
                    if isinstance(event, kind):
                        return event.occurred_at
                await asyncio.sleep(0.05)

    async def history(self, email_id: UUID) -> list[e.Event]:
        return [recorded.event for recorded in await self.ledger.load(email_id)]

    async def close(self) -> None:
        await self.ledger.close()
        self._database.close()

    def _announced(self) -> int:
        return self.log.read_text().count('"role"') if self.log.exists() else 0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVE_UP):
        while not true():
            await asyncio.sleep(0.05)


def test_what_a_killed_worker_led_had_claimed_and_had_begun_is_taken_over(postgres_url: str, tmp_path: Path) -> None:
    with SmtpSink({"TAKEN": [SILENCE]}).in_thread() as relay:
        asyncio.run(_scenario(World(postgres_url, relay.url, tmp_path), relay))


async def _scenario(world: World, relay: SmtpSink) -> None:
    processes: list[Process] = []
    try:
        processes.append(await world.worker())
        begun = await world.accept()
        await until(lambda: len(relay.messages) == 1)  # its answer never comes
        claimed = await world.accept()
        assert await world.claim("dead") == claimed
        processes.append(await world.worker())
        await world.keep("dead", claimed)
        processes[0].end()
        later = await world.accept()
        await asyncio.gather(
            world.said(begun, e.EmailDeliveryUnconfirmed),
            world.said(claimed, e.EmailDispatched),
            world.said(later, e.EmailDispatched),
        )
        kinds = [type(event) for event in await world.history(begun)]
        assert kinds == [e.EmailQueued, e.EmailDeliveryStarted, e.EmailDeliveryUnconfirmed]
        for email_id in (claimed, later):
            kinds = [type(event) for event in await world.history(email_id)]
            assert kinds == [e.EmailQueued, e.EmailDeliveryStarted, e.EmailDispatched]
        assert sorted(relay.copies.values()) == [1, 1, 1]
    finally:
        for process in processes:
            process.end()
        await world.close()
