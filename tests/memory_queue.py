"""The dispatch queue in memory; passes the contract suite of the one on SQL."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from uuid import UUID

from application.lanes import OWN
from application.ports import Claim, Recorded, Wanted
from domain import events as e
from domain.email import Email
from domain.status import EmailStatus

_OVERDUE = 10
_FREEING = (
    e.EmailDeliveryDeferred,
    e.EmailDeliveryUnconfirmed,
    e.EmailDeliveryResolved,
    e.EmailRescheduled,
    e.EmailRequeued,
)


@dataclass(slots=True)
class Row:
    """One email that waits for something."""

    email: Email
    priority: e.Priority
    claimable_at: datetime | None
    due_at: datetime | None = None
    owner: str | None = None
    lane: str = ""

    def due(self, now: datetime) -> bool:
        return self.claimable_at is not None and self.claimable_at <= now


class MemoryDispatchQueue:
    """Implements the port DispatchQueue over emails that it folds itself."""

    def __init__(self, chance: Random | None = None) -> None:
        self.rows: dict[UUID, Row] = {}
        self._emails: dict[UUID, Email] = {}
        self._chance = chance or Random(0)
        self._bell = Bell()

    # -- the read model ------------------------------------------------------------------------------------------

    def fold(self, events: Iterable[Recorded]) -> None:
        """Follow a page of the log."""
        touched: dict[UUID, bool] = {}  # whether a worker's claim on it is over
        for event in (recorded.event for recorded in events):
            id = event.originator_id
            if isinstance(event, e.EmailQueued):
                self._emails[id] = Email(id)
            if id not in self._emails:
                continue
            self._emails[id].apply(event)
            if isinstance(event, e.EmailQueued | e.EmailRequeued):
                self.rows[id] = Row(self._emails[id], event.priority, None)
            touched[id] = touched.get(id, False) or isinstance(event, _FREEING)
        for id, freed in touched.items():
            self._settle(id, freed)
        self._bell.ring()

    async def follow(self, events: Sequence[Recorded]) -> None:
        """`fold`, where the caller awaits it."""
        self.fold(events)

    def _settle(self, id: UUID, freed: bool) -> None:
        row, email = self.rows.get(id), self._emails[id]
        if row is None:
            return
        row.due_at = email.due_at
        if email.due_at is None and email.status is not EmailStatus.UNCONFIRMED:
            del self.rows[id]
        elif row.owner is None or freed:
            row.owner, row.claimable_at = None, row.due_at

    # -- the port ------------------------------------------------------------------------------------------------

    async def claim(self, wanted: Wanted, now: datetime) -> list[Claim]:
        await asyncio.sleep(0)
        claims: list[Claim] = []
        for priority in wanted.priorities:
            due = {id: row for id, row in self.rows.items() if row.priority is priority and row.due(now)}
            claims += self._lease(self._overdue(due, now)[: max(0, wanted.limit - len(claims))], wanted, now)
            lines = self._lines({id: row for id, row in due.items() if row.due(now)}, wanted)
            claims += self._lease(self._shares(lines, wanted.limit - len(claims)), wanted, now)
        return claims

    async def extend(self, worker: str, email_ids: Sequence[UUID], until: datetime) -> list[UUID]:
        await asyncio.sleep(0)
        mine = [id for id in email_ids if id in self.rows and self.rows[id].owner == worker]
        for id in mine:
            self.rows[id].claimable_at = until
        return mine

    async def put_back(self, worker: str, email_ids: Sequence[UUID], lane: str, until: datetime | None = None) -> None:
        await asyncio.sleep(0)
        for id in email_ids:
            row = self.rows.get(id)
            if row and row.owner == worker:
                row.owner, row.lane, row.claimable_at = None, lane, until or row.due_at

    async def next_due(self, now: datetime, priorities: Sequence[e.Priority]) -> datetime | None:
        await asyncio.sleep(0)
        times = [row.claimable_at for row in self.rows.values() if row.claimable_at and row.priority in priorities]
        return min((at for at in times if at > now), default=None)

    async def wait(self, timeout: float) -> None:
        await self._bell.wait(timeout)

    # -- inside --------------------------------------------------------------------------------------------------

    def _overdue(self, due: dict[UUID, Row], now: datetime) -> list[UUID]:
        late = [(at, id) for id, row in due.items() if (at := row.email.expires_at) and at <= now]
        return [id for _, id in sorted(late)[:_OVERDUE]]

    def _lines(self, due: dict[UUID, Row], wanted: Wanted) -> list[tuple[str, list[UUID]]]:
        """What is due of each lane and tenant, the oldest first, as much of it as there is room for."""
        lines: defaultdict[tuple[str, str], list[UUID]] = defaultdict(list)
        for id in sorted(due, key=lambda id: (due[id].claimable_at, id)):
            lines[due[id].lane, due[id].email.tenant].append(id)
        rooms = {key: wanted.room(*key) for key in sorted(lines)}
        found = [(key[1], lines[key][:room]) for key, room in rooms.items() if room]
        self._chance.shuffle(found)
        return found

    def _shares(self, lines: list[tuple[str, list[UUID]]], limit: int) -> list[UUID]:
        """One from each line, and of the rest each tenant its share, until there is nothing left, or no room."""
        taken: list[UUID] = []
        while lines and (left := limit - len(taken)) > 0:
            tenants = list(dict.fromkeys(tenant for tenant, _ in lines))
            enough, share = len(lines) <= left, max(1, left // len(tenants))
            rest = (left - len(lines)) // len(tenants)
            for tenant in tenants[:left]:
                asked = [line for owner, line in lines if owner == tenant][: None if enough else share]
                each = 1 + rest // len(asked) if enough else share // len(asked)
                for line in asked:
                    taken += line[:each]
                    del line[:each]
            lines = [(tenant, line) for tenant, line in lines if line]
        return taken

    def _lease(self, ids: Sequence[UUID], wanted: Wanted, now: datetime) -> list[Claim]:
        until, places = now + wanted.lease, Counter[str]()
        turns: list[tuple[int, datetime, UUID]] = []
        lanes = {id: self.rows[id].lane for id in ids}
        for id in sorted(ids, key=lambda id: (self.rows[id].due_at or now, id)):
            row = self.rows[id]
            row.owner, row.lane, row.claimable_at = wanted.worker, OWN, until
            turns.append((places[row.email.tenant], row.due_at or now, id))
            places[row.email.tenant] += 1
        return [Claim(id, until, self.rows[id].email.tenant, lanes[id]) for *_, id in sorted(turns)]


class Bell:
    """Wakes those who wait, in the order in which they came: the same in every run."""

    def __init__(self) -> None:
        self._waiters: dict[int, asyncio.Event] = {}
        self._number = 0

    def ring(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for woken in waiters.values():
            woken.set()

    async def wait(self, timeout: float) -> None:
        self._number += 1
        number, woken = self._number, asyncio.Event()
        self._waiters[number] = woken
        try:
            async with asyncio.timeout(timeout):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters.pop(number, None)
