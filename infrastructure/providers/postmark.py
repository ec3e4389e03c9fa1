"""Postmark's HTTP API (it has no version number; as documented in 2026).

Quirks:
* One POST /email carries all recipients and gives one MessageID. There is no idempotency key; our own Message-ID is
  only kept with the header `X-PM-KeepID: true`.
* Addresses on Postmark's suppression list are named in the text of the answer alone, in lower case: of a 200 when
  others were reached, of ErrorCode 406 when nobody was. The list may be empty ("Found inactive addresses: .").
* "Message accepted, but delivery may be delayed" comes without an ErrorCode (django-anymail#392): still a yes.
* ErrorCodes 400 to 429 look like HTTP statuses and are not; a 422 means what its ErrorCode says.
* Webhooks are not signed: a password (Basic) or a secret header is all there is, so a replay is only told by its body.
* The published samples disagree about `TypeCode`: only the text `Type` counts. `ID` is an int64. Times have seven
  fractional digits. MessageID is null, empty or all zeros where there is no message (manual suppression, test calls).
* Suppressions, webhooks and searches are per message stream.
* The token POSTMARK_API_TEST is good for POST /email alone: everything else is asked with the real one.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from application.ports import Clock, Hook, ListedSuppression, OutgoingMessage
from domain.address import address_key, ascii_address
from domain.answer import Answer, RecipientReport
from domain.delivery import HOPELESS, ErrorClass
from domain.events import AttachmentRef, EmailQueued, EmailRecipientSuppressed, ProviderMessage, Recipient
from domain.feedback import Feedback
from infrastructure.mime_headers import clean
from infrastructure.providers import postmark_search, reading
from infrastructure.providers.each import combine
from infrastructure.providers.http import AnswerLost, HttpClient, NotSent, Reply, Request, no_answer
from infrastructure.providers.json_body import Bytes, JsonBody
from infrastructure.providers.pauses import retry_after, with_pause
from infrastructure.providers.postmark_webhooks import FEEDBACK, WebhookKey, translate, verify
from infrastructure.providers.provider_url import ProviderUrl

__all__ = ["FEEDBACK", "PostmarkProvider", "PostmarkSettings", "build", "parse", "translate", "verify"]

_API = "api.postmarkapp.com"
_TOKEN = "X-Postmark-Server-Token"  # noqa: S105 - the name of a header
_TEST_TOKEN = "POSTMARK_API_TEST"  # noqa: S105 - public: validates a message and sends nothing
_LONGEST_TAG, _LONGEST_WORDS = 1000, 500
_LONGEST_ADDRESS = 400


# -- settings


@dataclass(frozen=True, slots=True)
class PostmarkSettings:
    """One server of a Postmark account, and the message stream to send through."""

    token: str = field(repr=False)
    base_url: str = f"https://{_API}"
    stream: str = "outbound"
    webhook_keys: tuple[WebhookKey, ...] = field(default=(), repr=False)
    test: bool = False  # validate, send nothing
    timeout: float = 60.0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`postmark://TOKEN@default?stream=outbound&webhook_key=user:password&test=off&timeout=60`."""
        given = ProviderUrl.parse(url, ("stream", "webhook_key", "test", "timeout"), key="a server token")
        if not re.fullmatch(r"[!-~]+", given.key):
            raise ValueError("the server token must be printable ASCII without spaces")
        return cls(
            token=given.key,
            base_url=given.base_url(_API),
            stream=given.one("stream") or "outbound",
            webhook_keys=tuple(WebhookKey.of(key) for key in given.all("webhook_key")),
            test=given.switch("test"),
            timeout=given.seconds("timeout", 60.0),
        )


# -- build


def addressed(message: OutgoingMessage) -> tuple[Recipient, ...]:
    """Those one call can reach. Somebody has to stand in `To`, so blind recipients without any other go one by one."""
    recipients = message.recipients
    return recipients[:1] if all(recipient.kind == "bcc" for recipient in recipients) else recipients


def build(message: OutgoingMessage, settings: PostmarkSettings) -> Request:
    """POST /email. Attachments are read while it is sent."""
    body = JsonBody.of(message, _document(message, settings.stream))
    headers = {"Content-Type": "application/json"}
    if settings.test:
        headers[_TOKEN] = _TEST_TOKEN
    return Request("POST", "/email", body if body.streamed else body.whole(), headers, body.length)


