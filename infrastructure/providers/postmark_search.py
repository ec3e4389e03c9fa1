"""What Postmark has on record: sent messages, the suppression list of a stream, and whether it knows our token."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, OutgoingMessage
from domain.address import address_key
from domain.answer import Answer
from domain.events import ProviderMessage
from infrastructure.providers import reading
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request

_PAGE = 50  # far more than one email has attempts
_MOST_DETAILS = 10  # records to look into one by one, where the search does not show their metadata
_RETENTION = timedelta(days=7)  # the shortest that can be chosen; 45 days unless it is
_CLOCKS_DIFFER = timedelta(minutes=1)

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
        listed = _listed(await client.call(Request("GET", _search(message, stream))))
        if listed is None:
            return None
        if not listed:
            return Answer() if now - message.attempt.occurred_at < _RETENTION else None
        ours = await _ours(client, listed, str(message.email.originator_id))
    except (NotSent, AnswerLost):
        return None
    taken = _taken(message, [record for record in ours if _is_of_this_attempt(record, message)])
    return Answer(messages=taken) if taken else None


def _search(message: OutgoingMessage, stream: str) -> str:
    """`recipient` narrows it down, but would hide a record that does not name this one of several."""
    query = {
        "metadata_pl_email_id": str(message.email.originator_id),
        **({"recipient": message.recipients[0].address} if len(message.recipients) == 1 else {}),
        "messagestream": stream,
        "count": _PAGE,
        "offset": 0,
    }
    return f"/messages/outbound?{urlencode(query)}"


def _listed(reply: Reply) -> Sequence[Any] | None:
    """The records; None when this is not the answer to a search."""
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


async def suppressions(client: HttpClient, stream: str) -> AsyncIterator[ListedSuppression]:
    """The stream's whole list, which Postmark gives in one answer. Raises ProviderTrouble."""
    try:
        reply = await client.call(Request("GET", f"/message-streams/{quote(stream, safe='')}/suppressions/dump"))
    except (NotSent, AnswerLost) as trouble:
        raise ProviderTrouble(f"Postmark's suppression list was not to be had: {trouble}") from None
    listed = reading.get(reply.json(), "Suppressions") if reply.status == 200 else None
    if not isinstance(listed, list):
        raise ProviderTrouble(f"Postmark answered {reply.status} and no suppression list")
    for entry in listed:
        if address := reading.text(reading.get(entry, "EmailAddress")):
            yield _suppression(entry, address)


def _suppression(entry: Any, address: str) -> ListedSuppression:
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
        return "Postmark does not know the server token"
    return None if reply.status == 200 and reading.mapping(reply.json()) else f"Postmark answered {reply.status}"
