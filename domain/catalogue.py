"""Every kind of event there is, of every stream: what the ledger can read."""

from domain import events as e
from domain import provider_events as p

EVENTS: tuple[type[e.Event], ...] = (
    e.EmailQueued,
    e.EmailRescheduled,
    e.EmailCancelled,
    e.EmailExpired,
    e.EmailDeliveryStarted,
    e.EmailDispatched,
    e.EmailDeliveryDeferred,
    e.EmailDeliveryFailed,
    e.EmailDeliveryUnconfirmed,
    e.EmailDeliveryResolved,
    e.EmailRequeued,
    e.EmailContentPurged,
    e.EmailRecipientDelivered,
    e.EmailRecipientDeferred,
    e.EmailRecipientDeliveryFailed,
    e.EmailRecipientSuppressed,
    e.EmailRecipientOpened,
    e.EmailRecipientClicked,
    e.EmailRecipientComplained,
    e.EmailRecipientUnsubscribed,
    e.EmailRecipientResubscribed,
    e.EmailRecipientReportWithdrawn,
    e.EmailFeedbackUnattributed,
    e.SuppressionAdded,
    e.SuppressionRemoved,
    p.ProviderDegraded,
    p.ProviderRecovered,
    p.ProviderPaused,
    p.ProviderResumed,
    p.ProviderDrillStarted,
    p.ProviderDrillEnded,
)
