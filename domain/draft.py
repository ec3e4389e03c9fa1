"""What a SendEmail command asks for, checked and normalised."""

from datetime import datetime
from typing import NamedTuple

from domain import events as e
from domain.address import Mailbox
from domain.delivery import DeliveryPolicy


class Draft(NamedTuple):
    """The fields of EmailQueued that are not bookkeeping."""

    sender: Mailbox
    recipients: tuple[e.Recipient, ...]
    subject: str
    content: e.ContentRef
    policy: DeliveryPolicy
    reply_to: tuple[Mailbox, ...] = ()
    attachments: tuple[e.AttachmentRef, ...] = ()
    tags: tuple[e.Tag, ...] = ()
    metadata: dict[str, str] | None = None
    priority: e.Priority = e.Priority.NORMAL
    stream: str = "transactional"
    send_at: datetime | None = None
    expires_at: datetime | None = None
    fingerprint: str | None = None
