"""Workers that can be killed without clean-up, and stopped in the middle of anything."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from application.dispatcher import Dispatcher, Pace
from application.errors import StoreUnavailable
from application.provider_watch import ProviderWatch
from domain.events import Priority

_CURRENT: ContextVar["Worker | None"] = ContextVar("worker", default=None)
_Task = asyncio.Task[Any]


def current() -> "Worker | None":
    """The worker in whose name the caller acts; None for all others."""
    return _CURRENT.get()


async def gate() -> None:
    """Where a stopped worker stands still, and a dead one never comes back from."""
    if worker := current():
        await worker.pass_gate()


def task_factory(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **context: Any) -> _Task:
    task: _Task = asyncio.Task(work, loop=loop, **context)
    if worker := current():
        worker.tasks[id(task)] = task
        task.add_done_callback(lambda done: worker.tasks.pop(id(done), None))
    return task


class Worker:
    """A process: two dispatchers, as bootstrap makes them, and whatever they start."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.tasks: dict[int, _Task] = {}
        self.stopped_at: float | None = None
        self.suspended = 0.0  # seconds, in all
        self.dead = False
        self.leaving = False
        self._loop = loop
        self._resumed = asyncio.Event()
        self._leave = asyncio.Event()
        self._main: list[_Task] = []

    def start(
        self, make: Callable[[str, Pace, list[Priority]], Dispatcher], lease: timedelta, states: ProviderWatch
    ) -> None:
        """Run, as a server does: it learns how the providers stand before it sends anything."""
        token = _CURRENT.set(self)
        self._main.append(self._loop.create_task(self._run(make, lease, states)))
        _CURRENT.reset(token)

    async def _run(
        self, make: Callable[[str, Pace, list[Priority]], Dispatcher], lease: timedelta, states: ProviderWatch
    ) -> None:
        while True:
            try:
                await states.load()
                break
            except StoreUnavailable:
                await asyncio.sleep(1)
        lanes = ((2, [Priority.CRITICAL]), (6, [Priority.NORMAL, Priority.BULK]))
        for number, (concurrency, priorities) in enumerate(lanes):
            pace = Pace(concurrency, lease, timedelta(minutes=5), timedelta(seconds=30))
            dispatcher = make(f"{self.name}-{number}", pace, priorities)
            self._main.append(self._loop.create_task(dispatcher.run(self._leave)))
        self._main.append(self._loop.create_task(states.run(self._leave)))

    async def pass_gate(self) -> None:
        if self.dead:
            raise asyncio.CancelledError
        while self.stopped_at is not None:
            await self._resumed.wait()
            if self.dead:
                raise asyncio.CancelledError

    def stop(self) -> None:
        """As SIGSTOP does."""
        self.stopped_at = self._loop.time()
        self._resumed.clear()

    def resume(self) -> None:
        if self.stopped_at is not None:
            self.suspended += self._loop.time() - self.stopped_at
        self.stopped_at = None
        self._resumed.set()

    def kill(self) -> None:
        """As SIGKILL does: nothing is finished, nothing is given back."""
        self.dead = True
        self._resumed.set()
        for task in list(self.tasks.values()):
            task.cancel()

    def leave(self) -> None:
        """As SIGTERM does: finish what is in flight."""
        self.leaving = True
        self._leave.set()

    def trouble(self) -> BaseException | None:
        """What ended it, if it should still be running."""
        for task in self._main:
            if task.done() and not task.cancelled() and (error := task.exception()):
                return error
        return None
