"""Keeps the read models up with the ledger: pages of events in, rows and positions out, in one transaction."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text

from application.errors import StoreUnavailable
from application.ports import Clock, Ledger, Recorded
from domain.errors import UnreadableEvent
from infrastructure.database.engines import Database
from infrastructure.database.leadership import Leadership
from infrastructure.database.notifications import PROJECTIONS, Wakeups
from infrastructure.database.positions import (
    Overtaken,
    ProjectionPosition,
    advance,
    create,
    positions,
    record_error,
    standings,
)
from infrastructure.rebuild import Progress, Rebuild
from infrastructure.trouble import FIRST_WAIT, LONGEST_WAIT, Trouble
from projections.projection import Projection

_LOCK = 0x706C_7072  # "plpr": who leads
_IDLE = 1.0  # seconds between looks when nothing wakes us: the safety net, and how often others try to lead
_BUSY = 20  # events in a page from which a runner lets more of them gather, for all to share the next transaction
_GATHER = 0.05  # seconds

_log = logging.getLogger(__name__)


class ProjectionRunner:
    """Folds every read model from where it stands. Many may run: one leads; the positions are a fence in any case."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        projections: Sequence[Projection],
        wakeups: Wakeups,
        clock: Clock,
        *,
        page: int = 1000,
        alone: bool = False,
    ) -> None:
        """`alone` leaves out the election of a leader."""
        self._ledger = ledger
        self._database = database
        self._projections = {projection.name: projection for projection in projections}
        self._tables = {projection.name: projection.tables("") for projection in projections}
        self._wakeups = wakeups
        self._clock = clock
        self._page = page
        self._leadership = None if alone else Leadership(database, _LOCK)
        self._remembered: dict[str, int] = {}  # where each stands, as far as we know; the fence knows better
        self._trouble: dict[str, Trouble] = defaultdict(Trouble)

    async def prepare(self) -> None:
        """Create what is missing: tables, and positions at 0. Any number of processes may do so at once."""
        await self._database.tell(create, list(self._projections.values()))

    async def run(self, stop: asyncio.Event) -> None:
        """Keep up until `stop` is set. A store outage is waited out."""
        wait = FIRST_WAIT
        try:
            while not stop.is_set():
                try:
                    await self._round(stop)
                    wait = FIRST_WAIT
                except StoreUnavailable:
                    if wait == FIRST_WAIT:
                        _log.warning("The store is unavailable; the read models stand still.")
                    await _pause(stop, wait)
                    wait = min(wait * 2, LONGEST_WAIT)
                except UnreadableEvent as error:
                    _log.error("The read models stand still until the code can read the log: %s", error)
                    await _pause(stop, LONGEST_WAIT)
        finally:
            if self._leadership:
                await asyncio.to_thread(self._leadership.give_up)

    async def catch_up(self) -> None:
        """Fold all there is now, without leading: for tools and tests."""
        while await self._advance_all():
            pass

    async def wait_for(self, position: int, timeout: float, names: Iterable[str] | None = None) -> bool:
        """Whether the named read models (or all) reached `position` within `timeout` seconds."""
        wanted = set(names) if names is not None else set(self._projections)
        end = time.monotonic() + timeout
        while True:
            seen = self._wakeups.projections.mark()
            known = await self._known()
            if all(known[name] >= position for name in wanted):
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            await self._wakeups.projections.wait_since(seen, min(left, _IDLE))

    async def positions(self) -> list[ProjectionPosition]:
        """Name, version, position, lag and error of each, for operators."""
        head = await self._ledger.position()
        return await self._database.ask(standings, list(self._projections.values()), head)

    async def rebuild(self, names: Iterable[str], progress: Progress) -> int:
        """Build these anew from the whole log and swap them in. Returns their position then. Runners may go on."""
        chosen = [self._projections[name] for name in names]
        return await Rebuild(self._ledger, self._database, chosen, self._wakeups, self._clock).run(progress)

    # -- one round -----------------------------------------------------------------------------------------------

    async def _round(self, stop: asyncio.Event) -> None:
        if self._leadership and not self._leadership.sure and not await asyncio.to_thread(self._leadership.hold):
            await _pause(stop, _IDLE)
        elif moved := await self._advance_all():
            if moved >= _BUSY:
                await _pause(stop, _GATHER)
        else:
            self._remembered = dict(await self._known())
            waiting = asyncio.create_task(self._ledger.wait(max(self._remembered.values(), default=0), _IDLE))
            await _first(waiting, asyncio.create_task(stop.wait()))

    async def _advance_all(self) -> int:
        """One page for each group that stands at the same position. How many events were folded."""
        groups: dict[int, list[Projection]] = defaultdict(list)
        if not self._remembered:
            self._remembered = dict(await self._known())
        for name, position in self._remembered.items():
            if self._trouble[name].over():
                groups[position].append(self._projections[name])
        return sum([await self._advance(group, position) for position, group in groups.items()])

    async def _advance(self, group: Sequence[Projection], position: int) -> int:
        page = await self._ledger.read(position, self._page)
        if not page:
            return 0
        try:
            await self._commit(group, position, page)
        except StoreUnavailable:
            self._remembered = {}
            raise
        except Overtaken:
            self._remembered = {}  # somebody else did the work; go on from there
        except Exception as error:  # noqa: BLE001 (a fold may fail in any way; it is recorded, and holds only itself)
            return await self._isolate(group, position, page, error)
        return len(page)

    async def _isolate(
        self, group: Sequence[Projection], position: int, page: Sequence[Recorded], error: Exception
    ) -> int:
        if len(group) > 1:
            return sum([await self._advance([projection], position) for projection in group])
        (projection,) = group
        what = f"{type(error).__name__} between positions {position + 1} and {page[-1].position}"
        if self._trouble[projection.name].begin(what):
            _log.error("The read model %s is held: %s", projection.name, what)
            await self._database.tell(record_error, projection, what)
        return 0

    async def _commit(self, group: Sequence[Projection], position: int, page: Sequence[Recorded]) -> None:
        await self._database.tell(self._fold, group, position, page)
        for projection in group:
            self._trouble.pop(projection.name, None)
            self._remembered[projection.name] = page[-1].position
        self._wakeups.projections.notify()

    def _fold(
        self, connection: Connection, group: Sequence[Projection], position: int, page: Sequence[Recorded]
    ) -> None:
        now, end = self._clock(), page[-1].position
        for projection in sorted(group, key=lambda p: p.name):  # one order of locking for all runners
            advance(connection, projection, position, end, now)
            projection.fold(connection, self._tables[projection.name], page)
        if self._database.kind == "postgresql":
            connection.execute(text(f"NOTIFY {PROJECTIONS}"))

    async def _known(self) -> Mapping[str, int]:
        return await self._database.ask(positions, list(self._projections.values()))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def _first(*tasks: asyncio.Task[object]) -> None:
    """Wait until one is done; cancel the others. What it raised is raised."""
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
