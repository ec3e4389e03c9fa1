"""The suppression list as CSV: one line for each entry, a header first; what a spreadsheet might run is defused."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from application.errors import InvalidField
from application.fields import ONE_LINE, Address
from application.suppressions import Addition, Rule, Scope
from domain.suppression import EVERYTHING
from infrastructure.web.fields import field_errors
from projections.suppressions import SuppressionRow

COLUMNS = ("email", "scope", "rule", "reason", "source", "email_id", "created_at")

_READ: Mapping[str, str] = {"address": "email", "email": "email", "scope": "scope", "rule": "rule", "reason": "reason"}
_DANGEROUS = tuple("=+-@\t\r")  # what makes a spreadsheet take a cell for a formula (OWASP: CSV injection)
_GUARD = "'"
_NO_HEADER = "must name the columns, one of them `email` or `address`, separated by commas"


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that could not be taken, and why."""

    line: int
    message: str


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    email: Address
    scope: Scope = EVERYTHING
    rule: Rule = "manual"
    reason: Annotated[str, Field(max_length=1000), ONE_LINE] = ""


# -- writing ---------------------------------------------------------------------------------------------------------


def header() -> str:
    return written([COLUMNS])


def exported(rows: Iterable[SuppressionRow]) -> str:
    """These entries as lines."""
    return written(
        (r.address, r.scope, r.rule, r.reason, r.source, str(r.email_id or ""), r.added_at.isoformat()) for r in rows
    )


def written(lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([guarded(cell) for cell in line] for line in lines)
    return text.getvalue()


def guarded(cell: str) -> str:
    """The cell as a spreadsheet may have it. One that begins with the guard itself gets another, to come back whole."""
    return _GUARD + cell if cell.startswith((*_DANGEROUS, _GUARD)) else cell


def unguarded(cell: str) -> str:
    """The cell as it was before `guarded`."""
    return cell[1:] if cell.startswith(_GUARD) and cell[1:].startswith((*_DANGEROUS, _GUARD)) else cell


# -- reading ---------------------------------------------------------------------------------------------------------


def imported(body: bytes, source: str) -> Iterator[Addition | Refused]:
    """What each line asks for, one after the other. Raises InvalidField when there is no header, at the first step."""
    lines = enumerate(io.BytesIO(body), 1)
    columns, width = _columns(next(lines, (1, b""))[1].removeprefix(b"\xef\xbb\xbf"))  # Excel's mark of UTF-8
    for number, line in lines:
        if line.strip():
            try:
                yield _addition(_cells(line), columns, width, source)
            except ValueError as error:
                yield Refused(number, str(error))


def _columns(line: bytes) -> tuple[dict[str, int], int]:
    """Where each field is, and how many cells a line has."""
    try:
        names = [name.strip().lower() for name in _cells(line)]
    except ValueError:
        raise InvalidField("line 1", _NO_HEADER) from None
    columns = {field: names.index(name) for name, field in _READ.items() if name in names}
    if "email" not in columns:
        raise InvalidField("line 1", _NO_HEADER)
    return columns, len(names)


def _cells(line: bytes) -> list[str]:
    """Raises ValueError, saying what is wrong. One line at a time: a quote that never ends spoils its own line only."""
    try:
        return next(csv.reader([line.decode().rstrip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"is not one line of CSV: {error}") from None


def _addition(cells: Sequence[str], columns: Mapping[str, int], width: int, source: str) -> Addition:
    if len(cells) != width:
        raise ValueError(f"has {len(cells)} cell(s) where the header has {width}")
    values = {field: unguarded(cells[place].strip()) for field, place in columns.items()}
    try:
        line = _Line.model_validate({field: value for field, value in values.items() if value or field == "email"})
    except ValidationError as error:
        found = field_errors(error.errors(include_url=False, include_input=False))
        raise ValueError("; ".join(map(str, found))) from None
    return Addition(line.email.address, line.scope, line.rule, source, line.reason)
