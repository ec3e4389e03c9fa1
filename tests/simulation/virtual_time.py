"""An event loop whose clock jumps to the next timer instead of waiting for it: days pass in milliseconds."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Standstill(Exception):
    """Everybody waits, and nothing will ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Timers only: no sockets, no threads. The same calls in the same order have the same result in every run."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Where another loop would wait for its sockets."""
        if timeout is None:
            raise Standstill
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else runs."""

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Let the world turn until this is done."""
        return self.run_until_complete(work)

    def end(self) -> None:
        """Cancel whatever still runs."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()
