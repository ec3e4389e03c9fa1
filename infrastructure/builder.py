"""Builds read models from the log beside the live ones, and swaps them in. May be stopped anywhere, and resumed."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from secrets import token_hex

from sqlalchemy import Connection, text

from application.errors import ApplicationError, StoreUnavailable
from application.ports import Clock, Log
from application.ports import Part as Share
from application.surprises import log_surprise
from infrastructure.database import builds, parked, positions
from infrastructure.database.builds import INDEX, READY, REPLAY, Part, Previous
from infrastructure.database.engines import Database
from infrastructure.database.exchange import exchange
from infrastructure.database.notifications import PROJECTIONS, Wakeups
from infrastructure.database.positions import Overtaken
from infrastructure.folding import Page, ReadModel, fold
from projections.projection import Projection

Progress = Callable[[int, int], None]  # (events folded, events to fold)
Check = Callable[[Projection, str], Awaitable[str | None]]  # (of a build, its suffix) -> what is wrong with it, or None
_PAGE = 5000
_LOOK = 2.0  # seconds between looks for something to build

_log = logging.getLogger(__name__)


class BuildFailed(ApplicationError):
    """What was built must not be swapped in."""

    code = "build_failed"


class Builder:
    """Any number of processes may work at the same builds: whoever comes second to a step does the next one."""

    def __init__(
        self,
        ledger: Log,
        database: Database,
        projections: Sequence[Projection],
        wakeups: Wakeups,
        clock: Clock,
        *,
        page: int = _PAGE,
        check: Check | None = None,
    ) -> None:
        self._ledger = ledger
        self._database = database
        self._projections = {projection.name: projection for projection in projections}
        self._wakeups = wakeups
        self._clock = clock
        self._page = page
        self._check = check
        self._models: dict[tuple[str, str, int, int], ReadModel] = {}

    async def begin(self, names: Iterable[str], parts: int = 1) -> list[str]:
        """Prepare a build of each, all or nothing; or, when some of them are under way, go on with those.

        Returns which are under way then.
        """
        chosen = [self._projections[name] for name in names]
        return await self._database.tell(_begin, chosen, parts, self._clock())

    async def rebuild(self, names: Iterable[str], progress: Progress, parts: int = 1) -> int:
        """Begin, or go on with, builds of these; fold, and swap each in. Returns the position of the last one then."""
        chosen = await self.begin(names, parts)
        await self.replay(chosen, progress)
        return max([await self.finish(name) for name in chosen], default=0)

    async def replay(self, names: Iterable[str], progress: Progress, only: int | None = None) -> None:
        """Fold all parts (or `only` that one) up to the head of the log, those that stand alike together."""
        chosen, head = set(names), await self._ledger.position()
        while alike := _alike(parts := await self.parts(), chosen, only, head):
            mine = [part for part in parts if part.name in chosen and only in (None, part.part)]
            rest = sum(min(part.position, head) for part in mine if part not in alike)

            def told(reached: int, head: int, rest: int = rest, alike: int = len(alike), all: int = len(mine)) -> None:
                progress((rest + reached * alike) // all, head)

            with suppress(Overtaken):  # another process did it; look where it stands
                await self._fold_through(alike, head, told)

    async def finish(self, name: str) -> int:
        """Unite the parts, index, catch up, check, swap in. Returns its position then. Raises BuildFailed."""
        projection = self._projections[name]
        loop = asyncio.get_running_loop()
        await self._database.tell(self._unite, projection, loop)
        await self._database.tell(_index, projection)
        await self._database.tell(
            exchange
        )  # a comparison may take long: what comes meanwhile is folded before the swap
        await self.replay([name], _silent)
        if wrong := await self._wrong(projection):
            await self._database.tell(builds.fail, projection, wrong)
            raise BuildFailed(f"The build of {name} is not swapped in: {wrong}")
        position = await self._database.tell(self._swap, projection, loop)
        self._wakeups.projections.notify()
        return position

    async def roll_back(self, name: str) -> int:
        """Swap the tables in that were live before, caught up. Returns their position. Raises BuildFailed."""
        projection = self._projections[name]
        if not await self._database.tell(builds.revive, projection, self._clock()):
            raise BuildFailed(f"There are no tables that {name} had before, or a build of it is under way.")
        return await self.finish(name)

    async def cancel(self, names: Iterable[str]) -> list[str]:
        """End builds, and drop their tables. Returns which were under way."""
        gone = [await self._database.tell(_cancel, self._projections[name]) for name in names]
        return [name for name in gone if name]

    async def parts(self) -> list[Part]:
        """Of all builds that are under way of these read models."""
        found = await self._database.ask(builds.under_way)
        current = {(p.name, p.version) for p in self._projections.values()}
        return [part for part in found if (part.name, part.version) in current]

    async def run(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        """See to the builds that began by themselves, in one process at a time."""
        while not stop.is_set():
            try:
                if await leads():
                    await self._see_to(leads, stop)
            except (ApplicationError, OSError) as error:
                log_surprise(_log, "building read models", error)
            try:
                async with asyncio.timeout(_LOOK):
                    await stop.wait()
            except TimeoutError:
                pass

    async def _see_to(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        chosen = sorted({part.name for part in await self.parts() if part.auto and part.error is None})
        if not chosen:
            return
        _log.info("Building the read models %s from the log.", ", ".join(chosen))
        head = await self._ledger.position()
        while alike := _alike(await self.parts(), set(chosen), None, head):
            if stop.is_set() or not await leads():
                return
            page = await self._scan(alike[0], head)
            with suppress(Overtaken):
                await self._fold_page(alike, page, page[-1].position if page else head)
        for name in chosen:
            position = await self.finish(name)
            _log.info("The read model %s is built, up to position %d.", name, position)

    # -- folding -------------------------------------------------------------------------------------------------

    async def _fold_through(self, alike: Sequence[Part], head: int, told: Progress) -> None:
        """Page by page; while one is written the next is read and decoded. Raises Overtaken."""
        page = await self._scan(alike[0], head)
        while alike[0].position < head:
            end = page[-1].position if page else head
            ahead = asyncio.create_task(self._scan(replace(alike[0], position=end), head))
            try:
                alike = await self._fold_page(alike, page, end)
            finally:
                page = await ahead
            told(end, head)

    async def _scan(self, part: Part, head: int) -> Page:
        found = await self._ledger.scan(part.position, self._page, Share(part.part, part.parts))
        return [each for each in found if each.position <= head]

    async def _fold_page(self, alike: Sequence[Part], page: Page, end: int) -> list[Part]:
        """The parts as they stand then."""
        try:
            await self._database.tell(self._fold, alike, page, end, False)
        except (StoreUnavailable, Overtaken):
            raise
        except Exception:  # noqa: BLE001 (a fold may fail in any way; then it goes around the streams to blame)
            await self._database.tell(self._fold, alike, page, end, True)
        return [replace(part, position=end) for part in alike]

    def _fold(self, connection: Connection, alike: Sequence[Part], page: Page, end: int, careful: bool) -> None:
        now = self._clock()
        for part in alike:
            builds.advance(connection, part, end, now)
            fold(connection, self._model(part), page, now, careful=careful)

    def _model(self, part: Part) -> ReadModel:
        key = part.name, part.suffix, part.part, part.parts
        if key not in self._models:
            projection = self._projections[part.name]
            tables = builds.tables_of(projection, part.suffix, part.part, part.parts)
            self._models[key] = ReadModel(projection, tables, part.suffix)
        return self._models[key]

    # -- steps that are one transaction each ---------------------------------------------------------------------

    def _unite(self, connection: Connection, projection: Projection, loop: asyncio.AbstractEventLoop) -> None:
        parts = builds.parts_of(connection, projection, lock=True)
        if len(parts) > 1:
            target = self._up_to_date(connection, parts, loop)
            builds.unite(connection, projection, parts, target)
        elif parts and parts[0].phase == REPLAY:
            builds.enter(connection, projection, INDEX)

    def _up_to_date(self, connection: Connection, parts: Sequence[Part], loop: asyncio.AbstractEventLoop) -> int:
        """Fold what is left for each part, in this transaction. Returns where all stand then."""
        target = asyncio.run_coroutine_threadsafe(self._ledger.position(), loop).result()
        for part in parts:
            while page := asyncio.run_coroutine_threadsafe(self._scan(part, target), loop).result():
                fold(connection, self._model(part), page, self._clock(), careful=True)
                part = replace(part, position=page[-1].position)
        return target

    def _swap(self, connection: Connection, projection: Projection, loop: asyncio.AbstractEventLoop) -> int:
        """In one short transaction: lock out the runners, fold the rest, take the live tables' place."""
        exchange(connection)
        live = positions.hold(connection, projection)
        parts = builds.parts_of(connection, projection, lock=True)
        if not parts:
            return live or 0  # another process has done it
        (part,) = parts
        target = self._up_to_date(connection, [part], loop)
        _replace(connection, projection, part, live, self._clock())
        positions.place(connection, projection, target, self._clock())
        builds.forget(connection, projection)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"NOTIFY {PROJECTIONS}"))
        return target

    async def _wrong(self, projection: Projection) -> str | None:
        """What speaks against swapping it in."""
        found = [part for part in await self.parts() if part.name == projection.name]
        if not found:
            return None
        suffix = found[0].suffix
        new = await self._database.ask(_newly_parked, projection, suffix)
        if new:
            return f"it parked {new} streams that the live one follows: `postledger projections parked` shows them"
        return await self._check(projection, suffix) if self._check else None


