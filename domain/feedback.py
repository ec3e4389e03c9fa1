"""What a provider told us after it took a message, in our own words: who it is about is still to be found."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.events import BounceClass


class Kind(StrEnum):
    """Everything a provider can say, whatever its own word for it is."""

    ACCEPTED = "accepted"  # the provider has it in its queue
    SENT = "sent"  # on its way to the recipient's server
    DELIVERED = "delivered"
    DEFERRED = "deferred"  # put off by the recipient's server; the provider goes on trying
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    REJECTED = "rejected"  # taken at first, then refused by the provider itself
    SUPPRESSED = "suppressed"  # not sent: the address is on the provider's suppression list
    SUPPRESSION_ADDED = "suppression_added"  # the provider's list changed; no message was attempted
    PROVIDER_ACCOUNT = "provider_account"  # about our account or domain
    IGNORED = "ignored"  # says nothing about a delivery: automatic replies, types unknown to us


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One statement. The raw delivery it came in is kept in the inbox.

    `keys` tell it from every other statement about the same recipient, the best first: the provider's own event id,
    or else a key made of the content. Two statements that share a key are one. They hold no personal data.
    """

    kind: Kind
    provider_type: str  # the provider's word, such as `bounce/blocked`
    keys: tuple[str, ...]
    occurred_at: datetime | None = None  # the provider's clock; None: it did not say
    email_id: UUID | None = None  # ours, as the provider's carrier brought it back
    recipient_id: UUID | None = None
    recipient: str | None = field(default=None, repr=False)  # None: the provider does not name who it is about
    provider_message_id: str | None = None
    provider_event_id: str | None = None
    bounce_class: BounceClass | None = None  # of BOUNCED alone
    reason: str | None = None
    smtp_status: int | None = None
    enhanced_status: str | None = None
    words: str = field(default="", repr=False)
    machine: bool = False  # a proxy or scanner opened or clicked, not a person
    url: str | None = field(default=None, repr=False)
    scope: str | None = None  # of an unsubscription, as the provider has it: `global`, `group:10`, `domain` …
    terminal: bool = False  # no further word about delivery is to be expected
    add_to_suppression: bool = False  # the address itself is the cause, or its owner's wish
