"""The log, for a thread that is not the event loop's."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import UUID

from application.ports import Log, Recorded, Unreadable
from domain.errors import UnreadableEvent
from infrastructure.folding import Page

_T = TypeVar("_T")


class LogReader:
    """Asks the event loop, and waits."""

    def __init__(self, ledger: Log, loop: asyncio.AbstractEventLoop, page: int) -> None:
        self._ledger = ledger
        self._loop = loop
        self._page = page

    def pages(self, after: int, end: int) -> Iterator[Page]:
        """What comes after one position up to another, and a little more; while a page is used, the next is read."""
        coming = self._ask(self._ledger.scan(after, self._page))
        while after < end and (page := coming.result()):
            after = page[-1].position
            if after < end:
                coming = self._ask(self._ledger.scan(after, self._page))
            yield page

    def histories(self, streams: Iterable[UUID]) -> Mapping[UUID, list[Recorded] | UnreadableEvent]:
        """The whole of each of these, or why it cannot be read."""
        coming = {id: self._ask(self._ledger.load(id)) for id in streams}
        found: dict[UUID, list[Recorded] | UnreadableEvent] = {}
        for id, history in coming.items():
            try:
                found[id] = history.result()
            except UnreadableEvent as error:
                found[id] = error
        return found

    def begun(self, positions: Sequence[int]) -> list[UUID | None]:
        """The streams whose first event stands at each of these positions; None where another event stands, or none."""
        coming = [self._ask(self._ledger.scan(position - 1, 1)) for position in positions]
        return [_beginning(each.result(), position) for each, position in zip(coming, positions, strict=True)]

    def _ask(self, question: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(question, self._loop)


def stream_of(each: Recorded | Unreadable) -> UUID:
    return each.stream_id if isinstance(each, Unreadable) else each.event.originator_id


def _beginning(page: Page, position: int) -> UUID | None:
    if not page or page[0].position != position:
        return None
    first = page[0]
    version = first.version if isinstance(first, Unreadable) else first.event.originator_version
    return stream_of(first) if version == 1 else None
