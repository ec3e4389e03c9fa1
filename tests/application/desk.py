"""The two handlers over a real SQLite ledger and real blobs on disk, with a clock to set."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from application.change_email import ChangeEmailHandler
from application.commands import Caller, SendEmail
from application.policies import Policies
from application.send_email import SendEmailHandler
from domain.delivery import DeliveryPolicy
from domain.events import EmailQueued, Event
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.ledger.ledger import EventLedger
from tests.fakes import FakeSuppressions
from tests.ledger.conftest import open_ledger
from tests.samples import NOW

ACME = Caller(tenant="acme", actor="api:test", correlation_id=UUID(int=1))
GLOBEX = Caller(tenant="globex", actor="api:test", correlation_id=UUID(int=2))


class Desk:
    """Takes commands as the API would, at the time that `now` says."""

    def __init__(self, ledger: EventLedger, blobs: FilesystemBlobs) -> None:
        self.now: datetime = NOW
        self.ledger = ledger
        self.blobs = blobs
        self.suppressions = FakeSuppressions()
        self.send = SendEmailHandler(ledger, blobs, self.suppressions, lambda: self.now, Policies(DeliveryPolicy()))
        self.change = ChangeEmailHandler(ledger, lambda: self.now)

    async def history(self, email_id: UUID) -> list[Event]:
        return [recorded.event for recorded in await self.ledger.load(email_id)]

    async def queued(self, email_id: UUID) -> EmailQueued:
        first = (await self.history(email_id))[0]
        assert isinstance(first, EmailQueued)
        return first

    async def emails(self) -> int:
        return len(await self.ledger.read(0, 1000, ["email.queued"]))


def at_the_desk(directory: Path, scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario against fresh stores in a directory."""

    async def run() -> None:
        ledger = open_ledger(f"sqlite:///{directory}/ledger.db")
        try:
            await scenario(Desk(ledger, FilesystemBlobs(directory / "blobs")))
        finally:
            await ledger.close()

    asyncio.run(run())


def command(**fields: Any) -> SendEmail:
    """A SendEmail as JSON would bring it."""
    plain = {"from": "Shop <shop@example.org>", "to": ["ada@example.com"], "subject": "Hello", "text": "Hello"}
    return SendEmail.model_validate({**plain, **fields})
