"""Pigeon (invented; API v1): the example of docs/adding-a-provider.md, which shows all of this file.

Quirks:
* One POST /v1/messages for each recipient: `deliver_to` is the envelope, `to` and `cc` are what the message shows.
* There is no idempotency key. Messages can be searched by our reference, for thirty days.
* 201 without an id has been seen: that is no yes.
* A webhook is signed over its timestamp and its raw body. A repetition has the same body, and a new signature.
* `suppressed` names the list, not the reason; the list itself can be read.
"""

import hmac
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from application.errors import ProviderTrouble, Untrusted
from application.ports import Clock, Hook, ListedSuppression, OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import BounceClass, ProviderMessage, Recipient
from domain.feedback import Feedback, Kind
from infrastructure.mime_headers import clean
from infrastructure.providers import reading
from infrastructure.providers.each import send_each
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from infrastructure.providers.json_body import Bytes, JsonBody
from infrastructure.providers.provider_url import ProviderUrl

# -- settings


@dataclass(frozen=True, slots=True)
class PigeonSettings:
    """`pigeon://KEY@default?webhook_key=SECRET&test=off&timeout=60`, `webhook_key` as often as needed."""

    key: str = field(repr=False)
    base_url: str
    webhook_keys: tuple[str, ...] = field(default=(), repr=False)
    test: bool = False  # validate, send nothing
    timeout: float = 60.0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raises ValueError, which names what is wrong and never the value."""
        given = ProviderUrl.parse(url, ("webhook_key", "test", "timeout"))
        webhook_keys = given.all("webhook_key")
        if not all(key.strip() for key in webhook_keys):
            raise ValueError("webhook_key is empty")  # anybody could sign with that
        return cls(
            key=given.key,
            base_url=given.base_url("api.pigeon.example"),
            webhook_keys=webhook_keys,
            test=given.switch("test"),
            timeout=given.seconds("timeout", 60.0),
        )


# -- build


def build(message: OutgoingMessage, recipient: Recipient, settings: PigeonSettings) -> Request:
    """The call for one recipient. Attachments are read while it is sent."""
    body = JsonBody.of(message, _document(message, recipient, test=settings.test))
    headers = {"Content-Type": "application/json"}
    return Request("POST", "/v1/messages", body if body.streamed else body.whole(), headers, body.length)


def _document(message: OutgoingMessage, recipient: Recipient, *, test: bool) -> dict[str, Any]:
    email, content = message.email, message.content
    shown = {kind: [_mailbox(r) for r in email.recipients if r.kind == kind] for kind in ("to", "cc")}
    return {
        **shown,
        "deliver_to": ascii_address(recipient.address) or recipient.address,
        "from": {"address": email.sender.address, "name": clean(email.sender.name)},
        "subject": email.subject,
        "text": content.text,
        "html": content.html,
        "headers": {**content.headers, "Message-ID": message.message_id},
        "attachments": [
            {"name": each.filename, "type": each.content_type, "content": Bytes(each)} for each in email.attachments
        ],
        "reference": {"pl_email_id": str(email.originator_id), "pl_recipient_id": str(recipient.id)},
        "test": test,
    }


def _mailbox(recipient: Recipient) -> dict[str, str]:
    return {"address": ascii_address(recipient.address) or recipient.address, "name": clean(recipient.name)}


# -- parse

# Pigeon's word for what is wrong, then the HTTP status where it gives none that we know.
ERRORS: Mapping[str, ErrorClass] = {
    "invalid_message": ErrorClass.PERMANENT,
    "suppressed": ErrorClass.SUPPRESSED,
    "slow_down": ErrorClass.RATE_LIMITED,
    "monthly_limit": ErrorClass.QUOTA,
    "unknown_key": ErrorClass.CONFIG,
    "sender_not_verified": ErrorClass.CONFIG,
}
STATUSES: Mapping[int, ErrorClass] = {
    400: ErrorClass.PERMANENT,
    401: ErrorClass.CONFIG,
    403: ErrorClass.CONFIG,
    404: ErrorClass.CONFIG,
    408: ErrorClass.TRANSIENT,
    413: ErrorClass.PERMANENT,
    422: ErrorClass.PERMANENT,
    429: ErrorClass.RATE_LIMITED,
    500: ErrorClass.TRANSIENT,
    503: ErrorClass.TRANSIENT,
}  # anything else, a 502 or 504 of a gateway among it, may have been taken
_LONGEST_WAIT = 86_400  # seconds


def parse(recipient: Recipient, reply: Reply) -> Answer:
    """The answer to the call for this recipient."""
    said = reply.json()
    message_id, code = reading.text(reading.get(said, "id")), reading.word(reading.get(said, "error"))
    words = reading.text(reading.get(said, "message")) or clean(reply.text[:500])
    if reply.status == 201 and message_id:
        return Answer(messages=(ProviderMessage(recipient_id=recipient.id, message_id=message_id),), words=words)
    error_class = ERRORS.get(code) or STATUSES.get(reply.status, ErrorClass.UNKNOWN)
    reason = code if code in ERRORS else f"http_{reply.status}"
    wait = reading.integer(reply.headers.get("retry-after")) or 0
    retry_after = timedelta(seconds=wait) if 0 < wait <= _LONGEST_WAIT else None
    return Answer(error_class=error_class, reason=reason, words=words, retry_after=retry_after)


# -- verify

_TOLERANCE = timedelta(minutes=5)  # every repetition is signed anew
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def verify(hook: Hook, keys: tuple[str, ...], now: datetime) -> str:
    """The delivery's key, the same for every repetition. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    timestamp, given = hook.headers.get("pigeon-timestamp"), hook.headers.get("pigeon-signature")
    if not timestamp or not given:
        raise Untrusted("missing_header")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Untrusted("malformed")
    signed, signature = timestamp.encode() + b"." + hook.body, given.encode("utf-8", "replace")
    expected = [hmac.digest(key.encode(), signed, "sha256").hex().encode() for key in keys]
    if not any([hmac.compare_digest(each, signature) for each in expected]):
        raise Untrusted("bad_signature")
    if abs(now.timestamp() - int(timestamp)) > _TOLERANCE.total_seconds():
        raise Untrusted("stale")
    return reading.key(hook.body)


