"""Mailgun (Messages API v3, MIME; webhooks of 2018 and later).

Quirks:
* Our own MIME goes to `messages.mime`, one call per recipient: a bad address fails its whole call, and Mailgun does not
  say which it was. `to` is the envelope; the message's headers stay as they are (CONTRACTS 2.1).
* There is no idempotency. After a lost answer the logs may tell (mailgun_search).
* A wrong path is answered with 200 and "Mailgun Magnificent API": only an id means that a message was taken.
* The answer has the message id in angle brackets, events have it without.
* The signature of a webhook covers a timestamp and a token, and nothing of the event: whoever has seen one can put it
  on another event. The token is the key of the delivery, so that the inbox refuses it with another body. Where the
  timestamp ends and the token begins is not signed either: a timestamp far ahead is refused for that.
* `user-variables` and `storage` are `[]` when empty, `delivery-status` may be null (anymail#131).
* `rejected` names no recipient. The To header is that of our message, so it only names the first recipient.
* An event's id is unique within a day: it counts together with the event's second.
* `delivered` is the one webhook that is never repeated.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import getaddresses
from typing import Any, Self
from uuid import UUID

from application.errors import Untrusted
from application.ports import Clock, Hook, ListedSuppression, Misconfigured, OutgoingMessage
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import ProviderMessage, Recipient
from domain.feedback import Feedback, Kind
from domain.ids import recipient_id
from infrastructure.mime import build_mime
from infrastructure.providers import mailgun_search as search
from infrastructure.providers import reading
from infrastructure.providers.each import send_each
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from infrastructure.providers.mailgun_failures import Failure, bounced, cause, suppressed
from infrastructure.providers.mailgun_form import Form
from infrastructure.providers.pauses import is_last, with_pause
from infrastructure.providers.provider_url import ProviderUrl

_HOSTS = {"us": "api.mailgun.net", "eu": "api.eu.mailgun.net"}  # a domain exists in one region only
_OPTIONS = ("domain", "region", "webhook_key", "testmode", "tolerance", "timeout")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]+")
_TOLERANCE = 9 * 3600.0  # seconds: repetitions go on for 8 hours, maybe with their first signature (CONTRACTS 2.3)
_TAG = re.compile(r"[ -~]{1,128}")
_MOST_TAGS = 3
_MOST_RECIPIENTS = 1000  # of one email
_LONGEST_WORDS = 500


@dataclass(frozen=True, slots=True)
class MailgunSettings:
    """`mailgun://KEY@default?domain=mg.example.com&region=eu&webhook_key=…`"""

    key: str = field(repr=False)
    base_url: str
    domain: str
    webhook_keys: tuple[str, ...] = field(default=(), repr=False)
    testmode: bool = False  # taken and billed, not delivered
    tolerance: timedelta = timedelta(seconds=_TOLERANCE)
    timeout: float = 60.0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raises ValueError, which names what is wrong and never the value."""
        given = ProviderUrl.parse(url, _OPTIONS)
        domain, webhook_keys = given.one("domain") or "", given.all("webhook_key")
        if not all(key.strip() for key in webhook_keys):
            raise ValueError("webhook_key is empty")  # anybody could sign with that
        if not _DOMAIN.fullmatch(domain):
            raise ValueError("domain is missing, or no domain: mailgun://KEY@default?domain=mg.example.com")
        return cls(
            key=given.key,
            base_url=given.base_url(_HOSTS[given.choice("region", *_HOSTS, default="us")]),
            domain=domain.lower(),
            webhook_keys=webhook_keys,
            testmode=given.switch("testmode"),
            tolerance=timedelta(seconds=given.seconds("tolerance", _TOLERANCE)),
            timeout=given.seconds("timeout", 60.0),
        )


def build(message: OutgoingMessage, recipient: Recipient, mime: bytes, settings: MailgunSettings) -> Request:
    """The call for one recipient; `mime` is the message, the same for all."""
    fields = list(_fields(message, recipient, settings))
    form = Form.of(fields, "message", mime, message.email.originator_id.hex)
    path = f"/v3/{settings.domain}/messages.mime"
    return Request("POST", path, form, {"Content-Type": form.content_type}, form.length)


