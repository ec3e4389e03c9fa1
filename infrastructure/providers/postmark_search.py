"""What Postmark has on record: sent messages, the suppression list of a stream, and whether it knows our token."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, Misconfigured, OutgoingMessage
from domain.address import address_key, ascii_address
from domain.answer import Answer
from domain.events import ProviderMessage
from infrastructure.providers import reading
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Request

_PAGE = 50  # far more than one email has attempts
_MOST_DETAILS = 10  # records to look into one by one, where the search does not show their metadata
_RETENTION = timedelta(days=7)  # the shortest that can be chosen; 45 days unless it is
_CLOCKS_DIFFER = timedelta(minutes=1)
_CUT = 1 << 22  # bytes; what is not JSON and as long as this was cut off by our own client
_FIRST_DAY = date(2009, 1, 1)  # Postmark is younger than that
_DAY = timedelta(days=1)

Span = tuple[date, date]

Cause = Literal["bounce", "complaint", "unsubscribe", "manual"]

# SuppressionReason, or for ManualSuppression its Origin.
CAUSES: Mapping[str, Cause] = {
    "HardBounce": "bounce",
    "SpamComplaint": "complaint",
    "Recipient": "unsubscribe",
    "Customer": "manual",
    "Admin": "manual",
}


async def find(client: HttpClient, message: OutgoingMessage, stream: str, now: datetime) -> Answer | None:
    """Records of this attempt that bear our id; an empty Answer when the search finds nothing at all."""
    try:
        listed = await _search(client, message, stream)
        if listed is None:
            return None
        if not listed:
            return Answer() if now - message.attempt.occurred_at < _RETENTION else None
        ours = await _ours(client, listed, str(message.email.originator_id))
    except (NotSent, AnswerLost):
        return None
    taken = _taken(message, [record for record in ours if _is_of_this_attempt(record, message)])
    return Answer(messages=taken) if taken else None


async def _search(client: HttpClient, message: OutgoingMessage, stream: str) -> Sequence[Any] | None:
    """Narrowed to the recipient when there is one, for a server that does not heed the filter by metadata.

    When that finds nothing, once more without: how Postmark compares addresses is not documented.
    """
    query = {
        "metadata_pl_email_id": str(message.email.originator_id),
        "messagestream": stream,
        "count": _PAGE,
        "offset": 0,
    }
    if len(message.recipients) == 1:
        address = message.recipients[0].address
        narrowed = await _list(client, {"recipient": ascii_address(address) or address, **query})
        if narrowed is None or narrowed:
            return narrowed
    return await _list(client, query)


async def _list(client: HttpClient, query: Mapping[str, object]) -> Sequence[Any] | None:
    """The records; None when this was not the answer to a search."""
    reply = await client.call(Request("GET", f"/messages/outbound?{urlencode(query)}"))
    said = reply.json() if reply.status == 200 else None
    listed = reading.get(said, "Messages")
    if not isinstance(listed, list):
        return None
    more = reading.integer(reading.get(said, "TotalCount")) or 0
    return listed if listed or not more else None


async def _ours(client: HttpClient, listed: Sequence[Any], email_id: str) -> list[Any]:
    """Those with our id, whether or not Postmark heeded the filter: to search by metadata is not in every document."""
    shown = [record for record in listed if isinstance(reading.get(record, "Metadata"), dict)]
    bare = [record for record in listed if not isinstance(reading.get(record, "Metadata"), dict)]
    for record in bare[:_MOST_DETAILS]:
        id = quote(reading.text(reading.get(record, "MessageID")) or "-", safe="")
        reply = await client.call(Request("GET", f"/messages/outbound/{id}/details"))
        shown += [reply.json()] if reply.status == 200 else []
    return [record for record in shown if reading.get(record, "Metadata", "pl_email_id") == email_id]


def _is_of_this_attempt(record: Any, message: OutgoingMessage) -> bool:
    """An email that was sent again has older records, which say nothing about the latest attempt."""
    received = reading.iso_time(reading.get(record, "ReceivedAt"))
    started = message.attempt.occurred_at - _CLOCKS_DIFFER
    return message.attempt.attempt == 1 or (received is not None and received >= started)


def _taken(message: OutgoingMessage, records: Sequence[Any]) -> tuple[ProviderMessage, ...]:
    found: dict[UUID, str] = {}
    for record in records:
        message_id = reading.text(reading.get(record, "MessageID"))
        named = {address_key(address) for address in _addresses(record)}
        for recipient in message.recipients:
            if message_id and address_key(recipient.address) in named:
                found.setdefault(recipient.id, message_id)
    return tuple(ProviderMessage(recipient_id=id, message_id=message_id) for id, message_id in found.items())


def _addresses(record: Any) -> list[str]:
    boxes = [box for name in ("To", "Cc", "Bcc") for box in reading.items(reading.get(record, name))]
    found = [reading.get(box, "Email") for box in boxes] + list(reading.items(reading.get(record, "Recipients")))
    return [address for address in found if isinstance(address, str)]


async def suppressions(client: HttpClient, stream: str, today: date) -> AsyncIterator[ListedSuppression]:
    """The stream's whole list, in one answer, or span by span where that is too long. Raises ProviderTrouble."""
    spans: list[Span | None] = [None]
    seen: set[ListedSuppression] = set()
    while spans:
        span = spans.pop()
        listed = await _dump(client, stream, span)
        if listed is None:
            spans += _halves(span or (_FIRST_DAY, today + _DAY))
        for entry in listed or ():
            found = _suppression(entry)
            if found.address and found not in seen:
                seen.add(found)
                yield found


