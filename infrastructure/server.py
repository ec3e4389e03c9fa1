"""One serving process: the API, the worker, or both in one event loop; and how it stops."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import uvicorn

from application.errors import StoreUnavailable
from infrastructure.bootstrap import System, now
from infrastructure.web.app import create_app, create_probes
from infrastructure.workers import run_worker, sweeper

Role = Literal["all", "api", "worker"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two looks for a database that is away
_KEEP_ALIVE = 65  # seconds: longer than the minute for which most proxies and clients keep a connection

_log = logging.getLogger(__name__)


class _Web(uvicorn.Server):
    """uvicorn without its own ideas about signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    system: System, role: Role, listener: socket.socket | None, announce: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun.

    `listener` is where it answers, if it does: with the API, or a worker with its probes.
    `announce` is called when a signal already means a graceful stop.
    """
    stop = asyncio.Event()
    web = _web(system, role)
    _stop_on_signals(stop)
    announce()
    system.wakeups.start()
    try:
        with suppress(StoreUnavailable):  # which is waited for; an API without its tables would answer 500
            await system.prepare()
        async with asyncio.TaskGroup() as tasks:
            if listener:
                tasks.create_task(web.serve(sockets=[listener]))
            tasks.create_task(_work(system, role, stop))
            tasks.create_task(_end(system, web, stop))
    finally:
        await system.close()


async def _work(system: System, role: Role, stop: asyncio.Event) -> None:
    """The read models' tables are made by every role: an API alone must be able to answer, with nothing."""
    await _prepare(system, stop)
    if role == "api":
        await system.states.run(stop)  # which is one of a worker's loops too
    elif not stop.is_set():
        sweep = sweeper(
            *(system.blobs, system.ledger.blobs_in_use, system.inbox.forget, system.settings.inbox_keep, now)
        )
        await run_worker(system.runner, system.dispatchers, system.loops, sweep, stop)


async def _prepare(system: System, stop: asyncio.Event) -> None:
    """Go on until the database is there; meanwhile the API answers 503."""
    pause = _FIRST_PAUSE
    while not stop.is_set():
        try:
            await system.prepare()
            await system.states.load()  # before anything is sent
            return
        except StoreUnavailable:
            if pause == _FIRST_PAUSE:
                _log.warning("The database is away. Waiting for it.")
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _end(system: System, web: uvicorn.Server, stop: asyncio.Event) -> None:
    """Streams end first: the web server waits for its connections."""
    await stop.wait()
    _log.info("Stopping: finishing what was begun. A second signal stops at once.")
    system.service.stopping.set()
    web.should_exit = True


def _web(system: System, role: Role) -> uvicorn.Server:
    config = uvicorn.Config(
        create_probes(system.service) if role == "worker" else create_app(system.service),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(system.settings.drain.total_seconds())),
    )
    return _Web(config)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        for number in _SIGNALS:  # the second one ends the process at once, which nothing here minds
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in _SIGNALS:
        loop.add_signal_handler(number, first)
