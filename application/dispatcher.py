"""The process manager: claims what is due, keeps a bounded number in flight, drains when asked to stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from application.errors import StoreUnavailable
from application.lanes import OWN, Held, Lanes
from application.ports import Claim, Clock, DispatchQueue, Limits, Wanted
from application.surprises import log_surprise
from application.waiting import first
from domain.events import Priority

_log = logging.getLogger(__name__)

_LOST = float("-inf")  # until when we hold what we have lost

Deliver = Callable[[UUID, Callable[[], bool]], Awaitable[Held | None]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how long to wait for what."""

    concurrency: int
    lease: timedelta
    poll: timedelta
    drain: timedelta


class Dispatcher:
    """One worker for some priorities. Any number may run against one queue; leases keep them apart."""

    def __init__(
        self,
        worker: str,
        queue: DispatchQueue,
        limits: Limits,
        deliver: Deliver,
        clock: Clock,
        pace: Pace,
        priorities: Sequence[Priority] = tuple(Priority),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic` goes on in seconds, whatever is done to the clock, and while the process is suspended."""
        self._worker = worker
        self._queue = queue
        self._limits = limits
        self._deliver = deliver
        self._clock = clock
        self._pace = pace
        self._priorities = priorities
        self._monotonic = monotonic
        self._lanes = Lanes()
        self._room = asyncio.Event()
        self._held = asyncio.Event()  # something was, since the last look at when there is more to do
        self._enough = max(1, pace.concurrency // 2)
        self._in_flight: dict[UUID, asyncio.Task[None]] = {}
        self._next: dict[UUID, tuple[Claim, float]] = {}  # claimed again while in flight
        self._draining = False
        self._held_until: dict[UUID, float] = {}  # by the monotonic clock

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in flight, at most for the drain time."""
        heartbeat = asyncio.create_task(self._keep_leases())
        try:
            while not stop.is_set():
                await self._turn(stop)
            await self._drain()
        finally:
            heartbeat.cancel()

    async def _turn(self, stop: asyncio.Event) -> None:
        free = self._pace.concurrency - len(self._in_flight)
        # Waiting for half of the places keeps claims, and the commits behind them, few and large under load.
        if free < self._enough:
            self._room.clear()
            await first(self._room.wait(), stop.wait())
            return
        asked_at = self._monotonic()
        try:
            claims = await self._queue.claim(self._wanted(free), self._clock())
        except StoreUnavailable:
            claims = []
        for claim in claims:
            self._begin(claim, asked_at)
        if len(claims) < free:
            await self._wait(stop)

    def _wanted(self, limit: int) -> Wanted:
        now = self._clock()
        room = lambda lane, tenant: self._lanes.room(lane, tenant, now)  # noqa: E731
        return Wanted(self._worker, limit, self._pace.lease, self._priorities, room)

    def _begin(self, claim: Claim, asked_at: float) -> None:
        if claim.email_id in self._in_flight:
            # Its outcome made it due again, and is still being learned from. Or our claim had ended, and others may
            # have judged the attempt since: what is under way must not call now. The new claim has its turn next.
            self._held_until[claim.email_id] = _LOST
            self._next[claim.email_id] = (claim, asked_at)
            return
        self._held_until[claim.email_id] = asked_at + self._pace.lease.total_seconds()
        self._in_flight[claim.email_id] = asyncio.create_task(self._one(claim))

    async def _one(self, claim: Claim) -> None:
        email_id = claim.email_id
        try:
            held = await self._deliver(email_id, lambda: self._monotonic() < self._held_until[email_id])
            if held is None:
                self._lanes.went(claim.lane, claim.tenant)
            else:
                await self._hold(claim, held)
        except Exception as error:  # noqa: BLE001 - one email must not end the worker; its lease runs out, then it is due
            log_surprise(_log, f"dealing with email {email_id}", error)
        finally:
            del self._in_flight[email_id], self._held_until[email_id]
            if (again := self._next.pop(email_id, None)) and not self._draining:
                self._begin(*again)
            if self._pace.concurrency - len(self._in_flight) >= self._enough:
                self._room.set()

    async def _hold(self, claim: Claim, held: Held) -> None:
        """Leave it in the queue, in the lane of what it waits for, and that lane alone until it opens."""
        now, lane = self._clock(), held.lane or OWN
        if lane != OWN:
            self._lanes.held(lane, held.until, now)
        tag = "" if lane.startswith("tenant:") else lane
        if tag not in ("", OWN, claim.lane):
            self._lanes.strayed(claim.lane, claim.tenant, now)
        waits = tag.startswith("route:")  # as due as before: when the lane opens, the oldest go first
        try:
            await self._queue.put_back(self._worker, [claim.email_id], tag, None if waits else held.until)
        except StoreUnavailable:
            _log.warning("The store is unavailable; the claim on email %s ends by itself.", claim.email_id)
        self._held.set()

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until the queue changes, something comes due, a lane opens, the poll is up, or we are to stop."""
        self._held.clear()
        timeout = self._pace.poll.total_seconds()
        due = self._lanes.next_opening(self._clock())
        try:
            next_due = await self._queue.next_due(self._clock(), self._priorities)
            due = min(filter(None, (due, next_due)), default=None)
        except StoreUnavailable:
            pass
        if due is not None:
            timeout = min(timeout, max(0.0, (due - self._clock()).total_seconds()))
        await first(self._queue.wait(timeout), self._held.wait(), stop.wait())

    async def _drain(self) -> None:
        self._draining = True
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=self._pace.drain.total_seconds())
        for task in self._in_flight.values():
            task.cancel()  # its intent is recorded; without an outcome it will be in doubt, which is the truth

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._pace.lease.total_seconds() / 3)
            try:
                await self._extend_leases()
            except StoreUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - should this end, every call longer than a lease is in doubt
                log_surprise(_log, "keeping the claims on emails under way", error)

    async def _extend_leases(self) -> None:
        lease, asked_at = self._pace.lease.total_seconds(), self._monotonic()
        held = [id for id, until in self._held_until.items() if _LOST < until < asked_at + lease * 0.7]
        if not held:
            return
        until = self._clock() + self._pace.lease
        extended = await self._queue.extend(self._worker, held, until)
        await self._limits.keep(extended, until)
        for email_id in extended:
            if self._held_until.get(email_id, _LOST) > _LOST:
                self._held_until[email_id] = asked_at + lease
