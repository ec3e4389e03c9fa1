"""Follows the ledger: hands every event of some topics to a handler, in order, at least once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from application.errors import StoreUnavailable
from application.ports import Clock, Ledger, Recorded
from application.surprises import log_surprise
from infrastructure.database import follower_positions as positions
from infrastructure.database.engines import Database
from infrastructure.database.leadership import Leadership
from infrastructure.trouble import FIRST_WAIT, LONGEST_WAIT

_IDLE = 1.0  # seconds between looks when nothing wakes us: the safety net, and how often others try to lead
_GATHER = 0.1  # seconds between pages, for events to gather
_WORTH_STORING = 1000  # positions without an event of ours after which a restart should not have to read them again

_log = logging.getLogger(__name__)

Handler = Callable[[Sequence[Recorded]], Awaitable[None]]


class Follower:
    """Handles pages of events, then stores the position. Whoever dies in between handles the page again.

    Many may run: one leads, and the position is a fence for those who wrongly believe they do.
    """

    def __init__(
        self,
        name: str,
        topics: Sequence[str],
        handle: Handler,
        ledger: Ledger,
        database: Database,
        clock: Clock,
        *,
        key: int,
        page: int = 500,
    ) -> None:
        """`key` is the lock by which the followers of this name elect their leader."""
        self._name = name
        self._topics = topics
        self._handle = handle
        self._ledger = ledger
        self._database = database
        self._clock = clock
        self._leadership = Leadership(database, key)
        self._page = page
        self._stored: int | None = None  # as far as we know; the fence knows better
        self._reached = 0  # everything up to here is handled

    async def prepare(self) -> None:
        """Create what is missing. Any number of processes may do so at once."""
        await self._database.tell(positions.create, self._name)

    async def error(self) -> str | None:
        """What holds it, if anything does: a class and a position, never data."""
        return await self._database.ask(positions.error, self._name)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep up until `stop` is set. A store outage is waited out; a handler that fails is asked again."""
        wait, last = FIRST_WAIT, ""
        try:
            while not stop.is_set():
                try:
                    await self._round(stop)
                    wait, last = FIRST_WAIT, ""
                except Exception as error:  # noqa: BLE001 (a handler may fail in any way; what is left waits with it)
                    last = await self._trouble(error, last)
                    await _pause(stop, wait)
                    wait = min(wait * 2, LONGEST_WAIT)
            await self._remember()
        finally:
            await asyncio.to_thread(self._leadership.give_up)

    async def catch_up(self) -> None:
        """Handle all there is now, without leading: for tools and tests."""
        while await self._advance():
            pass
        await self._store()

    async def _round(self, stop: asyncio.Event) -> None:
        if not self._leadership.sure and not await asyncio.to_thread(self._leadership.hold):
            self._stored = None  # whoever leads moves it
            await _pause(stop, _IDLE)
            return
        handled = await self._advance()
        if handled or self._reached - (self._stored or 0) >= _WORTH_STORING:
            await self._store()
        if not handled:
            await _first(self._ledger.wait(self._reached, _IDLE), stop.wait())
        if handled < self._page:
            await _pause(stop, _GATHER)

    async def _advance(self) -> int:
        """Handle one page. How many events there were in it."""
        if self._stored is None:
            self._stored = self._reached = await self._database.ask(positions.position, self._name)
        head = await self._ledger.position()  # before the page: what that skips up to here is of other topics
        page = await self._ledger.read(self._reached, self._page, self._topics)
        if page:
            await self._handle(page)
        self._reached = page[-1].position if page else max(self._reached, head)
        return len(page)

    async def _store(self) -> None:
        if self._stored in (None, self._reached):
            return
        stored, self._stored = self._stored, None  # until it is known to be done
        if await self._database.tell(positions.advance, self._name, stored, self._reached, self._clock()):
            self._stored = self._reached

    async def _remember(self) -> None:
        """At the end; what cannot be stored now is looked through again."""
        try:
            await self._store()
        except StoreUnavailable:
            _log.info("The follower %s could not store where it stands.", self._name)

    async def _trouble(self, error: Exception, last: str) -> str:
        """Tell each kind of trouble once. Returns its kind."""
        kind = type(error).__name__
        self._stored = None  # begin again from what is stored
        if kind == last:
            return kind
        if isinstance(error, StoreUnavailable):
            _log.warning("The store is unavailable; the follower %s stands still.", self._name)
            return kind
        log_surprise(_log, f"the follower {self._name} handling what comes after position {self._reached}", error)
        await self._note(f"{kind} after position {self._reached}")
        return kind

    async def _note(self, what: str) -> None:
        try:
            await self._database.tell(positions.record_error, self._name, what)
        except StoreUnavailable:
            _log.warning("The store is unavailable; the follower %s stands still.", self._name)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Until one of them is over; the others are given up. What it raised is raised."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
