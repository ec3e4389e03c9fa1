"""Every recipient of every email: what became of it, found by who it is, where it stands, and time."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Integer, MetaData, String, Table, Text

from domain import events as e
from domain.standing import RecipientStanding, Standing
from domain.status import EmailStatus, RecipientStatus
from projections import rows
from projections.columns import Bytewise, Id, Instant
from projections.projection import Events, Projection, Tables, of_kinds, of_stream

_STANDING = ("status", "at", "since", "handed_over", "opened_at", "clicked_at", "unsubscribed_at")
_DETAILS = ("provider", "bounce_class", "reason", "smtp_status", "enhanced_status")
_FOUND_BY = ("domain", "status", "bounce_class", "provider")
_KNOWN = ("email_id", "id", "kind", "address", "name", *_STANDING, *_DETAILS)
_CHANGED = ("email_id", "id", *_STANDING, *_DETAILS)


def tables(suffix: str = "") -> Tables:
    name = f"recipients_v2{suffix}"
    recipients = Table(
        name,
        MetaData(),
        Column("email_id", Id, primary_key=True),
        Column("id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("queued_position", BigInteger, nullable=False),  # the order of lists
        Column("created_at", Instant, nullable=False),  # when the email was accepted
        Column("kind", String, nullable=False),
        Column("address", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("key", Bytewise, nullable=False),  # the address, case folded
        Column("domain", Text, nullable=False),  # case folded
        Column("status", String, nullable=False),
        Column("at", Instant),  # the provider's time behind `status`
        Column("since", Instant),
        Column("handed_over", Boolean(create_constraint=False), nullable=False),
        Column("opened_at", Instant),
        Column("clicked_at", Instant),
        Column("unsubscribed_at", Instant),
        Column("provider", String),
        Column("bounce_class", String),
        Column("reason", Text),
        Column("smtp_status", Integer),
        Column("enhanced_status", String),
        Index(f"{name}_by_tenant", "tenant", "queued_position"),
        Index(f"{name}_by_address", "tenant", "key", "queued_position"),
        *(Index(f"{name}_by_{column}", "tenant", column, "queued_position") for column in _FOUND_BY),
        info=of_stream("email_id"),
    )
    return (recipients,)


(RECIPIENTS,) = tables()


# -- fold ------------------------------------------------------------------------------------------------------------

_NOTHING: rows.Row = (None, None, None, None)


@dataclass(slots=True)
class _Email:
    """The recipients of one email while a batch is folded into them; statuses fold as the domain says."""

    standing: Standing
    provider: dict[UUID, str | None]
    details: dict[UUID, rows.Row]

    @classmethod
    def of(cls, recipients: Iterable[RecipientStanding]) -> "_Email":
        known = {r.id: r for r in recipients}
        return cls(Standing(known, waiting=EmailStatus.QUEUED), {}, {})

    def take(self, event: e.Event) -> None:
        if e.is_about_recipient(event):
            self._report(event)
            return
        self.standing.apply(event)
        if isinstance(event, (e.EmailDispatched, e.EmailDeliveryResolved)):
            self.provider.update((message.recipient_id, event.provider) for message in event.messages)
        elif isinstance(event, e.EmailRequeued):
            self.details.update((id, _NOTHING) for id in event.recipients)

    def _report(self, event: e.RecipientEvent) -> None:
        recipient = self.standing.recipients[event.recipient_id]
        before = recipient.status, recipient.at
        self.standing.apply(event)
        self.provider[recipient.id] = event.provider
        if (recipient.status, recipient.at) != before:
            self.details[recipient.id] = _details(event)

    def changes(self) -> dict[UUID, rows.Row]:
        """Values of `_STANDING` and `_DETAILS` by recipient."""
        return {
            r.id: (
                *(r.status.value, r.at, r.since, r.handed_over, r.opened_at, r.clicked_at, r.unsubscribed_at),
                self.provider.get(r.id),
                *self.details.get(r.id, _NOTHING),
            )
            for r in self.standing.recipients.values()
        }


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (recipients,) = into
    new = of_kinds(events, [e.EmailQueued])
    touched = {event.originator_id: _Email.of(Standing.opened(event).recipients.values()) for _, event in new}
    touched |= _stored(connection, recipients, {p.event.originator_id for p in events} - touched.keys())
    for placed in events:
        if email := touched.get(placed.event.originator_id):
            email.take(placed.event)
    changes = {id: email.changes() for id, email in touched.items()}
    rows.insert(connection, recipients, [row for queued in new for row in _accepted(*queued, changes)])
    changed = [(id, person, *values) for id, people in changes.items() for person, values in people.items()]
    rows.update(connection, recipients, changed, _CHANGED, keys=2)


def _stored(connection: Connection, recipients: Table, ids: set[UUID]) -> dict[UUID, _Email]:
    found: dict[UUID, _Email] = {}
    count = 5 + len(_STANDING)
    for row in rows.fetch(connection, recipients, "email_id", ids, _KNOWN):
        email_id, id, kind, address, name, status, *standing = row[:count]
        email = found.setdefault(email_id, _Email.of(()))
        email.standing.recipients[id] = RecipientStanding(id, kind, address, name, RecipientStatus(status), *standing)
        email.provider[id], *details = row[count:]
        email.details[id] = tuple(details)
    return found


def _accepted(position: int, event: e.EmailQueued, changes: dict[UUID, dict[UUID, rows.Row]]) -> Iterable[rows.Row]:
    values = changes.pop(event.originator_id)
    for r in event.recipients:
        key = r.address.casefold()
        fixed = (event.originator_id, r.id, event.tenant, position, event.occurred_at, r.kind, r.address, r.name)
        yield *fixed, key, key.rpartition("@")[2], *values[r.id]


def _details(event: e.RecipientEvent) -> rows.Row:
    if isinstance(event, e.EmailRecipientDeliveryFailed):
        return event.bounce_class, event.reason, event.smtp_status, event.enhanced_status
    if isinstance(event, e.EmailRecipientDeferred):
        return None, None, event.smtp_status, event.enhanced_status
    if isinstance(event, e.EmailRecipientSuppressed):
        return None, event.rule, None, None
    return _NOTHING


PROJECTION = Projection("recipients", 2, tables, fold)
