"""The list of emails: one row each, with where it stands; found by what it is about, where it stands, and time."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text

from domain import events as e
from domain.standing import Standing
from projections import rows, terms
from projections.columns import Id, Instant
from projections.projection import SUMS, Events, Projection, Tables, of_kinds, of_stream


def tables(suffix: str = "") -> Tables:
    """Emails, the terms they are found by, and how many stand where."""
    name, metadata = f"emails_v2{suffix}", MetaData()
    emails = Table(
        name,
        metadata,
        Column("id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("queued_position", BigInteger, nullable=False),  # the order of lists
        Column("created_at", Instant, nullable=False),
        Column("sender", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("envelope", Text, nullable=False),  # JSON: to, cc, bcc, reply_to
        Column("status", String, nullable=False),
        Column("last_event", String, nullable=False),
        Column("provider", String),
        Column("attempts", Integer, nullable=False),
        Column("scheduled_at", Instant),
        Column("updated_at", Instant, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("standing", Text, nullable=False),  # JSON: domain.standing.Standing, for the fold to go on from
        Index(f"{name}_by_tenant", "tenant", "queued_position"),
        Index(f"{name}_by_status", "tenant", "status", "queued_position"),
        Index(f"{name}_by_provider", "tenant", "provider", "queued_position"),
        Index(f"{name}_by_time", "tenant", "created_at"),
        info=of_stream("id"),
    )
    postings = Table(
        f"email_terms_v2{suffix}",
        metadata,
        Column("tenant", String, nullable=False),
        Column("term", Text, nullable=False),
        Column("queued_position", BigInteger, nullable=False),
        Index(f"email_terms_v2{suffix}_by_term", "tenant", "term", "queued_position"),
        info=of_stream("queued_position"),
    )
    counts = Table(
        f"email_counts_v2{suffix}",
        metadata,
        Column("tenant", String, primary_key=True),
        Column("status", String, primary_key=True),
        Column("emails", BigInteger, nullable=False),
        info=SUMS,
    )
    return emails, postings, counts


EMAILS, TERMS, COUNTS = tables()
_KNOWN = ("id", "standing", "tenant", "status", "provider", "attempts", "scheduled_at")
_CHANGED = (
    *("id", "status", "last_event", "provider", "attempts"),
    *("scheduled_at", "updated_at", "position", "standing"),
)


# -- fold ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Email:
    """One email while a batch is folded into it."""

    standing: Standing
    tenant: str
    counted: str | None = None  # the status under which it is counted already
    provider: str | None = None
    attempts: int = 0
    scheduled_at: datetime | None = None
    updated_at: datetime | None = None
    position: int = 0

    def take(self, position: int, event: e.Event) -> None:
        self.standing.apply(event)
        self.position, self.updated_at = position, event.occurred_at
        if type(event) is e.EmailDeliveryStarted:
            self.provider, self.attempts = event.provider, event.attempt
        elif type(event) is e.EmailQueued or type(event) is e.EmailRescheduled:
            self.scheduled_at = event.send_at

    def values(self) -> rows.Row:
        """Values of the columns that change, in order."""
        standing = self.standing
        return (
            *(standing.status.value, standing.last_event, self.provider, self.attempts, self.scheduled_at),
            *(self.updated_at, self.position, standing.encode()),
        )


def fold(connection: Connection, into: Tables, events: Events) -> None:
    emails, postings, counts = into
    new = of_kinds(events, [e.EmailQueued])
    touched = {event.originator_id: _Email(Standing.opened(event), event.tenant) for _, event in new}
    touched |= _stored(connection, emails, {p.event.originator_id for p in events} - touched.keys())
    for placed in events:
        if email := touched.get(placed.event.originator_id):
            email.take(placed.position, placed.event)
    values = {id: email.values() for id, email in touched.items()}
    rows.add(connection, counts, _moves(touched, values), keys=2)
    rows.insert(connection, postings, [posting for queued in new for posting in _terms(*queued)])
    rows.insert(connection, emails, [_accepted(*queued) + values.pop(queued[1].originator_id) for queued in new])
    rows.update(connection, emails, [(id, *changed) for id, changed in values.items()], _CHANGED)


def _stored(connection: Connection, emails: Table, ids: set[UUID]) -> dict[UUID, _Email]:
    found = rows.fetch(connection, emails, "id", ids, _KNOWN)
    return {id: _Email(Standing.decode(standing), *known) for id, standing, *known in found}


def _accepted(position: int, event: e.EmailQueued) -> rows.Row:
    """Values of the columns that never change, in order."""
    envelope: dict[str, list[str]] = {}
    for r in event.recipients:
        envelope.setdefault(r.kind, []).append(f"{r.name} <{r.address}>" if r.name else r.address)
    if event.reply_to:
        envelope["reply_to"] = [str(mailbox) for mailbox in event.reply_to]
    written = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    return event.originator_id, event.tenant, position, event.occurred_at, str(event.sender), event.subject, written


def _terms(position: int, event: e.EmailQueued) -> Iterable[rows.Row]:
    return [(event.tenant, term, position) for term in sorted(terms.of_email(event))]


def _moves(touched: Mapping[UUID, _Email], values: Mapping[UUID, rows.Row]) -> list[rows.Row]:
    """By how much each (tenant, status) gains or loses."""
    moves: Counter[tuple[str, str]] = Counter()
    for id, email in touched.items():
        moves[email.tenant, values[id][0]] += 1
        if email.counted:
            moves[email.tenant, email.counted] -= 1
    return [(*key, by) for key, by in sorted(moves.items()) if by]


PROJECTION = Projection("emails", 2, tables, fold)
