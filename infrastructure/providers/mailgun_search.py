"""What Mailgun knows when it is asked: its logs (POST /v1/analytics/logs) and its suppression lists (v3).

Quirks:
* The logs are those of the whole account; `events`, their deprecated forerunner, is not used.
* `user-variables` is an object in a webhook and JSON text in the logs (mailgun.js, lib/Types/Logs), `[]` when empty.
* Log entries come late, and not in order: what is not there in the first half hour may still come (CONTRACTS 2.5).
* A free account keeps them for one day only (user manual, "Events").
* An unsubscription may be from single tags; mail without them goes on, so it is not told as one from all.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Literal

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import address_key, ascii_address
from domain.events import Recipient
from infrastructure.providers import reading
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Request

_EARLIER, _LATER = timedelta(minutes=2), timedelta(hours=1)  # clocks differ, and a call may be slow
_LATE, _KEPT = timedelta(minutes=30), timedelta(days=1)
_PAGE, _MOST_PAGES = 100, 10  # of log entries about one recipient in some 80 minutes

Cause = Literal["bounce", "complaint", "unsubscribe"]
LISTS: Mapping[str, Cause] = {"bounces": "bounce", "unsubscribes": "unsubscribe", "complaints": "complaint"}
_LISTED_PAGE = 1000


class NoTelling(Exception):
    """The logs do not say whether the message is there."""


def wire_address(address: str) -> str:
    """As Mailgun gets it: the domain in A-labels, where the local part is ASCII."""
    return ascii_address(address) or address


def carried(value: object) -> Mapping[str, Any] | None:
    """The `user-variables`, in any of their shapes; None when they are missing or cannot be read."""
    if isinstance(value, str):
        value = reading.json(value.encode("utf-8", "replace")) if value.strip() else {}
    if isinstance(value, list):
        return {}
    return value if isinstance(value, dict) else None


def message_id(entry: object) -> str | None:
    """Mailgun's id, without the angle brackets that only the answer to a call has."""
    return (reading.text(reading.get(entry, "message", "headers", "message-id")) or "").strip("<>") or None


def moment(text: str) -> datetime | None:
    """An RFC 2822 or RFC 1123 date."""
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


async def find(http: HttpClient, message: OutgoingMessage, recipient: Recipient, now: datetime) -> str | None:
    """The id under which Mailgun took this attempt for this recipient; None: it has not. Raises NoTelling."""
    address = wire_address(recipient.address)
    entries: list[Any] = []
    for spelling in dict.fromkeys((address, address.lower())):  # whether the filter minds case is not documented
        entries += [entry async for entry in _entries(http, message, spelling)]
    ours = [entry for entry in entries if _is_ours(entry, message, recipient)]
    if ours:
        if id := next((id for id in map(message_id, reversed(ours)) if id), None):
            return id
        raise NoTelling("an entry without a message id")
    if not _LATE <= now - message.attempt.occurred_at <= _KEPT:
        raise NoTelling("too early or too late to conclude anything from silence")
    if any(carried(reading.get(entry, "user-variables")) is None for entry in entries):
        raise NoTelling("entries that may be anybody's")
    return None


def _is_ours(entry: object, message: OutgoingMessage, recipient: Recipient) -> bool:
    variables = carried(reading.get(entry, "user-variables")) or {}
    if reading.uuid(variables.get("pl_email_id")) != message.email.originator_id:
        return False
    if "pl_recipient_id" in variables:
        return reading.uuid(variables["pl_recipient_id"]) == recipient.id
    named = reading.text(reading.get(entry, "recipient"))
    return named is not None and address_key(named) == address_key(recipient.address)


async def _entries(http: HttpClient, message: OutgoingMessage, address: str) -> AsyncIterator[Any]:
    token: str | None = None
    for _ in range(_MOST_PAGES):
        page = await _page(http, _question(message, address, token))
        entries = page.get("items")
        if not isinstance(entries, list):
            raise NoTelling("not as documented")
        for entry in entries:
            yield entry
        token = _whole(reading.get(page, "pagination", "next"))
        if not entries or not token:
            return
    raise NoTelling("more entries than anyone would read")


async def _page(http: HttpClient, request: Request) -> Mapping[str, Any]:
    try:
        reply = await http.call(request)
    except (NotSent, AnswerLost) as trouble:
        raise NoTelling(str(trouble)) from None
    if reply.status != 200:
        raise NoTelling(f"HTTP {reply.status}")  # a key for sending alone may not read the logs, for one
    return reading.mapping(reply.json())


def _question(message: OutgoingMessage, address: str, token: str | None) -> Request:
    attempt = message.attempt
    until = max(attempt.occurred_at, attempt.deadline) + _LATER
    question = {
        "start": format_datetime((attempt.occurred_at - _EARLIER).astimezone(UTC)),
        "end": format_datetime(until.astimezone(UTC)),
        "filter": {
            "AND": [
                {"attribute": "recipient", "comparator": "=", "values": [{"label": address, "value": address}]},
            ]
        },
        "pagination": {"sort": "timestamp:asc", "limit": _PAGE, **({"token": token} if token else {})},
    }
    return Request("POST", "/v1/analytics/logs", json.dumps(question).encode(), {"Content-Type": "application/json"})


def _whole(value: object) -> str | None:
    """A text that is of no use when cut."""
    return value if isinstance(value, str) and value else None


async def listed(http: HttpClient, domain: str, name: str) -> AsyncIterator[ListedSuppression]:
    """One list of the domain's, page by page. Raises ProviderTrouble."""
    path: str | None = f"/v3/{domain}/{name}?limit={_LISTED_PAGE}"
    seen: set[str] = set()
    while path and path not in seen:
        seen.add(path)
        page = await _listed_page(http, path, name)
        for suppression in _suppressions(page["items"], LISTS[name]):
            yield suppression
        path = _whole(reading.get(page, "paging", "next")) if page["items"] else None  # the last page is empty


async def _listed_page(http: HttpClient, path: str, name: str) -> Mapping[str, Any]:
    try:
        reply = await http.call(Request("GET", path))
    except (NotSent, AnswerLost) as trouble:
        raise ProviderTrouble(f"Mailgun's {name} cannot be read: {trouble}.") from None
    page = reading.mapping(reply.json())
    if reply.status != 200 or not isinstance(page.get("items"), list):
        raise ProviderTrouble(f"Mailgun's {name} cannot be read: it answers {reply.status}.")
    return page


def _suppressions(records: Iterable[object], cause: Cause) -> Iterable[ListedSuppression]:
    for record in records:
        address = reading.text(reading.get(record, "address"))
        tags = reading.items(reading.get(record, "tags"))
        if not address or (cause == "unsubscribe" and tags and "*" not in tags):
            continue
        said = (reading.text(reading.get(record, "code")), reading.text(reading.get(record, "error")))
        at = moment(reading.text(reading.get(record, "created_at")) or "")
        yield ListedSuppression(address, cause, at, " ".join(filter(None, said)))
