"""Emails and events to test with: the plainest of each, with what matters to a test given by it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from application.ports import StoredContent
from domain import events as e
from domain.address import parse_mailbox
from domain.answer import Answer
from domain.content import Content, content_ref
from domain.delivery import DeliveryPolicy
from domain.draft import Draft
from domain.email import Email
from domain.ids import recipient_id, uuid7

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)


def stamp(now: datetime = NOW, actor: str = "test") -> e.Stamp:
    return e.Stamp(now=now, actor=actor, correlation_id=UUID(int=1))


def content(text: str = "Hello") -> Content:
    return Content(text=text)


def draft(id: UUID, *to: str, **fields: Any) -> Draft:
    """A draft to these recipients (one `ada@example.com` when none is named)."""
    recipients = tuple(
        e.Recipient(id=recipient_id(id, place), kind="to", address=address)
        for place, address in enumerate(to or ("ada@example.com",))
    )
    defaults: dict[str, Any] = {
        "sender": parse_mailbox("Postledger <service@example.org>"),
        "recipients": recipients,
        "subject": "Hello",
        "content": content_ref(content().encode()),
        "policy": DeliveryPolicy(),
        "fingerprint": "f" * 64,
    }
    return Draft(**{**defaults, **fields})


def queued(*to: str, now: datetime = NOW, id: UUID | None = None, tenant: str = "default", **fields: Any) -> Email:
    """An accepted email; its EmailQueued is still to be collected."""
    id = id or uuid7(now)
    return Email.queue(id, tenant, draft(id, *to, **fields), stamp(now))


def stored_content(email: Email, *blobs: str) -> StoredContent:
    return StoredContent(email.id, content().encode(), blobs)


def taken(email: Email) -> Answer:
    """The provider took it for everyone."""
    return Answer(
        messages=tuple(e.ProviderMessage(recipient_id=id, message_id=f"m-{id}") for id in email.standing.recipients)
    )
