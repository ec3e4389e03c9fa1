"""Every domain event: plain frozen data under a stable topic (`email.queued.v1`).

The stored topic is `TYPE.vVERSION`, never a module path. To change an event's fields, raise its VERSION and add the
step from the old one to `domain.upcasting`; what is stored is never rewritten.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeGuard
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from domain.address import Mailbox
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.personal import PersonalMap, PersonalStr, PersonalText
from domain.status import RecipientStatus

_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Stamp(NamedTuple):
    """When something was decided, by whom, and what led to it: the part that all events of one decision share."""

    now: datetime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None


class Event(BaseModel):
    """A fact about one stream."""

    model_config = _FROZEN

    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    originator_id: UUID
    originator_version: int
    event_id: UUID
    occurred_at: AwareDatetime
    tenant: str
    actor: str  # who decided: `api:KEYNAME`, `worker`, `provider:NAME`, `operator:…`; never a person's address
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None

    @classmethod
    def topic(cls) -> str:
        return f"{cls.TYPE}.v{cls.VERSION}"


class Priority(StrEnum):
    CRITICAL = "critical"
    NORMAL = "normal"
    BULK = "bulk"


class Recipient(BaseModel):
    """One person an email is addressed to."""

    model_config = _FROZEN

    id: UUID
    kind: Literal["to", "cc", "bcc"]
    address: PersonalStr
    name: PersonalStr = ""


class ContentRef(BaseModel):
    """Where the body is, and what it must hash to: the `content` row of the same email."""

    model_config = _FROZEN

    size: int
    sha256: str


class AttachmentRef(BaseModel):
    """One attachment: a blob under its sha256, and how the message names it."""

    model_config = _FROZEN

    sha256: str
    size: int
    filename: PersonalStr
    content_type: str
    content_id: str | None = None


class Tag(BaseModel):
    model_config = _FROZEN

    name: str
    value: str


class ProviderMessage(BaseModel):
    """The id under which a provider knows the message to one recipient."""

    model_config = _FROZEN

    recipient_id: UUID
    message_id: str


def legible(words: Any) -> Any:
    """What a provider said must never be the reason why an outcome cannot be recorded."""
    if not isinstance(words, str):
        return words
    return words.encode("utf-8", "replace").decode().replace("\0", "?")[:1000]


ProviderWords = Annotated[PersonalStr, BeforeValidator(legible)]  # they like to quote the address they refuse
BounceClass = Literal["hard", "soft", "undetermined"]


class EmailQueued(Event):
    """Accepted: from now on this email will reach an end that can be looked up."""

    TYPE = "email.queued"
    VERSION = 2

    sender: Mailbox
    recipients: tuple[Recipient, ...]
    reply_to: tuple[Mailbox, ...] = ()
    subject: PersonalStr
    content: ContentRef
    attachments: tuple[AttachmentRef, ...] = ()
    tags: tuple[Tag, ...] = ()
    metadata: PersonalMap = {}
    priority: Priority = Priority.NORMAL
    stream: str = "transactional"
    send_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    policy: DeliveryPolicy
    fingerprint: str | None = None  # of a keyed command: its sha256, to tell it from another one under the same key


class EmailRescheduled(Event):
    """The client moved the time of sending."""

    TYPE = "email.rescheduled"
    send_at: AwareDatetime


class EmailCancelled(Event):
    """The client took it back before any provider had it."""

    TYPE = "email.cancelled"


class EmailExpired(Event):
    """Its time passed before any provider took it."""

    TYPE = "email.expired"
    expires_at: AwareDatetime


class EmailDeliveryStarted(Event):
    """The intent to call a provider, committed before the call."""

    TYPE = "email.delivery_started"
    VERSION = 3
    attempt: int
    provider: str
    token: str  # our idempotency token; the same for every attempt of one email
    route: str  # why this provider
    separate: bool = False  # whether each recipient has a call of its own, which may fail alone
    recipients: tuple[UUID, ...]
    deadline: AwareDatetime  # without an outcome by then, the attempt is in doubt
    concessions: tuple[str, ...] = ()  # what this route gives up of the message: `text_only`, `no_tracking` …


class EmailDispatched(Event):
    """The provider took the message for the recipients in `messages`, at least one."""

    TYPE = "email.dispatched"
    attempt: int
    provider: str
    messages: tuple[ProviderMessage, ...]
    refused: tuple[UUID, ...] = ()  # each has its own EmailRecipientDeliveryFailed in the same commit
    put_off: tuple[UUID, ...] = ()  # what becomes of these (put off, or in doubt) follows in the same commit
    words: ProviderWords = ""


class EmailDeliveryDeferred(Event):
    """This attempt did not work for these recipients, or none could begin; the next one is due at `retry_at`."""

    TYPE = "email.delivery_deferred"
    VERSION = 2
    attempt: int  # the latest
    provider: str | None  # None: nobody was asked, for the reason given
    recipients: tuple[UUID, ...]
    error_class: ErrorClass
    reason: str | None = None
    words: ProviderWords = ""
    retry_at: AwareDatetime  # by whichever provider comes first
    again_at: AwareDatetime | None = None  # when this provider is worth asking again; None: as `retry_at`, or never


class EmailDeliveryFailed(Event):
    """Delivery ended for all who were outstanding, usually the whole email. It stands among the dead letters."""

    TYPE = "email.delivery_failed"
    attempt: int
    provider: str | None
    error_class: ErrorClass
    reason: str
    words: ProviderWords = ""


class EmailDeliveryUnconfirmed(Event):
    """The provider may or may not have taken it."""

    TYPE = "email.delivery_unconfirmed"
    attempt: int
    provider: str
    recipients: tuple[UUID, ...]
    reason: str  # `answer_lost`, `worker_lost`, `no_evidence`
    words: ProviderWords = ""
    settle_at: AwareDatetime | None  # when evidence is looked for; None: parked for an operator


class Resolution(StrEnum):
    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    PRESUMED_LOST = "presumed_lost"  # no evidence either way; the email's policy says send again


class EmailDeliveryResolved(Event):
    """How an attempt in doubt was settled, and by what evidence."""

    TYPE = "email.delivery_resolved"
    VERSION = 2
    attempt: int
    provider: str
    resolution: Resolution
    evidence: Literal["late_answer", "look_up", "feedback", "policy", "operator"]
    recipients: tuple[UUID, ...]
    messages: tuple[ProviderMessage, ...] = ()
    put_off: tuple[UUID, ...] = ()  # still to be sent to, now
    doubtful: tuple[UUID, ...] = ()  # of whom the same attempt is still in doubt
    reason: PersonalStr = ""


class EmailRequeued(Event):
    """An operator sent it again to the recipients who have not got it."""

    TYPE = "email.requeued"
    VERSION = 2
    recipients: tuple[UUID, ...]
    priority: Priority
    reason: PersonalStr
    provider: str | None = None  # the one the operator chose


class EmailContentPurged(Event):
    """Bodies and attachments are gone, on purpose."""

    TYPE = "email.content_purged"
    reason: str


class Correction(BaseModel):
    """An earlier event of the same recipient was a mistranslation: it no longer counts.

    What follows is where the recipient stands without it, before the event that carries this correction.
    """

    model_config = _FROZEN

    event_id: UUID
    status: RecipientStatus
    at: AwareDatetime | None = None
    opened_at: AwareDatetime | None = None
    clicked_at: AwareDatetime | None = None
    unsubscribed_at: AwareDatetime | None = None


class RecipientEvent(Event):
    """What a provider reported about one recipient."""

    VERSION = 2

    recipient_id: UUID
    provider: str
    provider_at: AwareDatetime  # the provider's clock; states fold by this, never by arrival
    provider_event_id: str | None = None
    provider_message_id: str | None = None
    keys: tuple[str, ...] = ()  # what tells it from other reports about the same recipient
    raw: UUID | None = None  # the inbox entry with the provider's own words
    corrects: Correction | None = None


class EmailRecipientDelivered(RecipientEvent):
    """The recipient's server took it."""

    TYPE = "email.recipient_delivered"
    words: ProviderWords = ""


