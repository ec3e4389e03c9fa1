"""Keeps the chain up with the log, and makes checkpoints of it now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from application.errors import StoreUnavailable
from application.ports import Clock, Ledger
from application.surprises import log_surprise
from application.waiting import first
from infrastructure.audit import blocks, checkpoints
from infrastructure.audit.blocks import Block
from infrastructure.audit.checkpoints import Kept
from infrastructure.audit.signing import Signer
from infrastructure.database.engines import Database

_IDLE = 1.0  # seconds between looks when nothing wakes us, and how often others try to lead
_GATHER = 1.0  # seconds for events to gather, so that blocks of a quiet log are not of one event each
_YIELD = 0.02  # seconds for everything else in this process, when there is much to catch up with
_TROUBLE = 5.0  # seconds

_log = logging.getLogger(__name__)


class ChainKeeper:
    """Adds block after block. Any number may: who is first has added it, and all would add the same hashes."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        clock: Clock,
        signer: Signer | None = None,
        every: timedelta | None = None,
    ) -> None:
        """With a key, `run` makes a checkpoint as often as `every`."""
        self._ledger = ledger
        self._database = database
        self._clock = clock
        self._signer = signer
        self._every = every if signer else None
        self._due_at: datetime | None = None  # when to look whether a checkpoint is due

    async def prepare(self) -> None:
        """Create what is missing, the log included. Any number of processes may do so at once."""
        await self._ledger.position()
        await self._database.tell(_create, self._clock())

    async def run(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        """Keep up until `stop` is set, while `leads` says that it is on this process."""
        while not stop.is_set():
            try:
                pause = await self._round(stop) if await leads() else _IDLE
            except StoreUnavailable:
                pause = _IDLE
            except Exception as error:  # noqa: BLE001 - the loop of a worker; what is not chained is chained later
                log_surprise(_log, "chaining events", error)
                pause = _TROUBLE
            await first(asyncio.sleep(pause), stop.wait())

    async def step(self, most: int = blocks.MOST) -> Block | None:
        """Add the next block, if there are events for one. None: there are none, or somebody else was faster."""
        block = await self._database.ask(blocks.following, most)
        if block is not None and await self._database.tell(blocks.append, block, self._clock()):
            return block
        return None

    async def catch_up(self, report: Callable[[int, int], None] = lambda done, total: None) -> Block:
        """Chain all there is now; where the chain stands then. `report` gets (position, position to reach)."""
        head = await self._ledger.position()
        while (reached := await self._database.ask(blocks.newest)).last < head:
            before = reached.number
            await self.step()
            reached = await self._database.ask(blocks.newest)
            report(reached.last, head)
            if reached.number == before:
                break  # what the head was is gone
        return reached

    async def checkpoint(self) -> Kept:
        """Chain all there is now, and make a checkpoint of it; signed if there is a key."""
        await self.catch_up()
        return await self._database.tell(checkpoints.make, self._signer, self._clock())

    async def _round(self, stop: asyncio.Event) -> float:
        """One block, and a checkpoint if one is due. How long to wait before the next."""
        block = await self.step()
        await self._checkpoint_if_due()
        if block is not None:
            return _YIELD if block.count == blocks.MOST else _GATHER
        reached = await self._database.ask(blocks.newest)
        await first(self._ledger.wait(reached.last, _IDLE), stop.wait())
        return 0.0

    async def _checkpoint_if_due(self) -> None:
        now = self._clock()
        if self._every is None or (self._due_at is not None and now < self._due_at):
            return
        last = await self._database.ask(checkpoints.latest)
        if last is None or last.made_at + self._every <= now:
            reached = await self._database.ask(blocks.newest)
            if last is None or last.position < reached.last:
                last = await self._database.tell(checkpoints.make, self._signer, now)
        self._due_at = max(last.made_at + self._every, now + timedelta(seconds=_IDLE))


def _create(connection: Connection, now: datetime) -> None:
    blocks.create(connection, now)
    checkpoints.create(connection)
