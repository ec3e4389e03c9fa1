"""The role that each database plays for the ledger, and the judgement both share: what is new, ours, or a conflict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from eventsourcing.persistence import IntegrityError, Notification, StoredEvent
from pydantic_core import from_json

from application.errors import StreamConflict
from application.ports import WHOLE, Part, StoredContent

Key = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Append:
    """What one caller wants committed, all or nothing."""

    events: Sequence[StoredEvent]
    contents: Sequence[StoredContent] = ()


Outcome = int | Exception  # the position of the caller's last event, or why not


class EventStore(Protocol):
    """Synchronous, called from the ledger's threads. Everything raises StoreUnavailable when it cannot be reached."""

    def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        """Commit in one transaction whatever does not conflict; one outcome per caller, in order."""
        ...

    def streams(self, ids: Sequence[UUID]) -> list[Notification]:
        """All events of these streams, each stream in order."""
        ...

    def page(self, after: int, limit: int, topics: Sequence[str], part: Part = WHOLE) -> Sequence[Notification]:
        """The next events in the global order."""
        ...

    def last_position(self) -> int: ...

    def contents(self, email_ids: Sequence[UUID]) -> Mapping[UUID, bytes]: ...

    def blobs_in_use(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these blobs a stored content refers to."""
        ...

    def close(self) -> None: ...


def keys(appends: Iterable[Append]) -> list[Key]:
    """Every (stream, version) that is to be written."""
    return [(e.originator_id, e.originator_version) for a in appends for e in a.events]  # type: ignore[misc]


def judge(appends: Sequence[Append], stored: Mapping[Key, Notification]) -> tuple[list[Outcome | None], list[Append]]:
    """Tell apart, under the store's lock, which appends are still to be written.

    Returns an outcome for each append that is settled already (None for those to write), and those to write. An append
    whose events all stand there with the same event ids was committed before, its answer lost: that is a success.
    """
    outcomes: list[Outcome | None] = []
    fresh: list[Append] = []
    taken: set[Key] = set(stored)
    for append in appends:
        wanted = keys([append])
        clash = [key for key in wanted if key in taken]
        if not clash:
            taken.update(wanted)
            fresh.append(append)
            outcomes.append(None)
        elif all(key in stored and _same(stored[key], event) for key, event in zip(wanted, append.events, strict=True)):
            outcomes.append(max(stored[key].id for key in wanted))
        else:
            outcomes.append(StreamConflict(frozenset(stream for stream, _ in clash)))
    return outcomes, fresh


def positions(outcomes: Sequence[Outcome | None], fresh: Sequence[Append], first: int) -> list[Outcome]:
    """Fill in the positions of what was written, numbered on from `first` without a gap."""
    ends: list[int] = []
    for append in fresh:
        first += len(append.events)
        ends.append(first - 1)
    written = iter(ends)
    return [next(written) if outcome is None else outcome for outcome in outcomes]


def insert(commit: Callable[[Sequence[Append]], list[Outcome]], events: Sequence[StoredEvent]) -> Sequence[int]:
    """One append with the library's own exception and answer (notification ids), for the tools that come with it."""
    if not events:
        return []
    (outcome,) = commit([Append(events)])
    if isinstance(outcome, Exception):
        raise IntegrityError(str(outcome)) from outcome
    return range(outcome - len(events) + 1, outcome + 1)


def _same(stored: StoredEvent, event: StoredEvent) -> bool:
    return bool(from_json(stored.state)["event_id"] == from_json(event.state)["event_id"])
