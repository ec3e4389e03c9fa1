"""/dead-letters: emails that ended while somebody has not got them, and sending many of them again."""

from typing import Annotated, Any, Literal

from pydantic import Field

from application.bulk import Tally, change_all
from application.commands import Retry
from application.errors import InvalidField
from domain.delivery import ErrorClass
from domain.status import EmailStatus
from infrastructure.web import body, query, reply
from infrastructure.web.headers import wait_for_position
from infrastructure.web.listing import Recipient
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.support_views import DeadLetterList, DeadLetterView, RetriedView, SkippedView
from projections.dead_letter_list import DeadLetter, DeadLetterFilter, Page, count, page

_MOST = 1000  # sent again by one request

_Older = Annotated[query.Position | None, Field(description="A position: the page of those older.")]
_Newer = Annotated[query.Position | None, Field(description="A position: the page of those newer.")]


class Filter(query.Query):
    """Which dead letters."""

    status: Literal["failed", "bounced", "partially_delivered", "suppressed", "expired"] | None = None
    provider: Annotated[query.Text | None, Field(description="The one asked last.")] = None
    error_class: ErrorClass | None = None
    reason: Annotated[query.Text | None, Field(description="The reason's word, such as `no_mailbox`.")] = None
    stream: query.Text | None = None
    sender_domain: query.Text | None = None
    recipient: Annotated[Recipient | None, Field(description="Somebody who has not got it.")] = None
    since: Annotated[query.Moment | None, Field(description="Ended at this time or later.")] = None
    until: Annotated[query.Moment | None, Field(description="Ended before this time.")] = None


class DeadLetterQuery(Filter):
    """Which dead letters, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: _Older = None
    before: _Newer = None


class RetryDeadLetters(Retry):
    """Send many dead letters again, the oldest first."""

    filter: Annotated[Filter, Field(description="Which ones; `{}` for all.")]
    dry_run: Annotated[bool, Field(description="Only count.")] = False
    limit: Annotated[int, Field(ge=1, le=_MOST, description="At most so many.")] = _MOST
    before: Annotated[query.Position, Field(description="Only those newer than this position.")] = 0


async def show(call: Call) -> Reply:
    """Dead letters, the newest first, as the read model shows them."""
    wanted = query.parse(call, DeadLetterQuery)
    if wanted.after is not None and wanted.before is not None:
        raise InvalidField("before", "cannot be combined with after")
    await wait_for_position(call)
    place = {"limit": wanted.limit, "after": wanted.after, "before": wanted.before}
    found = await call.service.database.ask(page, _filter(wanted, call.caller.tenant, **place))
    return reply.of(DeadLetterList(has_more=found.has_more, data=[_view(row) for row in found.rows]))


async def retry(call: Call) -> Reply:
    """Sends dead letters again to those who have not got them. Safe to repeat: what was sent again is dead no more."""
    command = await body.parse_if_any(call, RetryDeadLetters)
    call.service.change_email.check_provider(command.provider)
    await wait_for_position(call)
    wanted = _filter(command.filter, call.caller.tenant, limit=command.limit, before=command.before)
    matched = await call.service.database.ask(count, wanted)
    found = await call.service.database.ask(page, wanted)
    tally = Tally() if command.dry_run else await _again(call, command, found)
    answer = RetriedView(
        dry_run=command.dry_run,
        matched=matched,
        retried=tally.done,
        skipped=[SkippedView(id=each.id, why=each.why) for each in tally.skipped],
        has_more=found.has_more,
        before=found.rows[0].position if found.rows else None,
    )
    return reply.of(answer, *([reply.position(tally.position)] if tally.position else []))


async def _again(call: Call, command: RetryDeadLetters, found: Page) -> Tally:
    wish = Retry(reason=command.reason, priority=command.priority, provider=command.provider)
    change = call.service.change_email
    return await change_all(
        (row.email_id, change.retry(row.email_id, wish, call.caller)) for row in reversed(found.rows)
    )


def _filter(wanted: Filter, tenant: str, **place: Any) -> DeadLetterFilter:
    return DeadLetterFilter(
        tenant=tenant,
        status=EmailStatus(wanted.status) if wanted.status else None,
        provider=wanted.provider,
        error_class=wanted.error_class.value if wanted.error_class else None,
        reason=wanted.reason,
        stream=wanted.stream,
        sender_domain=wanted.sender_domain.lower() if wanted.sender_domain else None,
        recipient=wanted.recipient,
        since=wanted.since,
        until=wanted.until,
        **place,
    )


def _view(row: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=row.email_id,
        status=row.status.value,
        created_at=row.accepted_at,
        ended_at=row.ended_at,
        stream=row.stream,
        sender_domain=row.sender_domain,
        provider=row.provider,
        error_class=row.error_class,
        reason=row.reason,
        attempts=row.attempts,
        recipients_failed=row.recipients_failed,
        position=row.position,
    )