class EmailRecipientDeferred(RecipientEvent):
    """The recipient's server put the provider off; the provider goes on trying."""

    TYPE = "email.recipient_deferred"
    reason: str | None = None
    smtp_status: int | None = None
    enhanced_status: str | None = None
    words: ProviderWords = ""


class EmailRecipientDeliveryFailed(RecipientEvent):
    """It bounced for this recipient, or the provider refused it after all."""

    TYPE = "email.recipient_delivery_failed"
    bounce_class: BounceClass | None = None  # None: no bounce, it never left the provider
    reason: str | None = None
    smtp_status: int | None = None
    enhanced_status: str | None = None
    words: ProviderWords = ""
    add_to_suppression: bool = False  # the address itself is the cause
    final: bool = True  # False: often an automatic reply, and the message may well have arrived


class EmailRecipientSuppressed(RecipientEvent):
    """Not sent to this recipient; `rule` names why."""

    TYPE = "email.recipient_suppressed"
    rule: str
    add_to_suppression: bool = True  # whether our list is to say so as well


class EmailRecipientOpened(RecipientEvent):
    TYPE = "email.recipient_opened"
    machine: bool = False  # a proxy or scanner, not a person


class EmailRecipientClicked(RecipientEvent):
    TYPE = "email.recipient_clicked"
    url: PersonalStr
    machine: bool = False


