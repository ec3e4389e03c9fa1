"""The states of an email, and of each of its recipients."""

from enum import StrEnum


class EmailStatus(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    UNCONFIRMED = "unconfirmed"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    PARTIALLY_DELIVERED = "partially_delivered"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class RecipientStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
