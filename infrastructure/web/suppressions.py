"""/suppressions: who is not sent to, and why; put on the list by hand, and taken off it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from application.errors import InvalidField, SuppressionNotFound
from application.suppressions import Reason, Rule, Scope, Suppress, Unsuppress
from domain.suppression import Entry
from infrastructure.web import body, query, reply
from infrastructure.web.errors import FieldError, IncompleteRequest
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.parameters import address
from infrastructure.web.reply import Reply
from infrastructure.web.views import (
    SuppressionDetail,
    SuppressionEntry,
    SuppressionPage,
    SuppressionView,
    Unsuppressed,
)
from projections import suppressions as table
from projections.suppressions import SuppressionFilter, SuppressionRow

# Resend's word for a rule; or for the reason, where a provider's list is the rule.
_ORIGINS: Mapping[str, str] = {
    "hard_bounce": "bounce",
    "bounce": "bounce",
    "invalid": "bounce",
    "complaint": "complaint",
    "unsubscribe": "unsubscribe",
}


class SuppressionQuery(query.Query):
    """Which entries, and which page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Annotated[query.Position | None, Field(description="An entry's position: the page of those older.")] = None
    before: Annotated[query.Position | None, Field(description="An entry's position: the page of those newer.")] = None
    rule: Rule | None = None
    scope: Scope | None = None
    domain: Annotated[query.Text | None, Field(description="What stands after the @.")] = None
    q: Annotated[query.Text | None, Field(description="How the address begins.")] = None


class RemovalQuery(query.Query):
    """What is to be taken back, and why, unless a JSON body says so."""

    scope: Annotated[Scope | None, Field(description="One scope only; by default, all.")] = None
    reason: Annotated[
        Reason | None, Field(repr=False, description="Needed here or in a JSON body: `{scope, reason}`.")
    ] = None


async def page(call: Call) -> Reply:
    """Entries, the newest first, as the read model shows them."""
    wanted = query.parse(call, SuppressionQuery)
    if wanted.after is not None and wanted.before is not None:
        raise InvalidField("before", "cannot be combined with after")
    await wait_for_position(call)
    found = await call.service.database.ask(table.page, _filter(wanted, call.caller.tenant))
    return reply.of(SuppressionPage(has_more=found.has_more, data=[_entry(row) for row in found.rows]))


async def add(call: Call) -> Reply:
    """Nothing is sent to the address from now on. When it is on the list already, that entry is the answer."""
    command = await body.parse(call, Suppress)
    entry, position = await call.service.suppressions.add(command, call.caller)
    return reply.of(_view(entry), reply.position(position), status=201)


async def show(call: Call) -> Reply:
    """Why nothing is sent to an address: the widest reason, and all of them. True at this moment."""
    entries = [_view(e) for e in await call.service.suppressions.entries(call.caller.tenant, address(call))]
    if not entries:
        raise SuppressionNotFound
    return reply.of(SuppressionDetail(**entries[0].model_dump(), entries=entries))


async def remove(call: Call) -> Reply:
    """Sends to the address again. The reason, and a scope, come as query parameters or as a JSON body."""
    whom, command = address(call), await _removal(call)
    gone, position = await call.service.suppressions.remove(whom, command.scope, command.reason, call.caller)
    scopes = list(dict.fromkeys(entry.scope for entry in gone))
    return reply.of(Unsuppressed(email=gone[0].address, scopes=scopes), reply.position(position))


async def _removal(call: Call) -> Unsuppress:
    if call.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in call.headers:
        return await body.parse(call, Unsuppress)
    wanted = query.parse(call, RemovalQuery)
    if wanted.reason is None:
        raise IncompleteRequest([FieldError("reason", "is needed", "missing")])
    return Unsuppress(scope=wanted.scope, reason=wanted.reason)


def _filter(wanted: SuppressionQuery, tenant: str) -> SuppressionFilter:
    return SuppressionFilter(
        tenant=tenant,
        rule=wanted.rule,
        scope=wanted.scope,
        domain=wanted.domain.lower() if wanted.domain else None,
        prefix=wanted.q,
        limit=wanted.limit,
        after=wanted.after,
        before=wanted.before,
    )


def _view(entry: Entry) -> SuppressionView:
    return SuppressionView(**_told(entry))


def _entry(row: SuppressionRow) -> SuppressionEntry:
    return SuppressionEntry(**_told(row), position=row.position)


def _told(of: Entry | SuppressionRow) -> dict[str, Any]:
    return {
        "email": of.address,
        "origin": _ORIGINS.get(of.rule) or _ORIGINS.get(of.reason.partition(":")[0], "manual"),
        "created_at": of.added_at,
        "scope": of.scope,
        "rule": of.rule,
        "source": of.source,
        "reason": of.reason,
        "email_id": of.email_id,
    }