def _silent(done: int, total: int) -> None:
    pass


def _alike(parts: Sequence[Part], names: set[str], only: int | None, head: int) -> list[Part]:
    """Of the parts that are behind, those that are furthest behind in the same place."""
    groups: defaultdict[tuple[int, int, int], list[Part]] = defaultdict(list)
    for part in parts:
        if part.name in names and part.position < head and (only is None or part.part == only):
            groups[part.position, part.part, part.parts].append(part)
    return groups[min(groups)] if groups else []


def _begin(connection: Connection, projections: Sequence[Projection], parts: int, now: datetime) -> list[str]:
    positions.lock_creation(connection)
    going_on = [projection.name for projection in projections if builds.parts_of(connection, projection)]
    if not going_on:
        for projection in projections:
            builds.begin(connection, projection, parts, now, auto=False)
    return going_on or [projection.name for projection in projections]


def _index(connection: Connection, projection: Projection) -> None:
    for part in builds.parts_of(connection, projection, lock=True):
        if part.phase == INDEX:
            builds.index(connection, projection.tables(part.suffix))
            builds.enter(connection, projection, READY)


def _cancel(connection: Connection, projection: Projection) -> str | None:
    parts = builds.parts_of(connection, projection, lock=True)
    if not parts:
        return None
    builds.drop_build(connection, parts)
    parked.clear(connection, projection.name, projection.version, parts[0].suffix)
    builds.forget(connection, projection)
    return projection.name


def _newly_parked(connection: Connection, projection: Projection, suffix: str) -> int:
    name, version = projection.name, projection.version
    live = parked.streams(connection, name, version)
    return len(parked.streams(connection, name, version, suffix) - live)


def _replace(connection: Connection, projection: Projection, part: Part, live: int | None, now: datetime) -> None:
    """The build's tables become the live ones; what was live is kept."""
    built = projection.tables(part.suffix)
    if live is not None:
        old = projection.tables("")
        if connection.dialect.name == "postgresql":
            names = ", ".join(table.name for table in old)
            connection.execute(text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
        if projection.carry:
            projection.carry(connection, old, built)
        kept = f"__p{token_hex(4)}"
        builds.keep(connection, Previous(projection.name, projection.version, kept, live, now))
        _rename(connection, projection, "", kept)
        parked.move(connection, projection.name, projection.version, "", kept)
    _rename(connection, projection, part.suffix, "")
    parked.move(connection, projection.name, projection.version, part.suffix, "")


def _rename(connection: Connection, projection: Projection, old: str, new: str) -> None:
    for before, after in zip(projection.tables(old), projection.tables(new), strict=True):
        connection.execute(text(f"ALTER TABLE {before.name} RENAME TO {after.name}"))
