"""Resend (API of August 2026): one POST /emails a call, told apart from its repetitions by an Idempotency-Key.

- The same key and body within 24 hours gets the first answer again and sends nothing, so `look_up` replays the call.
- Opens and clicks are tracked, or not, by domain; a message has no say in it.
- Resend runs on SES, which writes Date and Message-ID itself (resend-node#133).
- Display names: quoted ones are refused, encoded ones too in `from` (django-anymail's Resend backend).
- There is no sandbox: `test=on` sends to `delivered+…@resend.dev`, which counts against the quota.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.header import Header
from typing import Any, Literal, Self
from urllib.parse import quote

from application.errors import ProviderTrouble
from application.ports import Clock, Hook, ListedSuppression, Misconfigured, OutgoingMessage
from domain.address import ascii_address
from domain.answer import Answer
from domain.delivery import HOPELESS, ErrorClass
from domain.events import AttachmentRef, ProviderMessage, Recipient
from domain.feedback import Feedback
from infrastructure.mime_headers import clean
from infrastructure.providers import reading
from infrastructure.providers.each import combine
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from infrastructure.providers.json_body import Bytes, JsonBody
from infrastructure.providers.pauses import is_last, seconds_of, with_pause
from infrastructure.providers.provider_url import ProviderUrl
from infrastructure.providers.resend_webhooks import WebhookKey, bare_address, plain_word, translate, verify

# --- Settings


@dataclass(frozen=True, slots=True)
class ResendSettings:
    """`resend://KEY@default?webhook_key=whsec_…&test=off&timeout=60`, `webhook_key` as often as needed."""

    key: str = field(repr=False)
    base_url: str
    webhook_keys: tuple[WebhookKey, ...] = ()
    test: bool = False  # mails go to Resend's test addresses only
    timeout: float = 60.0  # seconds

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raises ValueError, which names what is wrong and never the value."""
        parts = ProviderUrl.parse(url, ("webhook_key", "test", "timeout"))
        return cls(
            key=parts.key,
            base_url=parts.base_url("api.resend.com"),
            webhook_keys=tuple(WebhookKey.parse(text) for text in parts.all("webhook_key")),
            test=parts.switch("test"),
            timeout=parts.seconds("timeout", 60.0),
        )


