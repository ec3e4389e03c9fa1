"""A provider's answer to one send call, as data that the aggregate and the router can act on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.delivery import ErrorClass


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """One thing a provider says about one recipient, ready to become an event of class `kind`.

    `details` are that event's own fields (bounce class, statuses, url …). `keys` tell it from every other report about
    the same recipient; `raw` is the inbox entry it was translated from.
    """

    kind: type[e.RecipientEvent]
    recipient_id: UUID
    provider: str
    provider_at: datetime
    provider_event_id: str | None = None
    provider_message_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: tuple[str, ...] = ()
    raw: UUID | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    `messages` names the recipients the provider took, each with the provider's id for it. `put_off` are those to try
    again. `reports` are final words about single recipients that came in the same answer, refusals among them.
    `error_class` says why it did not work for the put-off, or for all when nothing was taken; UNKNOWN means in doubt:
    for those in `doubtful`, or when it names none for all of whom nothing else is said.

    `pause` is how long the provider wants no more calls at all, however this one ended. `about_message` says that the
    trouble is this message's, or a recipient's, so that it tells nothing of how the provider is doing.
    """

    messages: tuple[e.ProviderMessage, ...] = ()
    put_off: tuple[UUID, ...] = ()
    doubtful: tuple[UUID, ...] = ()
    reports: tuple[RecipientReport, ...] = ()
    error_class: ErrorClass | None = None
    reason: str | None = None
    words: str = field(default="", repr=False)
    retry_after: timedelta | None = None
    pause: timedelta | None = None
    about_message: bool = False

    @property
    def in_doubt(self) -> bool:
        return self.error_class is ErrorClass.UNKNOWN

    def refused(self) -> tuple[UUID, ...]:
        final = (e.EmailRecipientDeliveryFailed, e.EmailRecipientSuppressed)
        taken = {message.recipient_id for message in self.messages}
        return tuple(r.recipient_id for r in self.reports if r.kind in final and r.recipient_id not in taken)