def _fields(message: OutgoingMessage, recipient: Recipient, settings: MailgunSettings) -> Iterator[tuple[str, str]]:
    yield "to", search.wire_address(recipient.address)  # no display name: a comma in one is two (anymail#270)
    tags = dict.fromkeys(f"{tag.name}:{tag.value}" for tag in message.email.tags)
    for tag in [tag for tag in tags if _TAG.fullmatch(tag)][:_MOST_TAGS]:
        yield "o:tag", tag
    if settings.testmode:
        yield "o:testmode", "yes"
    if not message.tracking:  # the narrower ones win over what the domain has
        yield from (("o:tracking", "no"), ("o:tracking-clicks", "no"), ("o:tracking-opens", "no"))
    yield "v:pl_email_id", str(message.email.originator_id)  # recipients can see these: ids only
    yield "v:pl_recipient_id", str(recipient.id)


ANSWERS: Mapping[int, tuple[ErrorClass, str]] = {
    401: (ErrorClass.CONFIG, "unauthorized"),
    402: (ErrorClass.PERMANENT, "request_failed"),
    403: (ErrorClass.CONFIG, "forbidden"),
    404: (ErrorClass.CONFIG, "domain_not_found"),  # usually it is in the other region
    408: (ErrorClass.TRANSIENT, "request_timeout"),
    413: (ErrorClass.PERMANENT, "too_large"),
    429: (ErrorClass.RATE_LIMITED, "rate_limited"),
}
_BY_CLASS: Mapping[int, tuple[ErrorClass, str]] = {
    2: (ErrorClass.UNKNOWN, "unexpected_answer"),
    3: (ErrorClass.CONFIG, "redirected"),
    4: (ErrorClass.PERMANENT, "refused"),
    5: (ErrorClass.TRANSIENT, "server_error"),
}
_NOT_ALLOWED = re.compile(r"not allowed to send|unverified|not verified|\bdisabled\b|\bsuspended\b|\bactivate\b", re.I)
_DATE = re.compile(r"[a-z]{3}, \d{1,2} [a-z]{3} \d{4} \d\d:\d\d:\d\d (?:[a-z]{3}|[+-]\d{4})", re.I)


def parse(recipient: Recipient, reply: Reply, now: datetime) -> Answer:
    """The answer to the call for this recipient."""
    document = reply.json()
    words = (reading.text(reading.get(document, "message")) or reply.text.strip())[:_LONGEST_WORDS]
    message_id = (reading.text(reading.get(document, "id")) or "").strip("<>")
    if 200 <= reply.status < 300 and message_id:
        taken = Answer(messages=(ProviderMessage(recipient_id=recipient.id, message_id=message_id),), words=words)
        return with_pause(taken, _exhausted(reply, now))
    error_class, reason = _trouble(reply.status, words)
    wait = _retry_after(reply, words, now)
    answer = Answer(error_class=error_class, reason=reason, words=words, retry_after=wait)
    return with_pause(answer, _exhausted(reply, now))


def _exhausted(reply: Reply, now: datetime) -> timedelta | None:
    reset = reading.unix_time(reply.headers.get("x-ratelimit-reset"))
    return reset - now if reset and is_last(reply, "x-ratelimit-remaining") else None