def _document(message: OutgoingMessage, stream: str) -> dict[str, Any]:
    email, content, recipients = message.email, message.content, addressed(message)
    metadata = {"pl_email_id": str(email.originator_id)}
    if len(recipients) == 1:
        metadata["pl_recipient_id"] = str(recipients[0].id)
    document = {
        "From": _mailbox(email.sender.name, email.sender.address),
        **_recipient_fields(recipients),
        "ReplyTo": ", ".join(_mailbox(each.name, each.address) for each in email.reply_to),
        "Subject": email.subject,
        "TextBody": content.text,
        "HtmlBody": content.html,
        "Tag": _tag(email),
        "Headers": _headers(message),
        "Attachments": [_attachment(each, inline=content.html is not None) for each in email.attachments],
        "Metadata": metadata,
        "MessageStream": stream,
    }
    untracked: dict[str, Any] = {} if message.tracking else {"TrackOpens": False, "TrackLinks": "None"}
    return {name: value for name, value in document.items() if value or name == "Subject"} | untracked


def _tag(email: EmailQueued) -> str | None:
    """Postmark has one tag for a message."""
    tag = next((f"{tag.name}:{tag.value}" for tag in email.tags), "")
    return tag if len(tag) <= _LONGEST_TAG else None


def _recipient_fields(recipients: Sequence[Recipient]) -> dict[str, str]:
    to, cc, bcc = ([r for r in recipients if r.kind == kind] for kind in ("to", "cc", "bcc"))
    if not to:
        to = [(cc or bcc).pop(0)]
    fields = {"To": to, "Cc": cc, "Bcc": bcc}
    return {name: ", ".join(_mailbox(r.name, r.address) for r in group) for name, group in fields.items()}


def _mailbox(name: str, address: str) -> str:
    address, name = ascii_address(address) or address, clean(name)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>' if name else address


def _headers(message: OutgoingMessage) -> list[dict[str, str]]:
    """The author's own, but none that gives orders to Postmark."""
    ours = {"Message-ID": message.message_id, "X-PM-KeepID": "true"}
    own = {
        name: clean(value)
        for name, value in message.content.headers.items()
        if not name.lower().startswith(("x-pm-", "message-id"))
    }
    return [{"Name": name, "Value": value} for name, value in (own | ours).items()]


def _attachment(attachment: AttachmentRef, *, inline: bool) -> dict[str, Any]:
    written = {"Name": attachment.filename, "Content": Bytes(attachment), "ContentType": attachment.content_type}
    if inline and attachment.content_id:
        written["ContentID"] = f"cid:{attachment.content_id}"
    return written


# -- parse


_PERMANENT, _CONFIG, _TRANSIENT = ErrorClass.PERMANENT, ErrorClass.CONFIG, ErrorClass.TRANSIENT

# What Postmark's own code in the body of a refusal means.
CODES: Mapping[int, tuple[ErrorClass, str]] = {
    10: (_CONFIG, "bad_token"),
    100: (_TRANSIENT, "maintenance"),
    300: (_PERMANENT, "invalid_request"),
    400: (_CONFIG, "sender_signature_missing"),
    401: (_CONFIG, "sender_signature_unconfirmed"),
    402: (_PERMANENT, "invalid_json"),
    403: (_PERMANENT, "invalid_json"),
    405: (ErrorClass.QUOTA, "out_of_credits"),
    406: (ErrorClass.SUPPRESSED, "inactive"),
    409: (_PERMANENT, "invalid_json"),
    411: (_PERMANENT, "attachment_type"),
    412: (_CONFIG, "account_pending"),
    413: (_CONFIG, "account_inactive"),
    429: (ErrorClass.RATE_LIMITED, "rate_limited"),
    1235: (_CONFIG, "unknown_stream"),
}
_OF_THE_SENDER = frozenset({"sender_signature_missing", "sender_signature_unconfirmed"})  # others may send
# What the HTTP status means where the code says nothing.
STATUSES: Mapping[int, tuple[ErrorClass, str]] = {
    400: (_PERMANENT, "invalid_request"),
    401: (_CONFIG, "bad_token"),
    408: (_TRANSIENT, "timeout"),
    413: (_PERMANENT, "too_large"),
    422: (_PERMANENT, "refused"),
    429: (ErrorClass.RATE_LIMITED, "rate_limited"),
    500: (_TRANSIENT, "server_error"),
    503: (_TRANSIENT, "maintenance"),
}


def parse(message: OutgoingMessage, reply: Reply, provider: str, now: datetime) -> Answer:
    """What the answer means for those the call was for."""
    said = reading.mapping(reply.json())
    code = reading.integer(said.get("ErrorCode") or 0)  # missing when delivery may be delayed
    message_id = reading.text(said.get("MessageID"))
    told = str(said.get("Message") or reply.text)
    inactive = _named(addressed(message), told)
    all_inactive = len(inactive) == len(addressed(message))
    words = " ".join(told[:_LONGEST_WORDS].split())
    if reply.status == 200 and message_id and code == 0:
        return Answer(
            messages=_messages(message, inactive, message_id),
            reports=_reports(message, inactive, provider, now),
            error_class=ErrorClass.SUPPRESSED if all_inactive else None,
            reason="inactive" if all_inactive else None,
            words=words,
        )
    error_class, reason = _refusal(reply.status, code, message_id)
    if error_class is ErrorClass.SUPPRESSED:
        return _suppressed(message, inactive or addressed(message), Answer(reason=reason, words=words), provider, now)
    wait = retry_after(reply, now) if error_class is ErrorClass.RATE_LIMITED else None  # honoured, should it come
    of_the_sender = reason in _OF_THE_SENDER
    return with_pause(
        Answer(error_class=error_class, reason=reason, words=words, retry_after=wait, about_message=of_the_sender)
    )


