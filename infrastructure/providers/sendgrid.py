"""SendGrid's Web API v3 (as documented in 2026).

Quirks:
* One POST /v3/mail/send carries all recipients and gives one X-Message-Id; it is taken whole or refused whole. There
  is no idempotency key. Addresses on SendGrid's suppression lists are only told later, as `dropped` events.
* `to` must not be empty, and all of one personalization see each other: blind recipients who are alone get one each.
* A recipient's name with a comma or semicolon makes SendGrid drop the message unless it is quoted
  (sendgrid-python#291); a sender's must not be quoted (sendgrid-nodejs#1183).
* Attachments whose names are not ASCII arrive garbled or not at all (sendgrid-go#362, sendgrid-csharp#296), and a
  content type must not have parameters (sendgrid-csharp#386).
* A body of several types must have text/plain first, and none may be empty. Categories are US-ASCII.
* 401 also means that the credits are used up. A 413 is HTML. A 504 may have been queued.
* `sandbox` validates, sends nothing, and answers 200 without an id.
* Our Message-ID is kept, and then stands in the events' `smtp-id`, most of the time (django-anymail#108).
* `sg_message_id` is the X-Message-Id with a suffix; old X-Message-Ids have dots themselves.
* Repetitions of an event may have another `sg_event_id` (sendgrid-nodejs#1435), some kinds have none (docs#2862), and
  `type` of a bounce may be absent (docs#3675).
* The signature is over the raw body, whose CRLF between the events frameworks like to lose (sendgrid-php#1012).
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self
from unicodedata import normalize

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from application.ports import Clock, Hook, ListedSuppression, OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import AttachmentRef, EmailQueued, ProviderMessage, Recipient
from domain.feedback import Feedback
from infrastructure.mime_headers import clean
from infrastructure.mime_headers import field as header_field
from infrastructure.providers import reading, sendgrid_search
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from infrastructure.providers.json_body import Bytes, JsonBody
from infrastructure.providers.pauses import is_last, retry_after, with_pause
from infrastructure.providers.provider_url import ProviderUrl
from infrastructure.providers.sendgrid_webhooks import FEEDBACK, TOLERANCE, translate, verification_key, verify

__all__ = ["FEEDBACK", "SendGridProvider", "SendGridSettings", "build", "parse", "translate", "verify"]

_HOSTS: Mapping[str, str] = {"us": "api.sendgrid.com", "eu": "api.eu.sendgrid.com"}
_MOST_CATEGORIES, _LONGEST_CATEGORY = 10, 255
_LONGEST_WORDS = 500
_LONGEST_WAIT = timedelta(days=1)

_UNTRACKED: Mapping[str, Mapping[str, bool]] = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
}

# Headers that SendGrid refuses, and those that are ours or would give it orders.
RESERVED = frozenset(
    (
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc", "message-id", "date", "mime-version", "x-smtpapi"),
    )
)


# -- settings


@dataclass(frozen=True, slots=True)
class SendGridSettings:
    """One SendGrid account or subuser."""

    key: str = field(repr=False)
    base_url: str = f"https://{_HOSTS['us']}"
    webhook_keys: tuple[EllipticCurvePublicKey, ...] = ()
    sandbox: bool = False  # validate, send nothing
    tolerance: timedelta = TOLERANCE  # how old the signature of a webhook may be
    timeout: float = 60.0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`sendgrid://KEY@default?webhook_key=BASE64&region=us&sandbox=off&tolerance=86400&timeout=60`.

        Raises ValueError, which names what is wrong and never the value.
        """
        given = ProviderUrl.parse(url, ("webhook_key", "region", "sandbox", "tolerance", "timeout"))
        if not re.fullmatch(r"[!-~]+", given.key):
            raise ValueError("the API key must be printable ASCII without spaces")
        return cls(
            key=given.key,
            base_url=given.base_url(_HOSTS[given.choice("region", *_HOSTS, default="us")]),
            webhook_keys=tuple(verification_key(key) for key in given.all("webhook_key")),
            sandbox=given.switch("sandbox"),
            tolerance=timedelta(seconds=given.seconds("tolerance", TOLERANCE.total_seconds())),
            timeout=given.seconds("timeout", 60.0),
        )


# -- build


def build(message: OutgoingMessage, settings: SendGridSettings) -> Request:
    """POST /v3/mail/send. Attachments are read while it is sent."""
    body = JsonBody.of(message, _document(message, sandbox=settings.sandbox))
    headers = {"Content-Type": "application/json"}
    return Request("POST", "/v3/mail/send", body if body.streamed else body.whole(), headers, body.length)