class EmailRecipientComplained(RecipientEvent):
    TYPE = "email.recipient_complained"
    complaint: str | None = None  # the feedback type: abuse, fraud …


class EmailRecipientUnsubscribed(RecipientEvent):
    TYPE = "email.recipient_unsubscribed"
    scope: str | None = None


class EmailRecipientResubscribed(RecipientEvent):
    """The recipient wants to hear from us again."""

    TYPE = "email.recipient_resubscribed"
    VERSION = 1
    scope: str | None = None


class EmailRecipientReportWithdrawn(RecipientEvent):
    """An earlier report about this recipient was a mistranslation, and what was said means nothing for delivery."""

    TYPE = "email.recipient_report_withdrawn"
    VERSION = 1
    provider_type: str  # the provider's own word


_ABOUT_RECIPIENTS = frozenset(RecipientEvent.__subclasses__())


def is_about_recipient(event: Event) -> TypeGuard[RecipientEvent]:
    """As `isinstance` says; but for models that is Python code, and folds ask this several times of each event."""
    return type(event) in _ABOUT_RECIPIENTS


class EmailFeedbackUnattributed(Event):
    """A provider said something about the email without naming the recipient. It is kept, and never guessed whose."""

    TYPE = "email.feedback_unattributed"
    kind: str  # our word for it, as in domain.feedback
    provider: str
    provider_at: AwareDatetime
    provider_event_id: str | None = None
    provider_message_id: str | None = None
    keys: tuple[str, ...] = ()
    raw: UUID | None = None
    bounce_class: BounceClass | None = None
    reason: str | None = None
    words: ProviderWords = ""
    url: PersonalText = None


class SuppressionAdded(Event):
    """Nothing goes to this address any more, or no mail of one stream. Each tenant and address has its own history."""

    TYPE = "suppression.added"
    address: PersonalStr
    scope: str  # `*` for all mail, or the name of a mail stream
    rule: str  # hard_bounce, complaint, unsubscribe, provider_list, manual
    source: str  # who says so: `provider:NAME`, `api:KEYNAME`, `operator:NAME`
    reason: PersonalStr = ""
    email_id: UUID | None = None  # the email that led to it
    cause: UUID | None = None  # the event that led to it


class SuppressionRemoved(Event):
    """This address may be sent to again."""

    TYPE = "suppression.removed"
    address: PersonalStr
    scope: str
    rule: str  # manual, resubscribed, corrected
    source: str
    reason: PersonalStr = ""
    cause: UUID | None = None
