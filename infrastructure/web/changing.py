"""PATCH /emails/{id}, and cancel, retry and resolve: what clients and operators decide about an accepted email."""

from uuid import UUID

from pydantic import Field

from application.commands import Receipt, Reschedule, Resolve, Retry
from application.errors import InvalidField
from infrastructure.web import body, reply
from infrastructure.web.operation import Call
from infrastructure.web.parameters import email_id
from infrastructure.web.reply import Reply
from infrastructure.web.views import Changed


class ChangeEmail(Reschedule):
    """What may be changed about an email that has not gone out: when it goes."""

    id: UUID | None = Field(default=None, description="Resend's SDKs repeat the id here; it must be the path's.")


async def reschedule(call: Call) -> Reply:
    """Moves an email that no provider has yet to another time."""
    id, command = email_id(call), await body.parse(call, ChangeEmail)
    if command.id not in (None, id):
        raise InvalidField("id", "must be the id in the path, or be left out")
    return _changed(await call.service.change_email.reschedule(id, command, call.caller))


async def cancel(call: Call) -> Reply:
    """Takes an email back that no provider has yet. Cancelling it twice is no error."""
    return _changed(await call.service.change_email.cancel(email_id(call), call.caller))


async def retry(call: Call) -> Reply:
    """Sends an email that failed or bounced again to those who have not got it."""
    id, command = email_id(call), await body.parse_if_any(call, Retry)
    return _changed(await call.service.change_email.retry(id, command, call.caller))


async def resolve(call: Call) -> Reply:
    """Settles an attempt of which nobody knows whether the provider took it. `not_accepted` sends it again."""
    id, command = email_id(call), await body.parse_if_any(call, Resolve)
    return _changed(await call.service.change_email.resolve(id, command, call.caller))


def _changed(receipt: Receipt) -> Reply:
    return reply.of(Changed(id=receipt.id), reply.position(receipt.position))