def _refusal(status: int, code: int | None, message_id: str | None) -> tuple[ErrorClass, str]:
    by_code = CODES.get(code or 0)
    if by_code and status < 500 and not (status < 300 and message_id):
        return by_code
    if status in STATUSES:
        return STATUSES[status]
    if status < 300:
        return ErrorClass.UNKNOWN, "malformed_answer"
    if status >= 500:  # a gateway that lost the answer
        return ErrorClass.UNKNOWN, "server_error"
    return _CONFIG, "not_the_api"


def _messages(message: OutgoingMessage, inactive: Sequence[Recipient], message_id: str) -> tuple[ProviderMessage, ...]:
    taken = (recipient for recipient in addressed(message) if recipient not in inactive)
    return tuple(ProviderMessage(recipient_id=recipient.id, message_id=message_id) for recipient in taken)


def _suppressed(
    message: OutgoingMessage, inactive: Sequence[Recipient], answer: Answer, provider: str, now: datetime
) -> Answer:
    """A 406 was sent to nobody: those it does not name can be reached by another call."""
    others = tuple(recipient.id for recipient in addressed(message) if recipient not in inactive)
    return replace(
        answer,
        put_off=others,
        reports=_reports(message, inactive, provider, now),
        error_class=_TRANSIENT if others else ErrorClass.SUPPRESSED,
        about_message=True,
    )


def _named(recipients: Sequence[Recipient], told: str) -> tuple[Recipient, ...]:
    """Those whom the text lists as inactive: `… inactive addresses: a@x, b@y. Inactive recipients are …`."""
    listed = re.split(r"\.\s", told.lower().partition("inactive addresses:")[2], maxsplit=1)[0]
    words = (word.strip(" .\n") for word in listed.split(","))
    keys = {address_key(word) for word in words if "@" in word and len(word) < _LONGEST_ADDRESS}
    return tuple(recipient for recipient in recipients if address_key(recipient.address) in keys)


def _reports(
    message: OutgoingMessage, inactive: Sequence[Recipient], provider: str, now: datetime
) -> tuple[RecipientReport, ...]:
    return tuple(
        RecipientReport(
            EmailRecipientSuppressed,
            recipient.id,
            provider,
            now,
            details={"rule": "inactive"},
            keys=(reading.key("postmark", "inactive", recipient.id, message.attempt.attempt),),
        )
        for recipient in inactive
    )


def one_by_one(message: OutgoingMessage, answer: Answer, provider: str, now: datetime) -> Answer:
    """The answer for the whole attempt: blind recipients that were not in the call are put off."""
    called = addressed(message)
    if len(called) == len(message.recipients):
        return answer
    combined = combine(message, [(called[0], answer)], provider, now)
    if answer.messages or answer.error_class in HOPELESS:  # the next one's turn, whatever became of this one
        return replace(combined, error_class=_TRANSIENT, reason="bcc_one_by_one")
    return combined


# -- the provider


class PostmarkProvider:
    """An EmailProvider, FeedbackSource and SuppressionSource for one message stream of a Postmark server."""

    separate = False

    def __init__(self, name: str, settings: PostmarkSettings, clock: Clock) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._http = HttpClient(settings.base_url, {_TOKEN: settings.token}, timeout=settings.timeout)

    async def send(self, message: OutgoingMessage) -> Answer:
        try:
            reply = await self._http.call(build(message, self._settings), message.still_ours)
            answer = parse(message, self._redacted(reply), self.name, self._clock())
        except (NotSent, AnswerLost) as trouble:
            answer = no_answer(trouble)
        return one_by_one(message, answer, self.name, self._clock())

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        return await postmark_search.find(self._http, message, self._settings.stream, self._clock())

    async def check(self) -> str | None:
        return await postmark_search.check(self._http)

    async def close(self) -> None:
        await self._http.close()

    async def verify(self, hook: Hook) -> str:
        return verify(hook, self._settings.webhook_keys)

    def translate(self, hook: Hook) -> list[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """Postmark's webhooks ask for nothing."""

    def suppressions(self) -> AsyncIterator[ListedSuppression]:
        return postmark_search.suppressions(self._http, self._settings.stream, self._clock().date())

    def _redacted(self, reply: Reply) -> Reply:
        """What a proxy in between may quote is not to be kept."""
        return replace(reply, body=reply.body.replace(self._settings.token.encode(), b"***"))