def _document(message: OutgoingMessage, *, sandbox: bool) -> dict[str, Any]:
    email, content = message.email, message.content
    document = {
        "personalizations": _personalizations(message),
        "from": _mailbox(email.sender.name, email.sender.address),
        "reply_to_list": [_mailbox(each.name, each.address) for each in email.reply_to],
        "subject": email.subject or " ",  # which must be there
        "content": _content(content.text, content.html),
        "attachments": [_attachment(each, inline=bool(content.html)) for each in email.attachments],
        "headers": _headers(message),
        "categories": _categories(email),
        "mail_settings": {"sandbox_mode": {"enable": True}} if sandbox else None,
        "tracking_settings": None if message.tracking else _UNTRACKED,
    }
    return {name: value for name, value in document.items() if value}


def _personalizations(message: OutgoingMessage) -> list[dict[str, Any]]:
    """One for all, who see each other; blind recipients without any other get one each."""
    to, cc, bcc = ([r for r in message.recipients if r.kind == kind] for kind in ("to", "cc", "bcc"))
    if not to and not cc:
        return [_personalization(message, {"to": [recipient]}) for recipient in bcc]
    if not to:
        to = [cc.pop(0)]
    return [_personalization(message, {"to": to, "cc": cc, "bcc": bcc})]


def _personalization(message: OutgoingMessage, groups: Mapping[str, Sequence[Recipient]]) -> dict[str, Any]:
    carried = {"pl_email_id": str(message.email.originator_id)}
    everyone = [recipient for group in groups.values() for recipient in group]
    if len(everyone) == 1:
        carried["pl_recipient_id"] = str(everyone[0].id)
    fields = {kind: [_mailbox(_quoted(r.name), r.address) for r in group] for kind, group in groups.items() if group}
    return {**fields, "custom_args": carried}


def _mailbox(name: str, address: str) -> dict[str, str]:
    written = {"email": ascii_address(address) or address}
    return {**written, "name": clean(name)} if clean(name) else written


def _quoted(name: str) -> str:
    if "," not in name and ";" not in name:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _content(text: str | None, html: str | None) -> list[dict[str, str]]:
    parts = [{"type": type, "value": value} for type, value in (("text/plain", text), ("text/html", html)) if value]
    return parts or [{"type": "text/plain", "value": " "}]


def _attachment(attachment: AttachmentRef, *, inline: bool) -> dict[str, Any]:
    written = {
        "content": Bytes(attachment),
        "filename": _ascii(attachment.filename),
        "type": attachment.content_type.partition(";")[0].strip() or "application/octet-stream",
    }
    if inline and attachment.content_id:
        return {**written, "disposition": "inline", "content_id": clean(attachment.content_id)}
    return {**written, "disposition": "attachment"}


def _ascii(filename: str) -> str:
    """Letters without their accents, and a low line for what has no such letter."""
    letters = normalize("NFKD", clean(filename))
    return re.sub(r"[^ -~]", "_", re.sub(r"[\u0300-\u036f]", "", letters))


def _headers(message: OutgoingMessage) -> dict[str, str]:
    """The author's own, as they stand in a message (RFC 2047) but on one line, and our Message-ID."""
    own = {
        name: header_field(name, value).removeprefix(f"{name}: ").replace("\r\n", "")
        for name, value in message.content.headers.items()
        if name.lower() not in RESERVED
    }
    return {**own, "Message-ID": message.message_id}


def _categories(email: EmailQueued) -> list[str]:
    names = dict.fromkeys(f"{tag.name}:{tag.value}" for tag in email.tags)
    return [each for each in names if each.isascii() and len(each) <= _LONGEST_CATEGORY][:_MOST_CATEGORIES]


# -- parse


_CONFIG, _TRANSIENT, _UNKNOWN = ErrorClass.CONFIG, ErrorClass.TRANSIENT, ErrorClass.UNKNOWN

STATUSES: Mapping[int, tuple[ErrorClass, str]] = {
    400: (ErrorClass.PERMANENT, "invalid_request"),
    401: (_CONFIG, "bad_key"),
    403: (_CONFIG, "forbidden"),  # an unverified sender, a scope that the key lacks, an IP access rule
    408: (_TRANSIENT, "timeout"),
    413: (ErrorClass.PERMANENT, "too_large"),
    429: (ErrorClass.RATE_LIMITED, "rate_limited"),
    500: (_TRANSIENT, "server_error"),
    502: (_TRANSIENT, "server_error"),
    503: (_TRANSIENT, "server_error"),
}
_NO_CREDITS = "maximum credits exceeded"  # in a 401, where one would not look for it