# --- Request

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/^_`{|}~-]+)*")
_REFUSED_IN_FROM = re.compile(r'[()<>\[\]:;@\\,"\s]+')


def envelope(message: OutgoingMessage) -> Mapping[str, Sequence[Recipient]]:
    """Whom the call is for. Resend wants a `to`: without one the first cc is it, or else one bcc, alone."""
    to, cc, bcc = ([r for r in message.recipients if r.kind == kind] for kind in ("to", "cc", "bcc"))
    if to:
        return {"to": to, "cc": cc, "bcc": bcc}
    return {"to": cc[:1], "cc": cc[1:], "bcc": bcc} if cc else {"to": bcc[:1]}


def called(message: OutgoingMessage) -> tuple[Recipient, ...]:
    """All whom the call is for."""
    return tuple(recipient for group in envelope(message).values() for recipient in group)


def build(message: OutgoingMessage, settings: ResendSettings) -> Request:
    """The same bytes for the same envelope: nothing in it depends on the attempt or the time."""
    email, content = message.email, message.content
    groups = {kind: [_recipient(r, settings) for r in group] for kind, group in envelope(message).items()}
    optional = {
        **groups,
        "reply_to": [_mailbox(each.name, each.address) for each in email.reply_to],
        "html": content.html,
        "text": content.text,
        "headers": content.headers,
    }
    document = {
        "attachments": [_attachment(each) for each in email.attachments],
        "from": _sender(email.sender.name, email.sender.address),
        "subject": email.subject,
        "tags": [{"name": name, "value": value} for name, value in _tags(message).items()],
        **{name: value for name, value in optional.items() if value},
    }
    body = JsonBody.of(message, document)
    headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key(message)}
    return Request("POST", "/emails", body if body.streamed else body.whole(), headers, body.length)


def idempotency_key(message: OutgoingMessage) -> str:
    """The email's token; one of their own for a part of its recipients, or a part of it: that is another body."""
    recipients = called(message)
    whose = [] if len(recipients) == len(message.email.recipients) else [recipient.id for recipient in recipients]
    part = [*whose, *message.attempt.concessions]
    return f"{message.attempt.token}-{reading.key(*part)}" if part else message.attempt.token


def _recipient(recipient: Recipient, settings: ResendSettings) -> str:
    if settings.test:
        # The last digits: the first are the time, which all recipients of an email have in common.
        return f"delivered+{recipient.id.hex[-8:]}@resend.dev"
    return _mailbox(recipient.name, recipient.address)


def _mailbox(name: str, address: str) -> str:
    name, address = clean(name), ascii_address(address) or address
    if not name:
        return address
    phrase = name if _ATOMS.fullmatch(name) else Header(name, "utf-8").encode(linesep="")
    return f"{phrase} <{address}>"


def _sender(name: str, address: str) -> str:
    """Here a name is neither quoted nor encoded, and punctuation gets the mail refused: so it goes without."""
    name = _REFUSED_IN_FROM.sub(" ", clean(name)).replace("=?", "= ?").strip()
    address = ascii_address(address) or address
    return f"{name} <{address}>" if name else address


def _tags(message: OutgoingMessage) -> Mapping[str, str]:
    """Ours, then those of the author's that Resend takes, one of each name."""
    recipients = called(message)
    tags = {"pl_email_id": str(message.email.originator_id)}
    if len(recipients) == 1:
        tags["pl_recipient_id"] = str(recipients[0].id)
    for tag in message.email.tags:
        if _TAG.fullmatch(tag.name) and _TAG.fullmatch(tag.value) and not tag.name.startswith("pl_"):
            tags.setdefault(tag.name, tag.value)
    return tags


def _attachment(attachment: AttachmentRef) -> Mapping[str, Any]:
    inline = {"content_id": attachment.content_id} if attachment.content_id else {}
    return {
        "content": Bytes(attachment),
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        **inline,
    }


# --- Answer

ERRORS: Mapping[str, ErrorClass] = {
    **dict.fromkeys(("validation_error", "invalid_parameter", "invalid_attachment"), ErrorClass.PERMANENT),
    **dict.fromkeys(("missing_required_field", "missing_required_parameter"), ErrorClass.PERMANENT),
    "missing_required_fields": ErrorClass.PERMANENT,  # the Python SDK's spelling
    "invalid_idempotency_key": ErrorClass.PERMANENT,
    **dict.fromkeys(("invalid_from_address", "invalid_access", "invalid_region"), ErrorClass.PERMANENT),  # older
    **dict.fromkeys(("missing_api_key", "restricted_api_key", "invalid_api_key"), ErrorClass.CONFIG),
    **dict.fromkeys(("suspended_api_key", "invalid_permission"), ErrorClass.CONFIG),
    **dict.fromkeys(("not_found", "method_not_allowed", "security_error"), ErrorClass.CONFIG),
    **dict.fromkeys(("concurrent_idempotent_requests", "resource_locked"), ErrorClass.TRANSIENT),
    "invalid_idempotent_request": ErrorClass.CONFLICT,
    "rate_limit_exceeded": ErrorClass.RATE_LIMITED,
    **dict.fromkeys(("daily_quota_exceeded", "monthly_quota_exceeded"), ErrorClass.QUOTA),
    **dict.fromkeys(("application_error", "service_unavailable", "internal_server_error"), ErrorClass.TRANSIENT),
}
# At this status it means that the sender's domain is not verified, or that the account may only test.
_ERRORS_AT: Mapping[tuple[int, str], ErrorClass] = {(403, "validation_error"): ErrorClass.CONFIG}
_OF_THIS_TOKEN = frozenset({"concurrent_idempotent_requests", "resource_locked"})
# For names that we do not know: as all known ones of that status. The rest goes by its hundred.
STATUSES: Mapping[int, ErrorClass] = {
    **dict.fromkeys((401, 403, 404, 405, 451), ErrorClass.CONFIG),
    **dict.fromkeys((408, 409), ErrorClass.TRANSIENT),
    429: ErrorClass.RATE_LIMITED,
}
_HUNDREDS: Mapping[int, ErrorClass] = {3: ErrorClass.CONFIG, 4: ErrorClass.PERMANENT, 5: ErrorClass.TRANSIENT}
_LONGEST_WORDS = 500

# Said of the caller, perhaps before the Idempotency-Key was looked at: no sign that nothing had been taken.
_ABOUT_THE_CALLER = frozenset(
    {"missing_api_key", "invalid_api_key", "restricted_api_key", "suspended_api_key", "invalid_permission"}
    | {"not_found", "method_not_allowed"}
)


def parse(message: OutgoingMessage, reply: Reply, provider_name: str, now: datetime) -> Answer:
    """`message` is what was sent; a recipient who is refused gets a report when there are others."""
    answer = with_pause(_answer(message, reply), _exhausted(reply))
    return replace(_for_all(message, answer, provider_name, now), pause=answer.pause)


def _answer(message: OutgoingMessage, reply: Reply) -> Answer:
    """What is said to those in the call."""
    if not 200 <= reply.status < 300:
        return _refusal(reply)
    if not (message_id := reading.text(reading.get(reply.json(), "id"))):
        return Answer(error_class=ErrorClass.UNKNOWN, reason="malformed_answer", words=_words(reply))
    return Answer(messages=tuple(ProviderMessage(recipient_id=r.id, message_id=message_id) for r in called(message)))


def _refusal(reply: Reply) -> Answer:
    name = reading.word(reading.get(reply.json(), "name"))
    by_status = STATUSES.get(reply.status) or _HUNDREDS.get(reply.status // 100, ErrorClass.UNKNOWN)
    error_class = _ERRORS_AT.get((reply.status, name)) or ERRORS.get(name) or by_status
    return Answer(
        error_class=error_class,
        reason=plain_word(name) or f"http_{reply.status}",
        words=_words(reply),
        retry_after=_hint(reply, error_class),
        about_message=(reply.status, name) in _ERRORS_AT or name in _OF_THIS_TOKEN,
    )


def _for_all(message: OutgoingMessage, answer: Answer, provider_name: str, now: datetime) -> Answer:
    """The same for those who were left out of the call: bcc's, whom no other may see."""
    recipients = called(message)
    if len(recipients) == len(message.recipients):
        return answer
    whole = combine(message, [(recipient, answer) for recipient in recipients], provider_name, now)
    if whole.error_class is None or whole.error_class in HOPELESS:
        return replace(whole, error_class=ErrorClass.TRANSIENT, reason="bcc_one_by_one", about_message=True)
    return whole


def _words(reply: Reply) -> str:
    said = reading.text(reading.get(reply.json(), "message")) or clean(reply.text[:_LONGEST_WORDS])
    return said[:_LONGEST_WORDS]


def _hint(reply: Reply, error_class: ErrorClass) -> timedelta | None:
    """`ratelimit-reset` is about the requests of this second, so it says nothing where those are not the trouble."""
    reset = reply.headers.get("ratelimit-reset") if error_class is ErrorClass.RATE_LIMITED else None
    return seconds_of(reply.headers.get("retry-after")) or seconds_of(reset)


def _exhausted(reply: Reply) -> timedelta | None:
    """A yes says it as well when it was the last of this second's."""
    return seconds_of(reply.headers.get("ratelimit-reset")) if is_last(reply, "ratelimit-remaining") else None


# --- Provider

_REPLAYED_FOR = timedelta(hours=24) - timedelta(minutes=5)  # clocks differ; later the same call would be a new email
_ORIGINS: Mapping[str, Literal["bounce", "complaint", "manual"]] = {"bounce": "bounce", "complaint": "complaint"}
_TRIES, _PAUSE, _LONGEST_PAUSE = 5, 1.0, 10.0  # of reading a page; seconds


class ResendProvider:
    """An EmailProvider, FeedbackSource and SuppressionSource."""

    separate = False

    def __init__(self, name: str, settings: ResendSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        headers = {"Authorization": f"Bearer {settings.key}"}
        self._http = HttpClient(settings.base_url, headers, timeout=settings.timeout)

    async def send(self, message: OutgoingMessage) -> Answer:
        try:
            reply = await self._http.call(build(message, self._settings), message.still_ours)
        except (NotSent, AnswerLost) as trouble:
            return _for_all(message, no_answer(trouble), self.name, self._clock())
        quoted = replace(reply, body=reply.body.replace(self._settings.key.encode(), b"***"))
        return parse(message, quoted, self.name, self._clock())

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        """Make the very same call again: had it been taken, it gets the same answer; if not, it is taken now."""
        attempt = replace(message, only=None)
        made = replace(message, only=frozenset(recipient.id for recipient in called(attempt)))
        wanted = {recipient.id for recipient in message.recipients if recipient in made.recipients}
        if not wanted:
            return Answer()
        if self._is_past(message):
            return None
        answer = await self.send(made)  # to fewer of them it would be another email
        if answer.messages:
            return Answer(messages=tuple(m for m in answer.messages if m.recipient_id in wanted))
        return Answer() if _nothing_was_taken(answer) else None

    async def check(self) -> str | None:
        try:
            reply = await self._http.call(Request("GET", "/domains"))
        except (NotSent, AnswerLost) as trouble:
            return f"Resend cannot be reached: {trouble}."
        if reply.status == 200:
            return None
        refusal = _refusal(reply)
        reason = refusal.reason
        # A key that may only send may not list domains. It is alive, and more cannot be told.
        if reason == "restricted_api_key":
            return None
        wrong = f"Resend does not accept our calls: {reason}."
        return Misconfigured(wrong) if refusal.error_class is ErrorClass.CONFIG else wrong

    async def close(self) -> None:
        await self._http.close()

    async def verify(self, hook: Hook) -> str:
        return verify(hook, self._settings.webhook_keys, self._clock())

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """There is nothing to do."""

    async def suppressions(self) -> AsyncIterator[ListedSuppression]:
        path = "/suppressions?limit=100"
        after = ""
        while True:
            page = await self._page(f"{path}&after={quote(after, safe='')}" if after else path)
            entries = reading.items(page.get("data"))
            for entry in entries:
                if address := bare_address(reading.get(entry, "email")):
                    cause = _ORIGINS.get(reading.word(entry.get("origin")), "manual")
                    yield ListedSuppression(address, cause, reading.iso_time(entry.get("created_at")))
            if page.get("has_more") is not True:
                return
            last = reading.text(reading.get(entries[-1], "id")) if entries else None
            if not last or last == after:
                raise ProviderTrouble("Resend's suppression list cannot be read to its end.")
            after = last

    async def _page(self, path: str) -> Mapping[str, Any]:
        """A list is longer than what may be read in a second, so being told to wait is no trouble yet."""
        for _ in range(_TRIES):
            try:
                reply = await self._http.call(Request("GET", path))
            except (NotSent, AnswerLost) as trouble:
                raise ProviderTrouble(f"Resend cannot be reached: {trouble}.") from None
            page = reading.mapping(reply.json())
            if reply.status == 200 and isinstance(page.get("data"), list):
                return page
            refusal = _refusal(reply)
            if refusal.error_class is not ErrorClass.RATE_LIMITED:
                break
            wait = refusal.retry_after.total_seconds() if refusal.retry_after else _PAUSE
            await asyncio.sleep(min(wait, _LONGEST_PAUSE))
        raise ProviderTrouble(f"Resend does not show its suppression list: {refusal.reason}.")

    def _is_past(self, message: OutgoingMessage) -> bool:
        """Too late to call again: the first answer is forgotten, or the email must not be sent any more."""
        now, expires_at = self._clock(), message.email.expires_at
        return now - message.attempt.occurred_at > _REPLAYED_FOR or (expires_at is not None and now >= expires_at)


def _nothing_was_taken(answer: Answer) -> bool:
    """Whether Resend refused the call itself. A call it had taken before would have got the answer of then."""
    definite = answer.error_class in (ErrorClass.PERMANENT, ErrorClass.QUOTA, ErrorClass.CONFIG)
    return definite and answer.reason in ERRORS.keys() - _ABOUT_THE_CALLER