def _trouble(status: int, words: str) -> tuple[ErrorClass, str]:
    if status == 200:
        return ErrorClass.CONFIG, "not_the_api"
    if status == 400 and _NOT_ALLOWED.search(words):
        return ErrorClass.CONFIG, "domain_not_allowed"
    return ANSWERS.get(status) or _BY_CLASS.get(status // 100) or (ErrorClass.UNKNOWN, "unexpected_answer")


def _retry_after(reply: Reply, words: str, now: datetime) -> timedelta | None:
    """Mailgun writes the date into its message; the header fields are not documented, and honoured should they come."""
    if reply.status not in (429, 503):
        return None
    header = reply.headers.get("retry-after", "")
    if (seconds := reading.integer(header)) is not None:
        return timedelta(seconds=seconds) if 0 < seconds < 1 << 31 else None
    date = _DATE.search(words)
    at = search.moment(header) or (search.moment(date[0]) if date else None)
    at = at or reading.unix_time(reply.headers.get("x-ratelimit-reset"))
    return at - now if at and at > now else None


def verify(hook: Hook, keys: Sequence[str], now: datetime, tolerance: timedelta) -> str:
    """The delivery's token, once its signature has proved right. Raises Untrusted."""
    if not keys:
        raise Untrusted("no_key")
    block = reading.get(reading.json(hook.body), "signature")
    timestamp, token = _timestamp(reading.get(block, "timestamp")), reading.get(block, "token")
    claims = [reading.get(block, "signature"), reading.get(block, "parent-signature")]  # the latter: of a subaccount
    signatures = [each.encode("utf-8", "replace") for each in claims if isinstance(each, str)]
    if timestamp is None or not isinstance(token, str) or not token or not signatures:
        raise Untrusted("malformed")
    signed = (timestamp + token).encode("utf-8", "replace")
    expected = [hmac.new(key.encode(), signed, "sha256").hexdigest().encode() for key in keys]
    if not any([hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures]):
        raise Untrusted("bad_signature")
    if abs(now.timestamp() - int(timestamp)) > tolerance.total_seconds():
        raise Untrusted("stale")
    return token


def _timestamp(value: object) -> str | None:
    """Its decimal text; documented as a number, sent as a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 10**12 else None
    return value if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value) else None


FEEDBACK: Mapping[str, Kind] = {
    "accepted": Kind.ACCEPTED,
    "delivered": Kind.DELIVERED,
    "failed/temporary": Kind.DEFERRED,
    "failed/permanent": Kind.BOUNCED,  # or SUPPRESSED
    "rejected": Kind.REJECTED,
    "opened": Kind.OPENED,
    "clicked": Kind.CLICKED,
    "unsubscribed": Kind.UNSUBSCRIBED,
    "complained": Kind.COMPLAINED,
}
_WORDS = (("delivery-status", "message"), ("delivery-status", "description"), ("reject", "reason"))
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_BOTS = frozenset({"apple", "gmail", "generic"})  # `client-info.bot`


def translate(hook: Hook) -> list[Feedback]:
    """What a webhook says: one thing about one recipient."""
    event = reading.get(reading.json(hook.body), "event-data")
    if not isinstance(event, dict):
        return [Feedback(kind=Kind.IGNORED, provider_type="unreadable", keys=(reading.key(hook.body),))]
    said = _said(event)
    details = _DETAILS.get(said.kind)
    return [details(said, event) if details else said]


def _said(event: Mapping[str, Any]) -> Feedback:
    """What all events have."""
    type = reading.word(event.get("event"))
    if type == "failed":
        type = f"failed/{reading.word(event.get('severity')) or 'unknown'}"
    at, id = reading.unix_time(event.get("timestamp")), reading.text(event.get("id"))
    variables = search.carried(event.get("user-variables")) or {}
    message_id, recipient = search.message_id(event), reading.text(event.get("recipient"))
    second = int(at.timestamp()) if at else event.get("timestamp")
    return Feedback(
        kind=FEEDBACK.get(type, Kind.IGNORED),
        provider_type=type[:100] or "unknown",
        keys=(
            f"{id}:{second}" if id and at else reading.key(type, id, second, message_id, recipient, event.get("url")),
        ),
        occurred_at=at,
        email_id=reading.uuid(variables.get("pl_email_id")),
        recipient_id=reading.uuid(variables.get("pl_recipient_id")),
        recipient=recipient,
        provider_message_id=message_id,
        provider_event_id=id,
        smtp_status=reading.smtp_status(reading.get(event, "delivery-status", "code")),
        enhanced_status=_enhanced(event),
        words=_words(event),
    )


def _words(event: Mapping[str, Any]) -> str:
    found = (reading.text(reading.get(event, *place)) for place in _WORDS)
    return next(filter(None, found), "")


def _enhanced(event: Mapping[str, Any]) -> str | None:
    stated = (
        reading.text(reading.get(event, "delivery-status", name)) or "" for name in ("enhanced-code", "bounce-code")
    )
    return next((each for each in stated if _STATUS.fullmatch(each)), None)


def _bounced(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    """A permanent failure: Mailgun did not even try, or it bounced."""
    failure = _failure(said, event)
    if listed := suppressed(failure):
        return replace(said, kind=Kind.SUPPRESSED, reason=listed, terminal=True, add_to_suppression=True)
    bounce = bounced(failure)
    dead = bounce.address_is_dead
    return replace(said, bounce_class=bounce.bounce_class, reason=bounce.reason, terminal=True, add_to_suppression=dead)


def _deferred(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    return replace(said, reason=cause(_failure(said, event)))


def _failure(said: Feedback, event: Mapping[str, Any]) -> Failure:
    stated = reading.word(reading.get(event, "delivery-status", "bounce-type"))
    return Failure(reading.word(event.get("reason")), said.smtp_status, said.enhanced_status, stated)


def _rejected(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    recipient = said.recipient or _addressee(said, event)
    return replace(said, recipient=recipient, reason="provider_policy", terminal=True)


def _addressee(said: Feedback, event: Mapping[str, Any]) -> str | None:
    """The To header's single address, unless our ids tell that the call was for somebody after the first recipient."""
    if said.email_id and said.recipient_id and _is_a_later_one(said.email_id, said.recipient_id):
        return None
    header = reading.text(reading.get(event, "message", "headers", "to")) or ""
    addresses = [address for _, address in getaddresses([header])]
    return addresses[0] if len(addresses) == 1 and "@" in addresses[0] else None


def _is_a_later_one(email_id: UUID, recipient: UUID) -> bool:
    """Recipients' ids count on from the email's (`domain.ids`)."""
    return any(recipient == recipient_id(email_id, index) for index in range(1, _MOST_RECIPIENTS))


def _engaged(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    url = reading.text(event.get("url")) if said.kind is Kind.CLICKED else None
    return replace(said, url=url, machine=reading.word(reading.get(event, "client-info", "bot")) in _BOTS)


def _unsubscribed(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    return replace(said, scope="domain", reason="domain", add_to_suppression=True)


def _complained(said: Feedback, event: Mapping[str, Any]) -> Feedback:
    return replace(said, terminal=True, add_to_suppression=True)


_DETAILS: Mapping[Kind, Callable[[Feedback, Mapping[str, Any]], Feedback]] = {
    Kind.DEFERRED: _deferred,
    Kind.BOUNCED: _bounced,
    Kind.REJECTED: _rejected,
    Kind.OPENED: _engaged,
    Kind.CLICKED: _engaged,
    Kind.UNSUBSCRIBED: _unsubscribed,
    Kind.COMPLAINED: _complained,
}


class MailgunProvider:
    """An EmailProvider, a FeedbackSource and a SuppressionSource for one Mailgun domain."""

    separate = True

    def __init__(self, name: str, settings: MailgunSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        credentials = b64encode(f"api:{settings.key}".encode()).decode()
        self._secrets = (settings.key, credentials)
        self._http = HttpClient(settings.base_url, {"Authorization": f"Basic {credentials}"}, timeout=settings.timeout)

    async def send(self, message: OutgoingMessage) -> Answer:
        attachments = [(attachment, await message.read(attachment)) for attachment in message.email.attachments]
        mime = build_mime(message, attachments)

        async def call(recipient: Recipient) -> Answer:
            try:
                reply = await self._http.call(build(message, recipient, mime, self._settings), message.still_ours)
            except (NotSent, AnswerLost) as trouble:
                return no_answer(trouble)
            answer = parse(recipient, reply, self._clock())
            return replace(answer, words=self._without_secrets(answer.words))

        return await send_each(message, call, self.name, self._clock)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        now, taken = self._clock(), []
        try:
            for recipient in message.recipients:
                if id := await search.find(self._http, message, recipient, now):
                    taken.append(ProviderMessage(recipient_id=recipient.id, message_id=id))
        except search.NoTelling:
            return None
        return Answer(messages=tuple(taken))

    async def check(self) -> str | None:
        try:
            reply = await self._http.call(Request("GET", f"/v4/domains/{self._settings.domain}"))
        except (NotSent, AnswerLost) as trouble:
            return f"Mailgun cannot be reached: {trouble}."
        if reply.status == 401:
            return None  # so it answers a key that may only send: nothing can be told
        if reply.status == 404:
            return Misconfigured("Mailgun does not know the domain. Is it in the other region?")
        if reply.status != 200:
            return f"Mailgun answers {reply.status} when asked for the domain."
        state = reading.word(reading.get(reply.json(), "domain", "state"))[:30]
        if not state:
            return "Mailgun's answer about the domain is not as documented."
        return None if state == "active" else Misconfigured(f"Mailgun has the domain as {state}, not as active.")

    async def close(self) -> None:
        await self._http.close()

    async def verify(self, hook: Hook) -> str:
        return verify(hook, self._settings.webhook_keys, self._clock(), self._settings.tolerance)

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """Mailgun asks for nothing."""

    async def suppressions(self) -> AsyncIterator[ListedSuppression]:
        for name in search.LISTS:
            async for suppression in search.listed(self._http, self._settings.domain, name):
                yield suppression

    def _without_secrets(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(secret, "…")
        return words