# -- FEEDBACK


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word of Pigeon's is in ours."""

    kind: Kind
    bounce_class: BounceClass | None = None
    reason: str | None = None
    terminal: bool = False
    add_to_suppression: bool = False


# The event, and of a bounce its cause.
FEEDBACK: Mapping[str, Meaning] = {
    "accepted": Meaning(Kind.ACCEPTED),
    "delivered": Meaning(Kind.DELIVERED),
    "delayed": Meaning(Kind.DEFERRED),
    "bounced": Meaning(Kind.BOUNCED, "undetermined", terminal=True),
    "bounced/no_such_mailbox": Meaning(Kind.BOUNCED, "hard", "invalid_address", True, True),
    "bounced/mailbox_full": Meaning(Kind.BOUNCED, "soft", "mailbox_full", True),
    "bounced/blocked": Meaning(Kind.BOUNCED, "soft", "policy", True),  # this message, not this address
    "suppressed": Meaning(Kind.SUPPRESSED, None, "pigeon_list", True, True),
    "opened": Meaning(Kind.OPENED),
    "clicked": Meaning(Kind.CLICKED),
    "complained": Meaning(Kind.COMPLAINED, None, "abuse", True, True),
    "unsubscribed": Meaning(Kind.UNSUBSCRIBED, None, "all", False, True),
}


# -- translate


def translate(hook: Hook) -> list[Feedback]:
    """One statement to a delivery. Never raises: what it does not know is IGNORED, and kept."""
    said = reading.json(hook.body)
    if not isinstance(said, dict):
        return [Feedback(kind=Kind.IGNORED, provider_type="unreadable", keys=(reading.key(hook.body),))]
    event, cause = reading.word(said.get("event")), reading.word(said.get("cause"))
    word = f"{event}/{cause}" if cause else event
    meaning = FEEDBACK.get(word) or FEEDBACK.get(event) or Meaning(Kind.IGNORED)
    event_id = reading.text(said.get("id"))
    return [
        Feedback(
            kind=meaning.kind,
            provider_type=word[:100] or "unknown",
            keys=(event_id or reading.key(hook.body),),
            occurred_at=reading.iso_time(said.get("at")),
            email_id=reading.uuid(reading.get(said, "reference", "pl_email_id")),
            recipient_id=reading.uuid(reading.get(said, "reference", "pl_recipient_id")),
            recipient=reading.text(said.get("recipient")),
            provider_message_id=reading.text(said.get("message_id")),
            provider_event_id=event_id,
            bounce_class=meaning.bounce_class,
            reason=meaning.reason,
            smtp_status=reading.smtp_status(said.get("smtp_status")),
            words=reading.text(said.get("words")) or "",
            machine=said.get("by_machine") is True,
            url=reading.text(said.get("url")) if meaning.kind is Kind.CLICKED else None,
            terminal=meaning.terminal,
            add_to_suppression=meaning.add_to_suppression,
        )
    ]


