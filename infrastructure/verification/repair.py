"""Puts right the streams that differ, and nothing else, while runners and workers go on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Update,
    UpdateBase,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    text,
    update,
)

from application.errors import StoreUnavailable
from application.ports import Log
from infrastructure.database.engines import Database
from infrastructure.database.notifications import PROJECTIONS
from infrastructure.database.parked import unpark
from infrastructure.verification.copies import Copies, Copy, Progress, Subject
from infrastructure.verification.differences import different_sums, written
from infrastructure.verification.report import Report, Verdict
from infrastructure.verification.verify import HELD, PAGE, Verification, in_a_thread, silent
from projections import rows
from projections.columns import Id
from projections.projection import Projection, stream_column, told

_AT_ONCE = 100  # streams in one transaction, for which the runners wait
_PLACES = 500  # named in one statement
_TRIES = 3  # of a transaction: it may have waited for one that waited for it


@dataclass(frozen=True, slots=True)
class Mended:
    """What a repair did to one read model."""

    name: str
    streams: int = 0
    rows: int = 0  # added, changed and removed
    sums: int = 0  # corrected
    unparked: int = 0  # streams it follows again
    still_parked: Mapping[UUID, str] = field(default_factory=dict)  # and why


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was found, what was done about it, and whether that was enough."""

    before: Report
    mended: Sequence[Mended]
    after: Report | None  # of what was mended; None when nothing was

    @property
    def right(self) -> bool:
        now = {verdict.name: verdict for report in (self.before, self.after) if report for verdict in report.verdicts}
        return all(verdict.right for verdict in now.values()) and not any(each.still_parked for each in self.mended)


async def repair(
    ledger: Log,
    database: Database,
    projections: Sequence[Projection],
    *,
    dry: bool = False,
    shown: int = 20,
    page: int = PAGE,
    progress: Progress = silent,
) -> Repaired:
    """Verify, fold again what differs or is parked, and verify that. With `dry` it ends before anything is changed.

    Of a read model in which more streams differ than are named nothing is changed. Raises what `verify` does.
    """
    subjects = [Subject(projection) for projection in projections]
    return await in_a_thread(ledger, database, page, progress, lambda v: _repair(v, subjects, shown, dry=dry))


def _repair(v: Verification, subjects: Sequence[Subject], shown: int, *, dry: bool) -> Repaired:
    copies = v.copies(subjects)
    with v.met(copies):
        before = Report(v.compare(copies.all, shown))
    both = zip(copies.all, before.verdicts, strict=True)
    todo = [Mending(v, copies, *each) for each in both if needed(each[1])]
    if dry or not todo:
        return Repaired(before, [], None)
    mended = [each.run() for each in todo]
    with v.met(copies):
        return Repaired(before, mended, Report(v.compare([each.copy for each in todo], shown)))


def needed(verdict: Verdict) -> bool:
    """Whether there is something that can be mended."""
    return bool(verdict.counts or verdict.parked) and not verdict.too_many


