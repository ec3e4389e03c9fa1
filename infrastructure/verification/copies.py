"""Copies of read models, folded from the log alone, in temporary tables of one connection.

Nobody else sees them, and they end with the connection, however it ends.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Table, select
from sqlalchemy.schema import CreateTable

from application.ports import Recorded, Unreadable
from domain.errors import UnreadableEvent
from infrastructure.database.builds import BUILDS
from infrastructure.database.engines import is_outage
from infrastructure.database.parked import PARKED
from infrastructure.database.positions import POSITIONS
from infrastructure.folding import FoldFails
from infrastructure.verification.reader import LogReader, stream_of
from projections.projection import Projection, Tables, stream_column

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much

_MOST = 20  # streams of one page that cannot be folded; where more fail, it is not for what is in them
_NEVER = 2**63


class NotThere(Exception):
    """A read model has no such tables: this version of it is still to be built, or the build has ended."""


class Replaced(Exception):
    """A read model was put back or exchanged meanwhile: what was folded is no copy of what it now is."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a read model is, and which streams it does not follow, each from which position on."""

    position: int
    parked: Mapping[UUID, int]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a read model's live tables, or those of a build, whose names end in `build`."""

    projection: Projection
    build: str = ""

    def stand(self, connection: Connection, *, hold: bool = False) -> Stand:
        """As this transaction sees it; with `hold` nobody moves it before the end of the transaction."""
        p, of = PARKED.c, self._of
        parked = select(p.stream_id, p.position).where(*of(PARKED), p.build == self.build)
        where = select(BUILDS.c.position).where(*of(BUILDS), BUILDS.c.suffix == self.build)
        if not self.build:
            where = select(POSITIONS.c.position).where(*of(POSITIONS))
        position = connection.execute(where.with_for_update() if hold else where).scalar_one_or_none()
        if position is None:
            raise NotThere(self.projection.name)
        return Stand(position, {id: at for id, at in connection.execute(parked)})

    def _of(self, table: Table) -> tuple[ColumnElement[bool], ...]:
        return table.c.name == self.projection.name, table.c.version == self.projection.version


@dataclass(slots=True)
class Copy:
    """One read model folded anew, as far as it has come."""

    subject: Subject
    live: Tables  # what is looked at
    tables: Tables  # the copy
    position: int = 0
    parked: dict[UUID, int] = field(default_factory=dict)  # not folded from that position on, for the original does not
    unfolded: dict[UUID, str] = field(default_factory=dict)  # cannot be folded here, and why

    @property
    def name(self) -> str:
        return self.subject.projection.name

    def state(self) -> tuple[int, dict[UUID, int], dict[UUID, str]]:
        """Where it is, to be put back there when the transaction fails."""
        return self.position, dict(self.parked), dict(self.unfolded)

    def back_to(self, state: tuple[int, dict[UUID, int], dict[UUID, str]]) -> None:
        self.position, self.parked, self.unfolded = state

    def follows(self, each: Recorded | Unreadable, up_to: int) -> bool:
        id = stream_of(each)
        return self.position < each.position <= up_to and each.position < self.parked.get(id, _NEVER)


