"""What SendGrid has on record: messages it took, its suppression lists, and what our key may do."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from pydantic_core import to_json

from application.errors import ProviderTrouble
from application.ports import ListedSuppression, Misconfigured, OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer
from domain.events import ProviderMessage
from infrastructure.providers import reading
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Request
from infrastructure.providers.json_body import texts
from infrastructure.providers.sendgrid_webhooks import message_id

_RETENTION = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(minutes=1)
_ASKED_ABOUT = 5  # recipients: SendGrid takes a call as a whole or not at all, so a few speak for all
_MOST_DETAILS = 20  # records of one recipient to look into
_PAGE = 500  # the most that SendGrid gives
_UNSAFE = frozenset("'\"\\")  # how the query language escapes these is not documented

Cause = Literal["bounce", "complaint", "invalid", "unsubscribe"]

# The lists whose entries speak about an address. `blocks` is not among them: those messages were refused for other
# reasons, and SendGrid goes on sending to such addresses.
LISTS: Mapping[str, Cause] = {
    "bounces": "bounce",
    "spam_reports": "complaint",
    "invalid_emails": "invalid",
    "unsubscribes": "unsubscribe",
}


async def find(client: HttpClient, message: OutgoingMessage, now: datetime) -> Answer | None:
    """Whether SendGrid took the attempt's call: by a record with our id; not, when there are no records at all."""
    if now - message.attempt.occurred_at > _RETENTION or not message.recipients:
        return None
    try:
        nothing = True
        for address in _addresses(message):
            records = await _records(client, address, _since(message))
            if records and (found := await _with_our_id(client, records, message)):
                return Answer(messages=_taken(message, found))
            nothing = nothing and records is not None and not records
    except (NotSent, AnswerLost):
        return None
    return Answer() if nothing else None


def _addresses(message: OutgoingMessage) -> Iterator[str]:
    """As they were sent, and in lower case: the search tells these apart, and SendGrid may have changed the case."""
    for recipient in message.recipients[:_ASKED_ABOUT]:
        address = ascii_address(recipient.address) or recipient.address
        yield from dict.fromkeys((address, address.lower()))


async def _records(client: HttpClient, address: str, since: datetime) -> Sequence[Any] | None:
    """Records of messages to this address since then; None when that cannot be asked, or was not answered."""
    if not _UNSAFE.isdisjoint(address):
        return None
    moment = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    query = f"to_email = '{address}' AND sg_message_id_created_at >= TIMESTAMP \"{moment}\""
    body = to_json({"query": query, "limit": _MOST_DETAILS})
    reply = await client.call(Request("POST", "/v3/logs", body, {"Content-Type": "application/json"}))
    listed = reading.get(reply.json(), "messages") if reply.status == 200 else None
    return listed if isinstance(listed, list) else None


async def _with_our_id(client: HttpClient, records: Sequence[Any], message: OutgoingMessage) -> str | None:
    """The id of the message whose details bear our email's id."""
    email_id = str(message.email.originator_id)
    for record in records[:_MOST_DETAILS]:
        full = reading.text(reading.get(record, "sg_message_id"))
        if full is None or not _is_of_this_attempt(record, message):
            continue
        reply = await client.call(Request("GET", f"/v3/logs/{quote(full, safe='')}"))
        details = reading.mapping(reply.json()) if reply.status == 200 else {}
        said = {name: value for name, value in details.items() if name != "subject"}  # which is the author's to write
        if any(email_id in text for text in texts(said)):
            return message_id(full)
    return None


def _since(message: OutgoingMessage) -> datetime:
    return message.attempt.occurred_at - _CLOCKS_DIFFER


def _is_of_this_attempt(record: Any, message: OutgoingMessage) -> bool:
    """Should the search not heed the time: an email that was sent again has older records, which prove nothing."""
    created = reading.iso_time(reading.get(record, "sg_message_id_created_at"))
    return message.attempt.attempt == 1 or (created is not None and created >= _since(message))


def _taken(message: OutgoingMessage, found: str) -> tuple[ProviderMessage, ...]:
    return tuple(ProviderMessage(recipient_id=recipient.id, message_id=found) for recipient in message.recipients)


async def suppressions(client: HttpClient) -> AsyncIterator[ListedSuppression]:
    """All lists, each page by page until an empty one. Raises ProviderTrouble."""
    for name, cause in LISTS.items():
        offset = 0
        while page := await _page(client, name, offset):
            offset += len(page)
            for entry in page:
                if address := reading.text(reading.get(entry, "email")):
                    yield _suppression(entry, address, cause)


async def _page(client: HttpClient, name: str, offset: int) -> Sequence[Any]:
    try:
        reply = await client.call(Request("GET", f"/v3/suppression/{name}?limit={_PAGE}&offset={offset}"))
    except (NotSent, AnswerLost) as trouble:
        raise ProviderTrouble(f"SendGrid's list of {name} was not to be had: {trouble}") from None
    listed = reply.json() if reply.status == 200 else None
    if not isinstance(listed, list):
        raise ProviderTrouble(f"SendGrid answered {reply.status} and no list of {name}")
    return listed


def _suppression(entry: Any, address: str, cause: Cause) -> ListedSuppression:
    words = reading.text(reading.get(entry, "reason")) or ""
    return ListedSuppression(address, cause, reading.unix_time(reading.get(entry, "created")), words)


async def check(client: HttpClient) -> str | None:
    """What is wrong with the key or the way to SendGrid; None: nothing."""
    try:
        reply = await client.call(Request("GET", "/v3/scopes"))
    except (NotSent, AnswerLost) as trouble:
        return f"SendGrid was not reached: {trouble}"
    if reply.status in (401, 403):
        return Misconfigured("SendGrid does not accept the API key")
    scopes = reading.get(reply.json(), "scopes") if reply.status == 200 else None
    if not isinstance(scopes, list):
        return f"SendGrid answered {reply.status} and no list of scopes"
    return None if "mail.send" in scopes else Misconfigured("The API key may not send: it lacks the scope mail.send")
