"""Which email a provider means by its own message id, for reports that bring no id of ours."""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from uuid import UUID

from sqlalchemy import Column, Connection, Index, MetaData, String, Table, Text, select

from domain import events as e
from projections import rows
from projections.columns import Id
from projections.projection import Events, Projection, Tables, of_kinds, of_stream

_ID = 36  # characters of a UUID
_AT_ONCE = 1000  # values in one statement: PostgreSQL takes 65,535, SQLite 32,766


def tables(suffix: str = "") -> Tables:
    name = f"provider_messages_v1{suffix}"
    messages = Table(
        name,
        MetaData(),
        Column("provider", String, nullable=False),
        Column("message_id", Text, nullable=False),
        Column("email_id", Id, nullable=False),
        Index(f"{name}_by_message_id", "message_id"),
        info=of_stream("email_id"),
    )
    return (messages,)


(MESSAGES,) = tables()


_KINDS: tuple[type[e.EmailDispatched | e.EmailDeliveryResolved], ...] = (e.EmailDispatched, e.EmailDeliveryResolved)


def fold(connection: Connection, into: Tables, events: Events) -> None:
    (messages,) = into
    found = [row for _, event in of_kinds(events, _KINDS) for row in _messages(event)]
    rows.insert(connection, messages, list(dict.fromkeys(found)))


def _messages(event: e.EmailDispatched | e.EmailDeliveryResolved) -> Iterable[rows.Row]:
    for message in event.messages:
        if email_in(message.message_id) != event.originator_id:
            yield event.provider, message.message_id, event.originator_id


def email_in(message_id: str) -> UUID | None:
    """Our own Message-ID begins with the email's id, and needs no table."""
    try:
        return UUID(message_id[:_ID]) if message_id[_ID : _ID + 1] == "@" else None
    except ValueError:
        return None


# -- queries ---------------------------------------------------------------------------------------------------------


def emails(connection: Connection, provider: str, message_ids: Collection[str]) -> Mapping[str, UUID]:
    """The email of each of these ids that is known."""
    found = {id: email for id in message_ids if (email := email_in(id))}
    c, waiting = MESSAGES.c, iter(set(message_ids) - found.keys())
    while some := list(islice(waiting, _AT_ONCE)):
        query = select(c.message_id, c.email_id).where(c.message_id.in_(some), c.provider == provider)
        found.update((row.message_id, row.email_id) for row in connection.execute(query))
    return found


PROJECTION = Projection("provider_messages", 1, tables, fold)
