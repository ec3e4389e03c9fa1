"""Emails as a provider is given them, for the tests of adapters."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from application.ports import OutgoingMessage
from domain.address import Mailbox, normalise
from domain.content import Content, content_ref
from domain.delivery import DeliveryPolicy
from domain.events import AttachmentRef, EmailDeliveryStarted, EmailQueued, Recipient
from domain.ids import recipient_id
from tests.providers_fake import MemoryBlobs

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EMAIL_ID = UUID("0195f3a0-0000-7000-8000-000000000001")
_BOOKKEEPING = {"occurred_at": NOW, "tenant": "default", "actor": "api:test", "correlation_id": EMAIL_ID}


def attach(
    data: bytes, filename: str, content_type: str = "application/pdf", content_id: str | None = None
) -> tuple[AttachmentRef, bytes]:
    sha256 = hashlib.sha256(data).hexdigest()
    reference = AttachmentRef(
        sha256=sha256, size=len(data), filename=filename, content_type=content_type, content_id=content_id
    )
    return reference, data


def outgoing(
    to: Sequence[str] = ("ada@example.com",),
    *,
    cc: Sequence[str] = (),
    bcc: Sequence[str] = (),
    sender: Mailbox | None = None,
    reply_to: tuple[Mailbox, ...] = (),
    subject: str = "Hello",
    content: Content | None = None,
    attachments: Sequence[tuple[AttachmentRef, bytes]] = (),
    names: Sequence[str] = (),
    attempt: int = 1,
    email_id: UUID = EMAIL_ID,
) -> OutgoingMessage:
    """One attempt at all recipients; `names` are those of the first ones, in the order to, cc, bcc."""
    content = content or Content(text="Hello Ada", html="<p>Hello Ada</p>")
    addressed = [(kind, each) for kind, group in (("to", to), ("cc", cc), ("bcc", bcc)) for each in group]
    recipients = tuple(
        Recipient(
            id=recipient_id(email_id, index),
            kind=kind,
            address=normalise(address),
            name=names[index] if index < len(names) else "",
        )
        for index, (kind, address) in enumerate(addressed)
    )
    email = EmailQueued(
        **_BOOKKEEPING,
        originator_id=email_id,
        originator_version=1,
        event_id=recipient_id(email_id, 1001),
        sender=sender or Mailbox(address="news@sender.example"),
        recipients=recipients,
        reply_to=reply_to,
        subject=subject,
        content=content_ref(content.encode()),
        attachments=tuple(reference for reference, _ in attachments),
        policy=DeliveryPolicy(),
        fingerprint="f" * 64,
    )
    started = EmailDeliveryStarted(
        **_BOOKKEEPING,
        originator_id=email_id,
        originator_version=attempt * 2,
        event_id=recipient_id(email_id, 1001 + attempt),
        attempt=attempt,
        provider="test",
        token=f"{email_id.hex}-0",
        route="default",
        recipients=tuple(recipient.id for recipient in recipients),
        deadline=NOW + timedelta(minutes=15),
    )
    blobs = MemoryBlobs(NOW, *(data for _, data in attachments))
    return OutgoingMessage(email=email, attempt=started, content=content, date=NOW, blobs=blobs)