class Mending:
    """Of one read model, some streams at a time, each time in one short transaction that holds its runner."""

    def __init__(self, v: Verification, copies: Copies, copy: Copy, verdict: Verdict) -> None:
        self.copy = copy
        self._v = v
        self._copies = copies
        self._verdict = verdict
        self._done = Mended(copy.name)

    def run(self) -> Mended:
        """Raises Replaced, StoreUnavailable."""
        streams = list(dict.fromkeys([*self._verdict.wrong, *self._verdict.parked]))
        for start in range(0, max(len(streams), 1), _AT_ONCE):
            some = streams[start : start + _AT_ONCE]
            histories = self._v.log.histories(some)  # only where they begin, for some tables name their rows by that
            begun = {
                id: history[0].position for id, history in histories.items() if isinstance(history, list) and history
            }
            self._try(some, begun, last=start + _AT_ONCE >= len(streams))
            self._v.progress("Mending", min(start + _AT_ONCE, len(streams)), len(streams))
        return self._done

    def _try(self, streams: Sequence[UUID], begun: Mapping[UUID, int], *, last: bool) -> None:
        for left in reversed(range(_TRIES)):
            self._v.approach(self._copies)
            state = self.copy.state()
            try:
                with self._v.database.writing(self._v.connection):
                    done = self._mend(streams, begun, last=last)
            except StoreUnavailable:
                if not left or self._v.connection.invalidated:
                    raise
                self.copy.back_to(state)
            else:
                self._done = done
                return

    def _mend(self, streams: Sequence[UUID], begun: Mapping[UUID, int], *, last: bool) -> Mended:
        connection, copy, projection = self._v.connection, self.copy, self.copy.subject.projection
        if self._v.database.kind == "postgresql":
            connection.execute(text(HELD))
            connection.execute(text(f"NOTIFY {PROJECTIONS}"))
        self._copies.follow_one(copy, copy.subject.stand(connection, hold=True))
        left = {id: self._copies.take_again(copy, id) for id in streams if id in copy.parked}
        freed = [id for id, error in left.items() if error is None]
        unpark(connection, projection.name, projection.version, copy.subject.build, freed)
        sound = [id for id in streams if id not in copy.parked and id not in copy.unfolded]
        written = sum(self._rows(sound, freed, begun, last=last))
        sums = self._sums() if last and not copy.unfolded else 0
        done = self._done
        return Mended(
            copy.name,
            done.streams + len(sound),
            done.rows + written,
            done.sums + sums,
            done.unparked + len(freed),
            {**done.still_parked, **{id: error for id, error in left.items() if error}},
        )

    def _rows(
        self, streams: Iterable[UUID], freed: Sequence[UUID], begun: Mapping[UUID, int], *, last: bool
    ) -> Iterator[int]:
        """Put the rows of these streams in the place of what the tables say of them. How many were written."""
        wrong = self._verdict.wrong
        for is_, should_be in zip(self.copy.live, self.copy.tables, strict=True):
            if (column := stream_column(is_)) is None:
                continue
            quick = _indexed(is_, column)  # elsewhere only those are looked for that are known to differ
            mine = [id for id in streams if quick or id in freed or is_.name in wrong.get(id, ())]
            named = isinstance(is_.c[column].type, Id)
            places: list[Any] = [id if named else begun[id] for id in mine if named or id in begun]
            if last:
                places += self._verdict.strays.get(is_.name, ())
            for start in range(0, len(places), _PLACES):
                yield _replace(self._v.connection, is_, should_be, places[start : start + _PLACES])

    def _sums(self) -> int:
        """Add what is missing. Whatever is folded next comes on top of it."""
        corrected = 0
        for is_, should_be in zip(self.copy.live, self.copy.tables, strict=True):
            if stream_column(is_) is None:
                found = [(*key, then - now) for key, now, then in different_sums(self._v.connection, is_, should_be)]
                rows.add(self._v.connection, is_, found, keys=len(is_.columns) - 1)
                corrected += len(found)
        return corrected


def _indexed(table: Table, column: str) -> bool:
    keys = [list(table.primary_key.columns), *(list(index.columns) for index in table.indexes)]
    return any(key[0].name == column for key in keys if key)


def _replace(connection: Connection, is_: Table, should_be: Table, places: Sequence[Any]) -> int:
    """Of rows that stay, what no event tells stays too."""
    column, names = str(stream_column(is_)), is_.columns.keys()
    mine, wanted = (written(connection, table.c[column], places) for table in (is_, should_be))
    if not is_.primary_key.columns:
        new = insert(is_).from_select(names, select(should_be).where(wanted))
        return max(_run(connection, delete(is_).where(mine)), _run(connection, new))
    same = and_(*(is_.c[c.name] == should_be.c[c.name] for c in is_.primary_key))
    wrong = delete(is_).where(mine, ~exists(select(1).select_from(should_be).where(same)))
    lacking = select(should_be).where(wanted, ~exists(select(1).select_from(is_).where(same)))
    changes = (wrong, _change(is_, should_be, and_(same, wanted)), insert(is_).from_select(names, lacking))
    return sum(_run(connection, change) for change in changes)


def _run(connection: Connection, change: UpdateBase) -> int:
    """How many rows it was about."""
    return connection.execute(change, execution_options={"preserve_rowcount": True}).rowcount


def _change(is_: Table, should_be: Table, condition: ColumnElement[bool]) -> Update:
    names = [name for name in told(is_) if name not in is_.primary_key.columns]
    differ = or_(*(is_.c[name].is_distinct_from(should_be.c[name]) for name in names))
    return update(is_).values({name: should_be.c[name] for name in names}).where(condition, differ)
