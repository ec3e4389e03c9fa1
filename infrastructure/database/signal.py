"""A wake-up inside one process: any thread rings, any number of coroutines wait."""

import asyncio
import threading
from contextlib import suppress

_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Signal:
    """Counts its notifications, so that one which came between a look and a wait is not lost:

    `seen = signal.mark()`, look, and if there was nothing `await signal.wait_since(seen, timeout)`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._waiters: set[_Waiter] = set()

    def notify(self) -> None:
        """Wake everybody who waits now. From any thread."""
        with self._lock:
            self._count += 1
            waiters, self._waiters = self._waiters, set()
        for loop, woken in waiters:
            with suppress(RuntimeError):  # that loop is closed, and nobody waits there any more
                loop.call_soon_threadsafe(woken.set)

    def mark(self) -> int:
        return self._count

    async def wait(self, timeout: float) -> None:
        """Return at the next notification, or after `timeout` seconds."""
        await self.wait_since(self._count, timeout)

    async def wait_since(self, seen: int, timeout: float) -> None:
        """Return once there was a notification after `seen` was marked, or after `timeout` seconds."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._count != seen:
                return
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiters.discard(waiter)
