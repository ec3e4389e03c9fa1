"""The whole API on one page."""

from application.commands import Resolve, Retry, SendEmail
from application.suppressions import Suppress
from infrastructure.web import (
    activity,
    attachments,
    audit,
    changing,
    dead_letters,
    documentation,
    feed,
    health,
    history,
    hooks,
    listing,
    metrics,
    projections,
    providers,
    recipients,
    sending,
    statistics,
    suppression_files,
    suppressions,
    unconfirmed,
)
from infrastructure.web.as_of import AsOf
from infrastructure.web.audit_views import AuditList, CheckpointList
from infrastructure.web.operation import Operation
from infrastructure.web.provider_views import ProviderList
from infrastructure.web.statistics_views import StatisticsList
from infrastructure.web.support_views import DeadLetterList, DoubtList, RecipientList, RetriedView
from infrastructure.web.views import (
    Accepted,
    AcceptedBatch,
    Activity,
    Changed,
    EmailList,
    EmailView,
    Feed,
    Health,
    History,
    Imported,
    ProjectionList,
    Readiness,
    SuppressionDetail,
    SuppressionPage,
    SuppressionView,
    Unsuppressed,
)

_ONCE, _REPLAYED = "Idempotency-Key", "Idempotent-Replayed"
_POSITION, _WAIT = "Postledger-Position", "Postledger-Wait-For"
_STREAM, _JSON, _HTML, _CSV = "text/event-stream", "application/json", "text/html", "text/csv"
_TEXT, _BYTES = "text/plain", "application/octet-stream"

ROUTES: tuple[Operation, ...] = (
    Operation(
        *("POST", "/emails", sending.send, "Send an email", Accepted),
        status=202,
        body=SendEmail,
        takes=(_ONCE,),
        gives=("Location", _POSITION, _REPLAYED),
        errors=(409, 429),
    ),
    Operation(
        *("POST", "/emails/batch", sending.send_batch, "Send up to 100 emails", AcceptedBatch),
        status=202,
        body=list[SendEmail],
        takes=(_ONCE, "x-batch-validation"),
        gives=(_POSITION, _REPLAYED),
        errors=(409, 429),
    ),
    Operation("GET", "/emails", listing.show, "List emails", EmailList, query=listing.EmailQuery, takes=(_WAIT,)),
    Operation("GET", "/emails/{id}", history.show, "Show an email", EmailView, query=AsOf, errors=(404,)),
    Operation(
        *("PATCH", "/emails/{id}", changing.reschedule, "Reschedule an email", Changed),
        body=changing.ChangeEmail,
        gives=(_POSITION,),
        errors=(404, 409),
    ),
    Operation(
        *("POST", "/emails/{id}/cancel", changing.cancel, "Cancel an email", Changed),
        gives=(_POSITION,),
        errors=(404, 409),
    ),
    Operation(
        *("POST", "/emails/{id}/retry", changing.retry, "Send an email again", Changed),
        body=Retry,
        gives=(_POSITION,),
        errors=(404, 409),
    ),
    Operation(
        *("POST", "/emails/{id}/resolve", changing.resolve, "Settle an email in doubt", Changed),
        body=Resolve,
        gives=(_POSITION,),
        errors=(404, 409),
    ),
    Operation(
        *("GET", "/emails/{id}/events", history.events, "Show an email's history", History),
        query=AsOf,
        errors=(404,),
    ),
    Operation(
        *("GET", "/recipients", recipients.show, "List recipients", RecipientList),
        query=recipients.RecipientQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("GET", "/recipients/{address}/activity", activity.show, "Show a recipient's activity", Activity),
        query=activity.ActivityQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("GET", "/dead-letters", dead_letters.show, "List emails that ended undelivered", DeadLetterList),
        query=dead_letters.DeadLetterQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("POST", "/dead-letters/retry", dead_letters.retry, "Send many emails again", RetriedView),
        body=dead_letters.RetryDeadLetters,
        takes=(_WAIT,),
        gives=(_POSITION,),
    ),
    Operation(
        *("GET", "/unconfirmed", unconfirmed.show, "List emails in doubt", DoubtList),
        query=unconfirmed.DoubtQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("GET", "/suppressions", suppressions.page, "List suppressed addresses", SuppressionPage),
        query=suppressions.SuppressionQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("POST", "/suppressions", suppressions.add, "Suppress an address", SuppressionView),
        status=201,
        body=Suppress,
        gives=(_POSITION,),
        errors=(409,),
    ),
    Operation(
        *("GET", "/suppressions/export", suppression_files.export, "Export the suppression list", _CSV), takes=(_WAIT,)
    ),
    Operation(
        *("POST", "/suppressions/import", suppression_files.import_, "Import suppressed addresses", Imported),
        body=_CSV,
        gives=(_POSITION,),
    ),
    Operation(
        *("GET", "/suppressions/{address}", suppressions.show, "Show a suppressed address", SuppressionDetail),
        errors=(404, 422),
    ),
    Operation(
        *("DELETE", "/suppressions/{address}", suppressions.remove, "Send to an address again", Unsuppressed),
        query=suppressions.RemovalQuery,
        gives=(_POSITION,),
        errors=(400, 404, 409, 413, 415),
    ),
    Operation(
        *("GET", "/statistics", statistics.show, "Count emails and recipients", StatisticsList),
        query=statistics.StatisticsQuery,
        takes=(_WAIT,),
    ),
    Operation("GET", "/providers", providers.show, "List the providers", ProviderList),
    Operation("GET", "/projections", projections.show, "List the read models", ProjectionList),
    Operation("GET", "/events", feed.page, "Read events", Feed, query=feed.FeedQuery),
    Operation(
        *("GET", "/events/stream", feed.stream, "Follow events", _STREAM),
        query=feed.Followed,
        takes=("Last-Event-ID",),
    ),
    Operation(
        *("GET", "/audit/events", audit.events, "Find out who did what, and why", AuditList),
        query=audit.AuditQuery,
        takes=(_WAIT,),
    ),
    Operation(
        *("GET", "/audit/checkpoints", audit.checkpoint_page, "List checkpoints of the log", CheckpointList),
        query=audit.CheckpointQuery,
    ),
    Operation(
        *("POST", "/hooks/{provider}", hooks.receive, "Tell what became of a message", _JSON),
        errors=(401, 503),
        open=True,
    ),
    Operation(
        *("GET", "/attachments/{email_id}/{sha256}", attachments.download, "Download a linked attachment", _BYTES),
        query=attachments.LinkQuery,
        errors=(403, 404, 410, 503),
        open=True,
    ),
    Operation("GET", "/healthz", health.alive, "Ask whether the process is alive", Health, open=True),
    Operation("GET", "/readyz", health.ready, "Ask whether the service is ready", Readiness, open=True),
    Operation("GET", "/metrics", metrics.show, "Read what this process has counted", _TEXT, open=True),
    Operation("GET", "/openapi.json", documentation.openapi, "Get this description", _JSON, open=True),
    Operation("GET", "/docs", documentation.docs, "Read this description", _HTML, open=True),
)