class Copies:
    """Copies that are folded side by side, of all streams or `only` of some."""

    def __init__(
        self, connection: Connection, log: LogReader, subjects: Sequence[Subject], only: Collection[UUID] | None = None
    ) -> None:
        self._connection = connection
        self._log = log
        self._only = only
        suffix = f"__v{uuid4().hex[:8]}"
        self.all = [Copy(s, s.projection.tables(s.build), s.projection.tables(suffix)) for s in subjects]
        with self.transaction():
            for copy in self.all:
                for table in copy.tables:
                    self._create(table)

    def transaction(self) -> AbstractContextManager[object]:
        """A transaction, or a part of the one that goes on."""
        connection = self._connection
        return connection.begin_nested() if connection.in_transaction() else connection.begin()

    def follow(self, stands: Sequence[Stand], progress: Progress) -> None:
        """Fold each up to where its original stands. Raises Replaced, FoldFails."""
        for copy, stand in zip(self.all, stands, strict=True):
            self.agree(copy, stand)
        end = max((stand.position for stand in stands), default=0)
        begun = min((c.position for c, s in zip(self.all, stands, strict=True) if c.position < s.position), default=end)
        for page in self._log.pages(begun, end):
            with self.transaction():
                for copy, stand in zip(self.all, stands, strict=True):
                    self._take(copy, [each for each in page if copy.follows(each, stand.position)])
                    copy.position = max(copy.position, min(page[-1].position, stand.position))
            progress("Folding", min(page[-1].position, end), end)
        for copy, stand in zip(self.all, stands, strict=True):
            copy.position = stand.position

    def follow_one(self, copy: Copy, stand: Stand) -> None:
        """As `follow`, of one of them alone, in the transaction that goes on."""
        self.agree(copy, stand)
        for page in self._log.pages(copy.position, stand.position):
            self._take(copy, [each for each in page if copy.follows(each, stand.position)])
            copy.position = min(page[-1].position, stand.position)
        copy.position = stand.position

    def agree(self, copy: Copy, stand: Stand) -> None:
        """Follow what the original follows again, and no longer what it has parked."""
        known = copy.parked
        new = {id: at for id, at in stand.parked.items() if at < known.get(id, _NEVER)}
        if stand.position < copy.position or any(at <= copy.position for at in new.values()):
            raise Replaced(copy.name)
        freed = {id: at for id, at in known.items() if self._has(id) and stand.parked.get(id, _NEVER) > at}
        copy.parked = dict(stand.parked)
        for id, history in self._log.histories(freed).items():
            self._take_alone(copy, id, history, freed[id])

    def take_again(self, copy: Copy, stream_id: UUID) -> str | None:
        """Fold what is missing of a parked stream. Why that cannot be, or None."""
        after = copy.parked.pop(stream_id)
        self._take_alone(copy, stream_id, self._log.histories([stream_id])[stream_id], after)
        if error := copy.unfolded.pop(stream_id, None):
            copy.parked[stream_id] = after
        return error

    def take_alone(self, histories: Mapping[UUID, list[Recorded] | UnreadableEvent], stands: Sequence[Stand]) -> None:
        """Fold these streams each for itself, into copies that have not begun. `begin_at` has to follow."""
        for copy, stand in zip(self.all, stands, strict=True):
            with self.transaction():
                for id, history in histories.items():
                    if not (id in stand.parked and isinstance(history, UnreadableEvent)):
                        end = min(stand.position, stand.parked.get(id, _NEVER) - 1)
                        self._take_alone(copy, id, history, 1, end)

    def begin_at(self, stands: Sequence[Stand]) -> None:
        """What there is to fold up to here is folded."""
        for copy, stand in zip(self.all, stands, strict=True):
            copy.position, copy.parked = stand.position, dict(stand.parked)

    def _take_alone(
        self, copy: Copy, id: UUID, history: list[Recorded] | UnreadableEvent, start: int, end: int | None = None
    ) -> None:
        if isinstance(history, UnreadableEvent):
            copy.unfolded[id] = str(history)
            return
        last = min(copy.position, copy.parked.get(id, _NEVER) - 1) if end is None else end
        events = [each for each in history if start <= each.position <= last]
        with self.transaction():
            if events and (error := self._failure(copy, events)):
                copy.unfolded[id] = type(error).__name__

    def _take(self, copy: Copy, page: Iterable[Recorded | Unreadable]) -> None:
        events: list[Recorded] = []
        for each in page:
            id = stream_of(each)
            if id in copy.unfolded or not self._has(id):
                continue
            if isinstance(each, Unreadable):
                copy.unfolded[id] = each.reason
            else:
                events.append(each)
        if events and self._failure(copy, events):
            self._around(copy, events)

    def _around(self, copy: Copy, events: Sequence[Recorded]) -> None:
        """Fold all streams but those that cannot be."""
        streams: defaultdict[UUID, list[Recorded]] = defaultdict(list)
        for each in events:
            streams[each.event.originator_id].append(each)
        failed = 0
        for id, some in streams.items():
            if error := self._failure(copy, some):
                copy.unfolded[id], failed = type(error).__name__, failed + 1
            if error and failed > _MOST:
                raise FoldFails(f"{copy.name}: {type(error).__name__} in more than {_MOST} streams") from error

    def _failure(self, copy: Copy, events: Sequence[Recorded]) -> Exception | None:
        try:
            with self._connection.begin_nested():
                copy.subject.projection.fold(self._connection, copy.tables, events)
        except Exception as error:
            if is_outage(error):
                raise
            return error
        return None

    def _has(self, id: UUID) -> bool:
        return self._only is None or id in self._only

    def _create(self, table: Table) -> None:
        """With those of its indexes that a fold needs to find a stream's rows."""
        statement = str(CreateTable(table).compile(dialect=self._connection.dialect))
        self._connection.exec_driver_sql(statement.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))
        for index in table.indexes:
            first = next(iter(index.columns), None)
            if first is not None and first.name == stream_column(table):
                index.create(self._connection)