# -- the provider

Cause = Literal["bounce", "complaint", "manual"]

_SEARCHABLE = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(minutes=1)
_CAUSES: Mapping[str, Cause] = {"bounce": "bounce", "complaint": "complaint"}


class _NoTelling(Exception):
    """The search does not say whether the message is there."""


class PigeonProvider:
    """An EmailProvider, FeedbackSource and SuppressionSource for one Pigeon account."""

    separate = True

    def __init__(self, name: str, settings: PigeonSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._http = HttpClient(
            settings.base_url, {"Authorization": f"Bearer {settings.key}"}, timeout=settings.timeout
        )

    async def send(self, message: OutgoingMessage) -> Answer:
        async def call(recipient: Recipient) -> Answer:
            try:
                reply = await self._http.call(build(message, recipient, self._settings))
            except (NotSent, AnswerLost) as trouble:
                return no_answer(trouble)
            return parse(recipient, self._redacted(reply))

        return await send_each(message, call, self.name, self._clock)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        if self._clock() - message.attempt.occurred_at > _SEARCHABLE:
            return None
        try:
            found = [(recipient.id, await self._find(message, recipient)) for recipient in message.recipients]
        except (NotSent, AnswerLost, _NoTelling):
            return None
        return Answer(messages=tuple(ProviderMessage(recipient_id=who, message_id=id) for who, id in found if id))

    async def check(self) -> str | None:
        try:
            reply = await self._http.call(Request("GET", "/v1/account"))
        except (NotSent, AnswerLost) as trouble:
            return f"Pigeon cannot be reached: {trouble}."
        return None if reply.status == 200 else f"Pigeon answers {reply.status} when asked for the account."

    async def close(self) -> None:
        await self._http.close()

    async def verify(self, hook: Hook) -> str:
        return verify(hook, self._settings.webhook_keys, self._clock())

    def translate(self, hook: Hook) -> list[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """Pigeon asks for nothing."""

    async def suppressions(self) -> AsyncIterator[ListedSuppression]:
        path: str | None = "/v1/suppressions"
        while path:
            page = await self._page(path)
            for entry in reading.items(page.get("suppressions")):
                if address := reading.text(reading.get(entry, "address")):
                    cause: Cause = _CAUSES.get(reading.word(reading.get(entry, "cause")), "manual")
                    yield ListedSuppression(address, cause, reading.iso_time(reading.get(entry, "since")))
            path = page.get("next") if isinstance(page.get("next"), str) else None

    async def _find(self, message: OutgoingMessage, recipient: Recipient) -> str | None:
        """The id under which this attempt was taken for this recipient. Raises _NoTelling."""
        reply = await self._http.call(Request("GET", f"/v1/messages?reference={recipient.id}"))
        listed = reading.get(reply.json(), "messages") if reply.status == 200 else None
        if not isinstance(listed, list):
            raise _NoTelling
        since = message.attempt.occurred_at - _CLOCKS_DIFFER
        for entry in listed:
            id, at = reading.text(reading.get(entry, "id")), reading.iso_time(reading.get(entry, "created_at"))
            if id and (message.attempt.attempt == 1 or (at is not None and at >= since)):
                return id  # of a later attempt, an older message proves nothing
        return None

    async def _page(self, path: str) -> Mapping[str, Any]:
        try:
            reply = await self._http.call(Request("GET", path))
        except (NotSent, AnswerLost) as trouble:
            raise ProviderTrouble(f"Pigeon's suppression list cannot be read: {trouble}.") from None
        page = reading.mapping(reply.json())
        if reply.status != 200 or not isinstance(page.get("suppressions"), list):
            raise ProviderTrouble(f"Pigeon's suppression list cannot be read: it answers {reply.status}.")
        return page

    def _redacted(self, reply: Reply) -> Reply:
        """What a proxy in between may quote is not to be kept."""
        return replace(reply, body=reply.body.replace(self._settings.key.encode(), b"***"))
