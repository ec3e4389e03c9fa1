"""Keeps the read models up with the ledger: pages of events in, rows and positions out, in one transaction."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Connection, text

from application.errors import StoreUnavailable
from application.ports import Clock, Log, Recorded
from infrastructure.database.engines import Database
from infrastructure.database.membership import Membership, deal
from infrastructure.database.notifications import PROJECTIONS, Wakeups
from infrastructure.database.parked import Parked
from infrastructure.database.positions import (
    Overtaken,
    ProjectionPosition,
    advance,
    positions,
    record_error,
)
from infrastructure.database.read_models import prepare, standings
from infrastructure.folding import FoldFails, Page, ReadModel, fold
from infrastructure.trouble import FIRST_WAIT, LONGEST_WAIT, Trouble
from projections.projection import Projection

_WORK = "projections"
_IDLE = 1.0  # seconds between looks when nothing wakes us: the safety net, and how often others look for work
_BUSY = 20  # events in a page from which a runner lets more of them gather, for all to share the next transaction
_GATHER = 0.05  # seconds

_log = logging.getLogger(__name__)


class ProjectionRunner:
    """Folds every read model from where it stands. Many may run: they deal the read models out among the first few of
    them, all to the first by default, since each reads and decodes the log itself; the positions are a fence anyway."""

    def __init__(
        self,
        ledger: Log,
        database: Database,
        projections: Sequence[Projection],
        wakeups: Wakeups,
        clock: Clock,
        *,
        page: int = 1000,
        processes: int = 1,
        alone: bool = False,
    ) -> None:
        """`processes` is how many fold at most; with `alone` nobody asks who else is there."""
        self._ledger = ledger
        self._database = database
        self._projections = {projection.name: projection for projection in projections}
        self._models = {projection.name: ReadModel.of(projection) for projection in projections}
        self._wakeups = wakeups
        self._clock = clock
        self._page = page
        self._processes = processes
        self._membership = None if alone else Membership(database, _WORK)
        self._mine = set(self._projections)
        self._remembered: dict[str, int] = {}  # where each stands, as far as we know; the fence knows better
        self._trouble: dict[str, Trouble] = defaultdict(Trouble)

    async def prepare(self) -> None:
        """Create the tables that are missing. Any number of processes may do so at once."""
        head = await self._ledger.position()
        await self._database.tell(prepare, list(self._projections.values()), head, self._clock())

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
        finally:
            if self._membership:
                await asyncio.to_thread(self._membership.leave)

    async def catch_up(self) -> None:
        """Fold all there is now, whoever else does: for tools and tests."""
        while await self._advance_all():
            pass

    async def wait_for(self, position: int, timeout: float, names: Iterable[str] | None = None) -> bool:
        """Whether the named read models (or all) reached `position` within `timeout` seconds."""
        wanted = set(names) if names is not None else set(self._projections)
        end = time.monotonic() + timeout
        while True:
            seen = self._wakeups.projections.mark()
            known = await self._known()
            if all(known.get(name, -1) >= position for name in wanted):
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            await self._wakeups.projections.wait_since(seen, min(left, _IDLE))

    async def positions(self) -> list[ProjectionPosition]:
        """Where each stands, how far it is behind, and why, for operators."""
        head = await self._ledger.position()
        found = await self._database.ask(standings, list(self._projections.values()), head)
        ages = {position: await self._age(position) for position in {each.position for each in found if each.lag}}
        return [replace(each, lag_seconds=ages.get(each.position, 0.0)) for each in found]

    async def _age(self, position: int) -> float:
        """How old, in seconds, the first event after `position` is; what cannot be read has no age."""
        for each in await self._ledger.scan(position, 1):
            if isinstance(each, Recorded):
                return max(0.0, (self._clock() - each.event.occurred_at).total_seconds())
        return 0.0

    # -- one round -----------------------------------------------------------------------------------------------

    async def _round(self, stop: asyncio.Event) -> None:
        if self._membership and not self._membership.sure:
            members = await asyncio.to_thread(self._membership.members)
            self._mine = deal(self._projections, members, self._membership.name, self._processes)
        if not self._mine:
            await _pause(stop, _IDLE)
        elif moved := await self._advance_all():
            if moved >= _BUSY:
                await _pause(stop, _GATHER)
        else:
            self._remembered = dict(await self._known())
            reached = max((self._remembered.get(name, 0) for name in self._mine), default=0)
            waiting = asyncio.create_task(self._ledger.wait(reached, _IDLE))
            await _first(waiting, asyncio.create_task(stop.wait()))

    async def _advance_all(self) -> int:
        """One page for each group that stands at the same position. How many events were folded."""
        groups: dict[int, list[Projection]] = defaultdict(list)
        if not self._remembered:
            self._remembered = dict(await self._known())
        for name, position in self._remembered.items():
            if name in self._mine and self._trouble[name].over():
                groups[position].append(self._projections[name])
        return sum([await self._advance(group, position) for position, group in groups.items()])

    async def _advance(self, group: Sequence[Projection], position: int) -> int:
        page = await self._ledger.scan(position, self._page)
        if not page:
            return 0
        try:
            await self._commit(group, position, page)
        except Exception as error:  # noqa: BLE001 (a fold may fail in any way)
            if not self._missed(error):
                return sum([await self._carefully(projection, position, page) for projection in group])
        return len(page)

    def _missed(self, error: Exception) -> bool:
        """Whether it is the store that is away, which is raised, or somebody else who did the work."""
        if isinstance(error, (StoreUnavailable, Overtaken)):
            self._remembered = {}  # somebody may have moved on; go on from there
        if isinstance(error, StoreUnavailable):
            raise error
        return isinstance(error, Overtaken)

    async def _carefully(self, projection: Projection, position: int, page: Page) -> int:
        """Fold around the streams to blame, and park them. What fails even so holds the read model."""
        try:
            await self._commit([projection], position, page, careful=True)
        except Exception as error:  # noqa: BLE001 (it is recorded, and holds only this read model)
            if not self._missed(error):
                await self._hold(projection, error, f"between positions {position + 1} and {page[-1].position}")
                return 0
        return len(page)

    async def _hold(self, projection: Projection, error: Exception, where: str) -> None:
        what = f"{error if isinstance(error, FoldFails) else type(error).__name__} {where}"
        if self._trouble[projection.name].begin(what):
            _log.error("The read model %s is held: %s", projection.name, what)
            await self._database.tell(record_error, projection, what)

    async def _commit(self, group: Sequence[Projection], position: int, page: Page, *, careful: bool = False) -> None:
        _tell(await self._database.tell(self._fold, group, position, page, careful))
        for projection in group:
            self._trouble.pop(projection.name, None)
            self._remembered[projection.name] = page[-1].position
        self._wakeups.projections.notify()

    def _fold(
        self, connection: Connection, group: Sequence[Projection], position: int, page: Page, careful: bool
    ) -> list[Parked]:
        now, end, parked = self._clock(), page[-1].position, list[Parked]()
        for projection in sorted(group, key=lambda p: p.name):  # one order of locking for all runners
            advance(connection, projection, position, end, now)
            parked += fold(connection, self._models[projection.name], page, now, careful=careful)
        if self._database.kind == "postgresql":
            connection.execute(text(f"NOTIFY {PROJECTIONS}"))
        return parked

    async def _known(self) -> Mapping[str, int]:
        return await self._database.ask(positions, list(self._projections.values()))


def _tell(parked: Sequence[Parked]) -> None:
    """One line for each stream, whichever read models it concerns."""
    streams: defaultdict[tuple[UUID, int, str], list[str]] = defaultdict(list)
    for each in parked:
        streams[each.stream_id, each.position, each.error].append(each.name)
    for (stream_id, position, error), names in streams.items():
        line = "The stream %s is parked from position %d on by %s: %s (`postledger projections parked`)"
        _log.error(line, stream_id, position, ", ".join(names), error)


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
