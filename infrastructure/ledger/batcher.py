"""Group commit for anything: while one batch is under way, the next one gathers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Wish = TypeVar("Wish")
Result = TypeVar("Result")


class Batcher(Generic[Wish, Result]):
    """Many tasks each wish for one thing; one thread fulfils whatever is waiting, together.

    `fulfil` takes the wishes and returns one result or exception per wish, in order. An exception that it raises
    itself goes to everyone in the batch. Must be used from one event loop.
    """

    def __init__(
        self,
        fulfil: Callable[[Sequence[Wish]], Sequence[Result | Exception]],
        name: str,
        most: int,
        gather: float = 0.0,
    ) -> None:
        self._fulfil = fulfil
        self._most = most
        self._gather = gather
        self._waiting: deque[tuple[Wish, asyncio.Future[Result]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: asyncio.Task[None] | None = None

    async def submit(self, wish: Wish) -> Result:
        """Wait for the wish to come true. Giving up waiting does not take it back."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((wish, future))
        if self._running is None:
            self._running = loop.create_task(self._work(loop))
        return await future

    async def close(self) -> None:
        """Finish what is waiting, then end the thread."""
        while self._running is not None:
            await asyncio.wait([self._running])
        self._thread.shutdown()

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[tuple[Wish, asyncio.Future[Result]]] = []
        try:
            while self._waiting:
                if len(batch) > 1:
                    await asyncio.sleep(self._gather)
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
                results = await self._results(loop, [wish for wish, _ in batch])
                for (_, future), result in zip(batch, results, strict=True):
                    _settle(future, result)
        finally:
            # Only a loop that is shutting down cancels this task, and then nobody may be left waiting for ever.
            for _, future in (*batch, *self._waiting):
                future.cancel()
            self._waiting.clear()
            self._running = None

    async def _results(self, loop: asyncio.AbstractEventLoop, wishes: Sequence[Wish]) -> Sequence[Result | Exception]:
        try:
            return await loop.run_in_executor(self._thread, self._fulfil, wishes)
        except Exception as error:  # noqa: BLE001 - it is handed to everyone who waits for this batch
            return [error] * len(wishes)


def _settle(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():
        return  # whoever asked has gone
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