def parse(message: OutgoingMessage, reply: Reply, now: datetime, *, sandbox: bool = False) -> Answer:
    """What the answer means for all recipients. Where the call did not ask for the sandbox, a 200 is no yes.

    A yes without an id is one all the same: our own Message-ID comes back in every event as `smtp-id`.
    """
    if reply.status == 202 or (reply.status == 200 and sandbox):
        message_id = reading.text(reply.headers.get("x-message-id")) or message.message_id.strip("<>")
        taken = (ProviderMessage(recipient_id=recipient.id, message_id=message_id) for recipient in message.recipients)
        return with_pause(Answer(messages=tuple(taken)), _exhausted(reply, now))
    error_class, reason = _refusal(reply)
    wait = (retry_after(reply, now) or _reset(reply, now)) if error_class is ErrorClass.RATE_LIMITED else None
    words = _words(reply)
    of_the_sender = reason == "forbidden" and "(from)" in words  # it is not verified; others may be
    answer = Answer(error_class=error_class, reason=reason, words=words, retry_after=wait, about_message=of_the_sender)
    return with_pause(answer, _exhausted(reply, now))


def _refusal(reply: Reply) -> tuple[ErrorClass, str]:
    if reply.status in (401, 403) and _NO_CREDITS in reply.text.lower():
        return ErrorClass.QUOTA, "no_credits"
    if reply.status in STATUSES:
        return STATUSES[reply.status]
    if reply.status < 300:
        return _UNKNOWN, "malformed_answer"
    if reply.status >= 500:  # a gateway that lost the answer: 504 and its like
        return _UNKNOWN, "server_error"
    return _CONFIG, "not_the_api"  # 404, 405, 406, 415, a redirection: this is not how one talks to SendGrid


def _words(reply: Reply) -> str:
    """SendGrid's messages, each with the field that it is about."""
    errors = reading.items(reading.get(reply.json(), "errors"))
    told = [(reading.text(reading.get(e, "message")), reading.text(reading.get(e, "field"))) for e in errors]
    words = "; ".join(f"{text} ({about})" if about else text for text, about in told if text)
    return " ".join((words or reply.text[: 4 * _LONGEST_WORDS]).split())[:_LONGEST_WORDS]


def _exhausted(reply: Reply, now: datetime) -> timedelta | None:
    return _reset(reply, now) if is_last(reply, "x-ratelimit-remaining") else None


def _reset(reply: Reply, now: datetime) -> timedelta | None:
    reset = reading.unix_time(reply.headers.get("x-ratelimit-reset"))
    return min(reset - now, _LONGEST_WAIT) if reset and reset > now else None


# -- the provider


class SendGridProvider:
    """An EmailProvider, FeedbackSource and SuppressionSource for one SendGrid account."""

    separate = False

    def __init__(self, name: str, settings: SendGridSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        authorization = {"Authorization": f"Bearer {settings.key}"}
        self._http = HttpClient(settings.base_url, authorization, timeout=settings.timeout)

    async def send(self, message: OutgoingMessage) -> Answer:
        try:
            reply = await self._http.call(build(message, self._settings), message.still_ours)
        except (NotSent, AnswerLost) as trouble:
            return no_answer(trouble)
        return parse(message, self._redacted(reply), self._clock(), sandbox=self._settings.sandbox)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        return await sendgrid_search.find(self._http, message, self._clock())

    async def check(self) -> str | None:
        return await sendgrid_search.check(self._http)

    async def close(self) -> None:
        await self._http.close()

    async def verify(self, hook: Hook) -> str:
        return verify(hook, self._settings.webhook_keys, self._clock(), self._settings.tolerance)

    def translate(self, hook: Hook) -> list[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """SendGrid's webhooks ask for nothing."""

    def suppressions(self) -> AsyncIterator[ListedSuppression]:
        return sendgrid_search.suppressions(self._http)

    def _redacted(self, reply: Reply) -> Reply:
        """What a proxy in between may quote is not to be kept."""
        return replace(reply, body=reply.body.replace(self._settings.key.encode(), b"***"))
