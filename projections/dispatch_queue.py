"""What waits to be done, one row per email: when it is due, how urgent it is, and which worker holds it.

Agrees with `Email.due_at`, except that it forgets the `expires_at` of an email that left the queue and was requeued.
The last three columns are the workers': who holds the row, in which lane it waits, and when it may be claimed next,
which is when it is due, or when the claim on it ends, or when what it waits for is expected. The fold sets them back
whenever it is done with what the worker did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Index, MetaData, SmallInteger, String, Table, Text, select, text

from domain import events as e
from domain.standing import is_current
from projections import rows
from projections.columns import Id, Instant
from projections.projection import UNTOLD, Events, Projection, Tables, of_stream

EXPIRING = text("expires_at IS NOT NULL")
PRIORITIES: Mapping[e.Priority, int] = {e.Priority.CRITICAL: 0, e.Priority.NORMAL: 1, e.Priority.BULK: 2}


def tables(suffix: str = "") -> Tables:
    name = f"dispatch_queue_v2{suffix}"
    queue = Table(
        name,
        MetaData(),
        Column("email_id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("priority", SmallInteger, nullable=False),
        Column("due_at", Instant),  # NULL: parked for an operator
        Column("expires_at", Instant),
        Column("attempt", SmallInteger, nullable=False),  # the latest
        Column("state", String, nullable=False),  # waiting, sending, unconfirmed
        Column("requeued_at", Instant),
        Column("reached", Text, nullable=False),  # ids of recipients whose fate was reported while it waits
        Column("lease_owner", String, info=UNTOLD),
        Column("lane", String, nullable=False, info=UNTOLD),
        Column("claimable_at", Instant, info=UNTOLD),  # NULL: parked for an operator
        Index(f"{name}_claimable", "priority", "lane", "tenant", "claimable_at"),
        Index(f"{name}_next", "priority", "claimable_at"),
        Index(f"{name}_expiring", "expires_at", postgresql_where=EXPIRING, sqlite_where=EXPIRING),
        info=of_stream("email_id"),
    )
    return (queue,)


(QUEUE,) = tables()
_FOLDED = QUEUE.columns.keys()[:-3]
_FREED = [*_FOLDED, "lease_owner", "claimable_at"]  # the lane is left as it is: it is no more than a guess
_values: Callable[[Any], rows.Row] = attrgetter(*_FOLDED)


@dataclass(slots=True)
class _Row:
    """One email in the queue while a batch is folded into it."""

    email_id: UUID
    tenant: str
    priority: int
    due_at: datetime | None
    expires_at: datetime | None = None
    attempt: int = 0
    state: str = "waiting"
    requeued_at: datetime | None = None
    reached: str = ""

    def due(self, at: datetime, recipients: tuple[UUID, ...]) -> "_Row | None":
        """The row once it waits until `at`; None when none of these recipients is left to send to."""
        if all(id.hex in self.reached for id in recipients):
            return None
        self.state, self.due_at = "waiting", self.by_expiry(at)
        return self

    def by_expiry(self, at: datetime) -> datetime:
        return min(at, self.expires_at) if self.expires_at else at


# -- fold: what each event makes of the row of its email, None being no row ------------------------------------------


def _queued(row: _Row | None, event: e.EmailQueued) -> _Row:
    new = _Row(event.originator_id, event.tenant, PRIORITIES[event.priority], None, event.expires_at)
    new.due_at = new.by_expiry(event.send_at or event.occurred_at)
    return new


def _rescheduled(row: _Row, event: e.EmailRescheduled) -> _Row:
    row.due_at = row.by_expiry(event.send_at)
    return row


def _started(row: _Row, event: e.EmailDeliveryStarted) -> _Row:
    row.state, row.attempt, row.due_at = "sending", event.attempt, event.deadline
    return row


def _dispatched(row: _Row, event: e.EmailDispatched) -> _Row | None:
    return row if event.put_off else None  # the EmailDeliveryDeferred that follows says until when


def _deferred(row: _Row, event: e.EmailDeliveryDeferred) -> _Row | None:
    return row.due(event.retry_at, event.recipients)


def _unconfirmed(row: _Row, event: e.EmailDeliveryUnconfirmed) -> _Row:
    row.state, row.due_at = "unconfirmed", event.settle_at
    return row


def _resolved(row: _Row, event: e.EmailDeliveryResolved) -> _Row | None:
    if event.resolution is e.Resolution.ACCEPTED:  # of whom a later attempt, still open, may yet be put off
        row.reached += "".join(f"{id.hex} " for id in event.recipients)
    if row.state != "waiting" and row.attempt != event.attempt:
        return row  # late news of an earlier attempt while another one is open
    if event.doubtful:
        return row
    return row.due(event.occurred_at, event.put_off)


def _requeued(row: _Row | None, event: e.EmailRequeued) -> _Row:
    at = event.occurred_at
    return _Row(event.originator_id, event.tenant, PRIORITIES[event.priority], at, requeued_at=at)


def _reached(row: _Row, event: e.RecipientEvent) -> _Row:
    if isinstance(event, e.EmailRecipientDeliveryFailed) and not event.final:
        return row
    if is_current(event.provider_at, row.requeued_at):
        row.reached += f"{event.recipient_id.hex} "
    return row


def _ended(row: _Row, event: e.Event) -> None:
    return None


_ENTRY: Mapping[type[e.Event], Callable[[Any, Any], _Row]] = {e.EmailQueued: _queued, e.EmailRequeued: _requeued}
_STEPS: Mapping[type[e.Event], Callable[[Any, Any], _Row | None]] = {
    **_ENTRY,
    e.EmailRescheduled: _rescheduled,
    e.EmailDeliveryStarted: _started,
    e.EmailDispatched: _dispatched,
    e.EmailDeliveryDeferred: _deferred,
    e.EmailDeliveryUnconfirmed: _unconfirmed,
    e.EmailDeliveryResolved: _resolved,
    e.EmailRecipientDelivered: _reached,
    e.EmailRecipientDeliveryFailed: _reached,
    e.EmailRecipientSuppressed: _reached,
    e.EmailRecipientComplained: _reached,
    e.EmailCancelled: _ended,
    e.EmailExpired: _ended,
    e.EmailDeliveryFailed: _ended,
}
_FREEING = (  # the worker is done with it, or has to look again
    e.EmailDeliveryDeferred,
    e.EmailDeliveryUnconfirmed,
    e.EmailDeliveryResolved,
    e.EmailRescheduled,
    e.EmailRequeued,
)


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (queue,) = into
    mine = [p.event for p in events if type(p.event) in _STEPS]
    new = {event.originator_id for event in mine if type(event) is e.EmailQueued}
    known = {event.originator_id for event in mine} - new
    found = rows.fetch(connection, queue, "email_id", known, [*_FOLDED, "lease_owner"])
    before = {row[0]: row[:-1] for row in found}
    held = {row[0] for row in found if row[-1] is not None}
    after: dict[UUID, _Row | None] = {id: _Row(*row) for id, row in before.items()}
    freed: set[UUID] = set()
    for event in mine:
        row = after.get(event.originator_id)
        if row or type(event) in _ENTRY:
            after[event.originator_id] = _STEPS[type(event)](row, event)
            if isinstance(event, _FREEING):
                freed.add(event.originator_id)
    _write(connection, queue, before, after, held - freed)


def _write(
    connection: Connection,
    queue: Table,
    before: Mapping[UUID, rows.Row],
    after: Mapping[UUID, _Row | None],
    held: set[UUID],
) -> None:
    """Of rows that a worker holds, and has to hold on to, only the folded columns are written."""
    rows.delete(connection, queue, "email_id", [id for id in before if after[id] is None])
    values = {id: _values(row) for id, row in after.items() if row}
    rows.insert(connection, queue, [(*row, None, "", row[3]) for id, row in values.items() if id not in before])
    free = {id: row for id, row in values.items() if id in before and id not in held}
    rows.update(connection, queue, [(*row, None, row[3]) for row in free.values()], _FREED)
    changed = [row for id, row in values.items() if id in held and row != before[id]]
    rows.update(connection, queue, changed, _FOLDED)


def _carry_leases(connection: Connection, live: Tables, rebuilt: Tables) -> None:
    c = live[0].c
    held = connection.execute(select(c.email_id, c.lease_owner, c.claimable_at).where(c.lease_owner.is_not(None)))
    leases = [(id, owner, until) for id, owner, until in held]
    rows.update(connection, rebuilt[0], leases, ("email_id", "lease_owner", "claimable_at"))


# -- queries ---------------------------------------------------------------------------------------------------------


def due_times(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    """Of these emails, those that are in the queue, each with when it is due; None: parked for an operator."""
    c = QUEUE.c
    found = connection.execute(select(c.email_id, c.due_at).where(c.email_id.in_(ids)))
    return {id: due_at for id, due_at in found}


PROJECTION = Projection("dispatch_queue", 2, tables, fold, _carry_leases)
