"""The loops of a worker process: projections, delivery, what is fetched from providers, and sweeping."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from application.blob_sweep import InUse, sweep_orphans
from application.dispatcher import Dispatcher
from application.errors import ApplicationError, ProviderTrouble, Untrusted
from application.inbox import Inbox
from application.ports import BlobStore, Clock, Hook, LimitSource, Rate
from application.surprises import log_surprise
from infrastructure.database.leadership import Leadership
from infrastructure.projection_runner import ProjectionRunner

Keep = Callable[[Hook, str], Awaitable[None]]  # keeps a delivery durably under its key; raises StoreUnavailable
Loop = Callable[[asyncio.Event], Awaitable[None]]  # works until the event is set


class Poller(Protocol):
    """Fetches feedback from where a provider leaves it, verifies it, and has it kept before it takes it away."""

    async def run(self, keep: Keep, stop: asyncio.Event) -> None: ...

    async def close(self) -> None: ...


_SWEEP_EVERY = 3600.0  # seconds
_LEARN_EVERY = 60.0  # seconds

_log = logging.getLogger(__name__)


async def run_worker(
    runner: ProjectionRunner,
    dispatchers: Sequence[Dispatcher],
    loops: Sequence[Loop],
    sweep: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
) -> None:
    """Run until `stop` is set. Deliveries drain first; the read models follow what they still record."""
    projected = asyncio.Event()
    projecting = asyncio.create_task(runner.run(projected))
    sweeping = asyncio.create_task(_repeat(sweep, _SWEEP_EVERY))
    try:
        await asyncio.gather(*(dispatcher.run(stop) for dispatcher in dispatchers), *(loop(stop) for loop in loops))
    finally:
        sweeping.cancel()
        projected.set()
        await projecting


def sweeper(
    blobs: BlobStore, in_use: InUse, forget: Callable[[datetime], Awaitable[int]], keep: timedelta, clock: Clock
) -> Callable[[], Awaitable[object]]:
    """`forget` deletes deliveries of providers that are older than `keep`."""

    async def sweep() -> None:
        if forgotten := await forget(clock() - keep):
            _log.info("deleted %d old deliveries from the inbox", forgotten)
        if removed := await sweep_orphans(blobs, in_use, clock):
            _log.info("removed %d attachments that no email refers to", removed)

    return sweep


def fetching(poller: Poller, provider: str, inbox: Inbox, count: Callable[[str, str], None]) -> Loop:
    """Brings into the inbox what has to be fetched from a provider; what comes to `count` is as for its webhooks."""

    async def keep(hook: Hook, key: str) -> None:
        try:
            count(provider, "stored" if await inbox.keep(provider, key, hook) else "duplicate")
        except Untrusted as refused:
            count(provider, refused.reason)

    async def fetch(stop: asyncio.Event) -> None:
        try:
            await poller.run(keep, stop)
        finally:
            await poller.close()

    return fetch


class Watch(Protocol):
    """Looks at something now and then, while `leads` says that it is on this process."""

    async def run(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None: ...


def watching(watch: Watch, leadership: Leadership) -> Loop:
    """Watches in one process at a time."""

    async def leads() -> bool:
        return await asyncio.to_thread(leadership.hold)

    async def run(stop: asyncio.Event) -> None:
        try:
            await watch.run(leads, stop)
        finally:
            await asyncio.to_thread(leadership.give_up)

    return run


def learning(sources: Mapping[str, LimitSource], learn: Callable[[str, Sequence[Rate]], None]) -> Loop:
    """Asks providers now and then how much they take; what one said last holds until it says something else."""

    async def ask(name: str, source: LimitSource) -> None:
        try:
            learn(name, await source.limits())
        except ProviderTrouble as trouble:
            _log.warning("%s does not say how much it takes: %s", name, trouble)

    async def loop(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.gather(*(ask(name, source) for name, source in sources.items()))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LEARN_EVERY)

    return loop


async def _repeat(work: Callable[[], Awaitable[object]], every: float) -> None:
    """Do the work now and then; some jitter keeps many processes from doing it all at once."""
    while True:
        await asyncio.sleep(every * (0.5 + random.random()))  # noqa: S311 - not a secret
        try:
            await work()
        except (ApplicationError, OSError) as error:
            log_surprise(_log, "sweeping", error)