async def _dump(client: HttpClient, stream: str, span: Span | None) -> Sequence[Any] | None:
    """The entries made in that time; None when the answer was too long to be read."""
    query = f"?{urlencode({'fromdate': span[0], 'todate': span[1]})}" if span else ""
    path = f"/message-streams/{quote(stream, safe='')}/suppressions/dump{query}"
    try:
        reply = await client.call(Request("GET", path))
    except (NotSent, AnswerLost) as trouble:
        raise ProviderTrouble(f"Postmark's suppression list was not to be had: {trouble}") from None
    listed = reading.get(reply.json(), "Suppressions") if reply.status == 200 else None
    if isinstance(listed, list):
        return listed
    if reply.status == 200 and len(reply.body) >= _CUT:
        return None
    raise ProviderTrouble(f"Postmark answered {reply.status} and no suppression list")


def _halves(span: Span) -> list[Span]:
    """Both share the day in the middle: whether `todate` includes its day is not documented."""
    first, last = span
    if last - first <= _DAY:
        raise ProviderTrouble("Postmark's suppression list of a single day is too long to be read")
    middle = first + (last - first) // 2
    return [(middle, last), (first, middle)]


def _suppression(entry: Any) -> ListedSuppression:
    address = reading.text(reading.get(entry, "EmailAddress")) or ""
    reason = reading.text(reading.get(entry, "SuppressionReason")) or ""
    origin = reading.text(reading.get(entry, "Origin")) or ""
    cause = CAUSES.get(origin if reason == "ManualSuppression" else reason, "manual")
    listed_at = reading.iso_time(reading.get(entry, "CreatedAt"))
    return ListedSuppression(address, cause, listed_at, f"{reason} ({origin})")


async def check(client: HttpClient) -> str | None:
    """What is wrong with the token or the way to Postmark; None: nothing."""
    try:
        reply = await client.call(Request("GET", "/server"))
    except (NotSent, AnswerLost) as trouble:
        return f"Postmark was not reached: {trouble}"
    if reply.status == 401:
        return Misconfigured("Postmark does not know the server token")
    return None if reply.status == 200 and reading.mapping(reply.json()) else f"Postmark answered {reply.status}"
