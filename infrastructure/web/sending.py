"""POST /emails and POST /emails/batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from application.commands import MAX_BATCH, SendEmail, check_times
from application.errors import InvalidField
from infrastructure.web import body, reply
from infrastructure.web.errors import FieldError, InvalidRequest
from infrastructure.web.headers import idempotency_key
from infrastructure.web.operation import Call
from infrastructure.web.problems import fields_of
from infrastructure.web.reply import Header, Reply
from infrastructure.web.views import Accepted, AcceptedBatch, Rejected

_REPLAYED: Header = (b"idempotent-replayed", b"true")
_MODES = (b"strict", b"permissive")


async def send(call: Call) -> Reply:
    """Accepts one email: once this has answered, the email reaches an end that can be looked up, whatever happens.

    With an Idempotency-Key, the same request again gives the first answer again, and never a second email.
    """
    key = idempotency_key(call)
    command = await body.parse(call, SendEmail)
    receipt = await call.service.send_email(command, call.caller, key)
    id = str(receipt.id).encode()
    answer = Reply(202, b'{"id":"%s"}' % id, (b"location", b"/emails/" + id), reply.position(receipt.position))
    if receipt.replayed:
        answer.raw_headers.append(_REPLAYED)
    return answer


async def send_batch(call: Call) -> Reply:
    """Accepts up to 100 emails in one commit: all of them, or in permissive mode the good ones."""
    key, permissive = idempotency_key(call), _permissive(call)
    items = await body.parse_array(call)
    if not 1 <= len(items) <= MAX_BATCH:
        raise InvalidRequest([FieldError("", f"must have 1 to {MAX_BATCH} items, not {len(items)}", "batch_size")])
    sorted_out = await asyncio.to_thread(_sort_out, items, call)
    if sorted_out.wrong and not permissive:
        raise InvalidRequest([field for fields in sorted_out.wrong.values() for field in fields])
    return await _accept(call, sorted_out, key)


@dataclass(slots=True)
class _SortedOut:
    """The items of a batch: commands, and what is wrong with the others by their place."""

    commands: list[SendEmail] = field(default_factory=list)
    wrong: dict[int, Sequence[FieldError]] = field(default_factory=dict)


def _sort_out(items: list[Any], call: Call) -> _SortedOut:
    found, now = _SortedOut(), call.service.clock()
    for place, item in enumerate(items):
        try:
            command = SendEmail.model_validate(item)
            check_times(command, now)
            found.commands.append(command)
        except ValidationError as error:
            found.wrong[place] = fields_of(body.invalid(error, f"[{place}]"))
        except InvalidField as error:
            found.wrong[place] = [FieldError(f"[{place}].{error.field}", str(error), error.code)]
    return found


async def _accept(call: Call, batch: _SortedOut, key: str | None) -> Reply:
    receipts = await call.service.send_email.batch(batch.commands, call.caller, key) if batch.commands else []
    answer = AcceptedBatch(
        data=[Accepted(id=receipt.id) for receipt in receipts],
        errors=[Rejected(index=i, message="; ".join(map(str, fields))) for i, fields in batch.wrong.items()],
    )
    headers = [reply.position(max(receipt.position for receipt in receipts))] if receipts else []
    if any(receipt.replayed for receipt in receipts):
        headers.append(_REPLAYED)
    return reply.of(answer, *headers, status=202)


def _permissive(call: Call) -> bool:
    mode = call.headers.get(b"x-batch-validation", b"strict").strip().lower()
    if mode not in _MODES:
        raise InvalidField("x-batch-validation", "must be strict or permissive")
    return mode == b"permissive"
