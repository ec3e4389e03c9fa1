"""Folds the log once more, beside read models that go on, and compares them at one position."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from threading import Event
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, text

from application.ports import Log
from infrastructure.database.engines import Database
from infrastructure.database.exchange import comparing
from infrastructure.verification.comparing import Comparing
from infrastructure.verification.copies import Copies, Copy, NotThere, Progress, Stand, Subject
from infrastructure.verification.reader import LogReader
from infrastructure.verification.report import Report, Verdict
from infrastructure.verification.sampling import pick
from projections.projection import Projection

PAGE = 2000  # events
_NEAR = 500  # events that may be left to fold while the runners wait
_CHUNK = 100  # streams of a sample that are in memory at once
HELD = "SET LOCAL idle_in_transaction_session_timeout = '10s'"  # should we be stopped while others wait for us
_T = TypeVar("_T")


class Stopped(Exception):
    """Whoever asked does not wait any longer."""


def silent(doing: str, done: int, total: int) -> None:
    pass


async def verify(
    ledger: Log,
    database: Database,
    projections: Sequence[Projection],
    *,
    sample: int | None = None,
    seed: int | None = None,
    shown: int = 20,
    page: int = PAGE,
    progress: Progress = silent,
) -> Report:
    """Whether the live read models say what the log says; `sample`: by so many of its streams.

    Runners go on. Raises NotThere, Replaced, FoldFails, StoreUnavailable.
    """
    subjects = [Subject(projection) for projection in projections]
    return await in_a_thread(ledger, database, page, progress, lambda v: v.verify(subjects, sample, seed, shown))


async def check_sample(
    ledger: Log,
    database: Database,
    projections: Sequence[Projection],
    *,
    build: str,
    streams: int = 200,
    seed: int | None = None,
) -> Report:
    """Whether the tables of builds, whose names end in `build`, say what the log says, by some of its streams.

    Whoever fills them may go on. Streams parked in that build are left out, and so are sums. Raises what `verify` does.
    """
    subjects = [Subject(projection, build) for projection in projections]
    return await in_a_thread(ledger, database, PAGE, silent, lambda v: v.verify(subjects, streams, seed, 20))


def build_check(
    ledger: Log, database: Database, streams: int = 200
) -> Callable[[Projection, str], Awaitable[str | None]]:
    """What asks of a build, before it is swapped in, what is wrong with it: a sentence, or None."""

    async def check(projection: Projection, build: str) -> str | None:
        try:
            report = await check_sample(ledger, database, [projection], build=build, streams=streams)
        except NotThere:
            return None  # another process has swapped it in
        (verdict,) = report.verdicts
        if verdict.right:
            return None
        first = next(iter(verdict.wrong or verdict.unfolded), None)
        wrong = len(verdict.wrong) + len(verdict.unfolded)
        picked = f"of {report.streams} streams picked by seed {report.seed}"
        return f"{picked}, {wrong} are not what the log says; the first is {first}"

    return check


class Verification:
    """One verification, in a thread of its own, on a connection of its own."""

    def __init__(self, database: Database, connection: Connection, log: LogReader, progress: Progress) -> None:
        self.database = database
        self.connection = connection
        self.log = log
        self.progress = progress

    def verify(self, subjects: Sequence[Subject], sample: int | None, seed: int | None, shown: int) -> Report:
        if sample is not None:
            return self.sample(subjects, sample, secrets.randbelow(2**32) if seed is None else seed, shown)
        copies = self.copies(subjects)
        with self.met(copies):
            return Report(self.compare(copies.all, shown))

    def sample(self, subjects: Sequence[Subject], count: int, seed: int, shown: int) -> Report:
        """Of some streams alone, each folded by itself. Tables of sums are left out: they are about all streams."""
        stands = self._look(subjects)
        chosen = pick(self.log, Random(seed), count, max((s.position for s in stands), default=0))  # noqa: S311
        copies, ids = self.copies(subjects, chosen), list(chosen)
        for start in range(0, len(ids), _CHUNK):
            copies.take_alone(self.log.histories(ids[start : start + _CHUNK]), stands)
            self.progress("Folding", min(start + _CHUNK, len(ids)), len(ids))
        copies.begin_at(stands)
        with self.met(copies):
            return Report(self.compare(copies.all, shown, chosen), len(chosen), seed)

    def copies(self, subjects: Sequence[Subject], only: Mapping[UUID, int] | None = None) -> Copies:
        in_order = sorted(subjects, key=lambda subject: subject.projection.name)  # one order of locking for all
        return Copies(self.connection, self.log, in_order, only)

    @contextmanager
    def met(self, copies: Copies) -> Iterator[None]:
        """A state of the database in which the copies stand where their originals do. The runners hardly wait."""
        self.approach(copies)
        with comparing(self.connection), ExitStack() as state:
            if self.database.kind == "sqlite":
                state.enter_context(self.connection.begin())  # one state of the file; our own tables are not in it
                copies.follow(_stands(self.connection, copies), self.progress)
            else:
                with self.database.write() as holder:
                    holder.execute(text(HELD))
                    copies.follow(_stands(holder, copies, hold=True), self.progress)
                    state.enter_context(self.connection.begin())
                    _see(self.connection, copies)
            yield

    def approach(self, copies: Copies) -> None:
        """Follow, while nobody waits, until there is little left to fold for which somebody has to."""
        far = _NEAR + 1
        while far > _NEAR:
            stands = self._look([copy.subject for copy in copies.all])
            far = max((s.position - c.position for s, c in zip(stands, copies.all, strict=True)), default=0)
            copies.follow(stands, self.progress)

    def compare(self, copies: Sequence[Copy], shown: int, only: Mapping[UUID, int] | None = None) -> list[Verdict]:
        """Where they have met: all rows and sums, or `only` the rows of some streams (with where each begins)."""
        tables = sum(len(copy.live) for copy in copies)
        done, verdicts = 0, list[Verdict]()
        for copy in copies:
            comparing = Comparing(self.connection, self.log, copy, shown)
            for is_, should_be in zip(copy.live, copy.tables, strict=True):
                comparing.table(is_, should_be, only)
                done += 1
                self.progress("Comparing", done, tables)
            verdicts.append(comparing.verdict)
        return verdicts

    def _look(self, subjects: Sequence[Subject]) -> list[Stand]:
        with self.connection.begin():
            return [subject.stand(self.connection) for subject in subjects]


def _stands(connection: Connection, copies: Copies, *, hold: bool = False) -> list[Stand]:
    return [copy.subject.stand(connection, hold=hold) for copy in copies.all]


def _see(connection: Connection, copies: Copies) -> None:
    """Have the transaction see this moment to its end, and keep the tables from being exchanged for others."""
    live = ", ".join(table.name for copy in copies.all for table in copy.live)
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    connection.execute(text(f"LOCK TABLE {live} IN ACCESS SHARE MODE"))
    connection.execute(text("SELECT 1"))


async def in_a_thread(
    ledger: Log, database: Database, page: int, progress: Progress, work: Callable[[Verification], _T]
) -> _T:
    """Work at a verification. When whoever waits for it is cancelled, it ends too."""
    loop, stopping, connections = asyncio.get_running_loop(), Event(), list[Connection]()

    def told(doing: str, done: int, total: int) -> None:
        if stopping.is_set():
            raise Stopped
        progress(doing, done, total)

    def run() -> _T:
        with database.borrow() as connection:
            connections.append(connection)
            return work(Verification(database, connection, LogReader(ledger, loop, page), told))

    with ThreadPoolExecutor(1, thread_name_prefix="verification") as thread:
        working = loop.run_in_executor(thread, run)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            stopping.set()
            for connection in connections:
                _interrupt(connection, database.kind)
            await asyncio.wait([working])
            with suppress(Exception):
                working.result()
            raise


def _interrupt(connection: Connection, kind: str) -> None:
    with suppress(Exception):  # it has ended by itself
        raw: Any = connection.connection.driver_connection
        raw.interrupt() if kind == "sqlite" else raw.cancel_safe(timeout=5)
