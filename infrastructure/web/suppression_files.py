"""GET /suppressions/export and POST /suppressions/import: the whole list as CSV, a page at a time both ways."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from starlette.responses import StreamingResponse

from application.suppressions import Addition
from infrastructure.web import body, reply, suppression_csv
from infrastructure.web.errors import UnsupportedMediaType
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.suppression_csv import Refused
from infrastructure.web.views import Imported, RefusedLine
from projections import suppressions as table
from projections.suppressions import SuppressionFilter

_MOST_BYTES = 10 * 1024 * 1024  # of an import
_AT_ONCE = 500  # lines of an import that are decided together
_EXPORTED = 1000  # entries that are read together
_MOST_REFUSED = 10_000  # lines that an answer tells of

_Line = Addition | Refused


async def export(call: Call) -> StreamingResponse:
    """The whole list as CSV, the oldest first. A cell that a spreadsheet would run begins with an apostrophe."""
    await wait_for_position(call)
    headers = {"content-disposition": 'attachment; filename="suppressions.csv"', "cache-control": "no-store"}
    return StreamingResponse(_lines(call), headers=headers, media_type="text/csv")


async def import_(call: Call) -> Reply:
    """Adds the lines of a CSV of up to 10 MB. The first line names the columns: `email` (or `address`), and if there
    are any `scope`, `rule` and `reason`; others are left alone. Good lines are added, bad ones are told of by their
    number. Importing the same again adds nothing."""
    lines, outcome = suppression_csv.imported(await _csv(call), call.caller.actor), _Outcome()
    while some := await asyncio.to_thread(_next, lines):
        wishes = [line for line in some if isinstance(line, Addition)]
        added, position = await call.service.suppressions.add_all(wishes, call.caller)
        outcome.count(some, len(wishes), added, position)
    return reply.of(outcome.view(), reply.position(outcome.position))


@dataclass(slots=True)
class _Outcome:
    """What became of the lines so far."""

    added: int = 0
    already: int = 0
    refused_count: int = 0
    position: int = 0
    refused: list[RefusedLine] = field(default_factory=list)

    def count(self, lines: Sequence[_Line], wished: int, added: int, position: int) -> None:
        self.added += added
        self.already += wished - added
        self.position = max(self.position, position)
        refused = [RefusedLine(line=line.line, message=line.message) for line in lines if isinstance(line, Refused)]
        self.refused_count += len(refused)
        self.refused += refused[: _MOST_REFUSED - len(self.refused)]

    def view(self) -> Imported:
        return Imported(added=self.added, already=self.already, refused_count=self.refused_count, refused=self.refused)


def _next(lines: Iterator[_Line]) -> list[_Line]:
    return list(islice(lines, _AT_ONCE))


async def _csv(call: Call) -> bytes:
    media_type = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"text/csv":
        raise UnsupportedMediaType("The body must be CSV in UTF-8: send the header `Content-Type: text/csv`.")
    return await body.whole(call, min(_MOST_BYTES, call.service.max_body_bytes))


async def _lines(call: Call) -> AsyncIterator[str]:
    yield suppression_csv.header()
    last, more = 0, True
    while more:
        wanted = SuppressionFilter(call.caller.tenant, limit=_EXPORTED, before=last)
        found = await call.service.database.ask(table.page, wanted)
        if found.rows:
            yield suppression_csv.exported(reversed(found.rows))
            last = found.rows[0].position
        more = found.has_more
