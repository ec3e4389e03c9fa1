"""Amazon SES, API v2 (boto3 `sesv2`), with its events over SNS, by HTTP or through an SQS queue.

Quirks (AWS documentation unless a source is named):
* There is no idempotency and no look-up: a lost answer is in doubt until an event names the email, or the policy
  decides. boto3's own retries are off, as they can send an email twice (see `ses_aws`).
* One call for each recipient. Opens, clicks and complaints name all recipients of a message, not the one who acted.
* The message goes out raw. `Destination` is the envelope and leaves To and Cc alone. `FromEmailAddress` would replace
  the author's From, name included, so it is not given.
* Whether opens and clicks are tracked is the configuration set's to say: no message can.
* SES writes Date and Message-ID itself. What a message is known by is its `MessageId`, equal to `mail.messageId`.
* It takes 7-bit MIME, domains in A-labels, and no local part that is not ASCII.
* Taken is not sent: a virus, a failed rendering and suppression become known as events.
* For a safe test, write to SES's simulator: success@, bounce@, ooto@, complaint@ or suppressionlist@
  simulator.amazonses.com, with a label if you like (bounce+order-7@…). There is no test mode of the API. An account "in
  the sandbox" only writes to verified addresses; what it refuses for that is trouble of the configuration.
* Events have a file of their own, `ses_events`; their envelope is in `sns`, the queue in `ses_queue`.
"""

import logging
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from application.errors import ProviderTrouble
from application.ports import Clock, Hook, ListedSuppression, Misconfigured, OutgoingMessage, Rate
from domain.address import ascii_address
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.events import ProviderMessage, Recipient
from domain.feedback import Feedback
from infrastructure.mime import build_mime
from infrastructure.providers import sns
from infrastructure.providers.each import send_each
from infrastructure.providers.http import AnswerLost, NotSent, no_answer
from infrastructure.providers.provider_url import ProviderUrl
from infrastructure.providers.reading import get, integer, items, mapping, text, word
from infrastructure.providers.ses_aws import Aws, AwsAccess
from infrastructure.providers.ses_events import translate

__all__ = ["SesProvider", "SesSettings", "build", "parse", "translate"]

_log = logging.getLogger(__name__)

_OPTIONS = (
    *("region", "configuration_set", "untracked_configuration_set"),
    *("topic_arn", "queue_url", "sns_v1", "confirm_subscriptions"),
    *("tolerance", "timeout", "connections"),
)
_EXAMPLE = "ses://ACCESS_KEY:SECRET@default?region=eu-west-1"
_REGION = re.compile(r"[a-z]{2,10}(-[a-z]{2,20}){1,3}-[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class SesSettings:
    """`ses://ACCESS_KEY:SECRET@default?region=…`; without a key, boto3 looks for one where it always does.

    A host in place of `default` is the endpoint of SES, SNS and SQS alike.
    """

    access: AwsAccess
    trust: sns.SnsTrust
    configuration_set: str | None = None  # where events are published from; without one there are none
    untracked_configuration_set: str | None = None  # for mail that gives up tracking; without one, as for all
    queue_url: str | None = None  # of the SQS queue that the topic feeds
    confirm_subscriptions: bool = False

    @classmethod
    def from_url(cls, url: str) -> "SesSettings":
        """Raises ValueError, which names what is wrong and never the value."""
        asked = ProviderUrl.parse(url, _OPTIONS, key=None)
        topics = asked.all("topic_arn")
        if not all(map(sns.region_of, topics)):
            raise ValueError("topic_arn must be the ARN of an SNS topic: arn:aws:sns:REGION:ACCOUNT:NAME")
        queue = asked.one("queue_url")
        if queue is not None and not queue.startswith(("https://", "http://")):
            raise ValueError("queue_url must be the URL of an SQS queue")
        versions = {"1", "2"} if asked.switch("sns_v1", default=True) else {"2"}
        return cls(
            access=_access(url, asked),
            trust=sns.SnsTrust(
                frozenset(topics), frozenset(versions), timedelta(seconds=asked.seconds("tolerance", 3600))
            ),
            configuration_set=asked.one("configuration_set") or None,
            untracked_configuration_set=asked.one("untracked_configuration_set") or None,
            queue_url=queue,
            confirm_subscriptions=asked.switch("confirm_subscriptions"),
        )

    def set_for(self, message: OutgoingMessage) -> str | None:
        """The configuration set to send with. It alone decides what SES tracks, so leaving it out is no answer."""
        untracked = None if message.tracking else self.untracked_configuration_set
        return untracked or self.configuration_set


def _access(url: str, asked: ProviderUrl) -> AwsAccess:
    parts = urlsplit(url)
    if parts.path not in ("", "/"):
        raise ValueError(f"the secret must be percent-encoded (a slash is %2F): {_EXAMPLE}")
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"half of the credentials is missing: {_EXAMPLE}")
    region = asked.one("region") or ""
    if not _REGION.fullmatch(region):
        raise ValueError(f"region is missing, or is not the name of one: {_EXAMPLE}")
    connections = integer(asked.one("connections") or "16") or 0
    if not 1 <= connections <= 256:
        raise ValueError("connections must be a number from 1 to 256")
    return AwsAccess(
        region=region,
        access_key=asked.key,
        secret_key=unquote(parts.password or ""),
        endpoint=asked.base_url("") if asked.host else None,
        timeout=asked.seconds("timeout", 30),
        connections=connections,
    )


_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_MOST_TAGS = 10  # how many SES takes is nowhere said; an author's tag is never worth a refused email


def build(message: OutgoingMessage, recipient: Recipient, mime: bytes, configuration_set: str | None) -> dict[str, Any]:
    """The arguments of SendEmail for one recipient; `mime` is the same for all of them."""
    whose = f"X-Postledger-Recipient-Id: {recipient.id}\r\n".encode()
    arguments: dict[str, Any] = {
        "Destination": {"ToAddresses": [ascii_address(recipient.address)]},
        "Content": {"Raw": {"Data": whose + mime}},
        "EmailTags": [{"Name": name, "Value": value} for name, value in _tags(message, recipient).items()],
    }
    if configuration_set:
        arguments["ConfigurationSetName"] = configuration_set
    return arguments


def _tags(message: OutgoingMessage, recipient: Recipient) -> dict[str, str]:
    tags = {"pl_email_id": str(message.email.originator_id), "pl_recipient_id": str(recipient.id)}
    for tag in message.email.tags:
        fits = _TAG.fullmatch(tag.name) and _TAG.fullmatch(tag.value)
        if fits and tag.name not in tags and len(tags) < _MOST_TAGS:
            tags[tag.name] = tag.value
    return tags


# By the code of the error without its `Exception`; then by status.
ANSWERS: Mapping[str, ErrorClass] = {
    "TooManyRequests": ErrorClass.RATE_LIMITED,
    "Throttling": ErrorClass.RATE_LIMITED,
    "LimitExceeded": ErrorClass.QUOTA,
    "AccountSuspended": ErrorClass.CONFIG,
    "SendingPaused": ErrorClass.CONFIG,
    "MailFromDomainNotVerified": ErrorClass.CONFIG,
    "NotFound": ErrorClass.CONFIG,  # the configuration set
    "AccessDenied": ErrorClass.CONFIG,
    "UnrecognizedClient": ErrorClass.CONFIG,
    "ExpiredToken": ErrorClass.CONFIG,
    "SignatureDoesNotMatch": ErrorClass.CONFIG,
    "InvalidClientTokenId": ErrorClass.CONFIG,
    "InvalidSignature": ErrorClass.CONFIG,
    "IncompleteSignature": ErrorClass.CONFIG,
    "MissingAuthenticationToken": ErrorClass.CONFIG,
    "MessageRejected": ErrorClass.PERMANENT,
    "BadRequest": ErrorClass.PERMANENT,
    "ParamValidationError": ErrorClass.PERMANENT,  # boto3's own; its others are about credentials and regions
    "InternalServiceError": ErrorClass.TRANSIENT,
    "ServiceUnavailable": ErrorClass.TRANSIENT,
}
_BY_WORDS: Mapping[str, tuple[str, ErrorClass, str]] = {
    "Throttling": ("daily message quota exceeded", ErrorClass.QUOTA, "daily_quota"),
    "MessageRejected": ("email address is not verified", ErrorClass.CONFIG, "not_verified"),
}
_OF_THE_SENDER = frozenset({"mail_from_domain_not_verified", "not_verified"})  # others may send
_BY_STATUS: Mapping[int, ErrorClass] = {
    400: ErrorClass.PERMANENT,
    408: ErrorClass.TRANSIENT,
    413: ErrorClass.PERMANENT,
    429: ErrorClass.RATE_LIMITED,
}
_A_KEY = re.compile(r"\bA[A-Z]IA[A-Z0-9]{12,}")
_NO_LOCAL_PART = Answer(error_class=ErrorClass.PERMANENT, reason="non_ascii_local_part")


def parse(recipient: Recipient, answer: Mapping[str, Any]) -> Answer:
    """What came of one call; `answer` is boto3's, or an error's `response`."""
    if "Error" in answer:
        return _refusal(answer)
    if message_id := text(answer.get("MessageId")):
        return Answer(messages=(ProviderMessage(recipient_id=recipient.id, message_id=message_id),))
    return Answer(error_class=ErrorClass.UNKNOWN, reason="malformed_answer", words="no MessageId")


def _refusal(answer: Mapping[str, Any]) -> Answer:
    code, said = text(get(answer, "Error", "Code")) or "", text(get(answer, "Error", "Message")) or ""
    name = code.removesuffix("Exception")
    status = integer(get(answer, "ResponseMetadata", "HTTPStatusCode"))
    error_class = ANSWERS.get(name) or _by_status(status)
    reason = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")[:60]
    phrase, otherwise, why = _BY_WORDS.get(name, ("\0", error_class, reason))
    if phrase in said.lower():
        error_class, reason = otherwise, why
    words = _A_KEY.sub("(key)", f"{code}: {said}" if said else code)  # AWS quotes it when a signature is wrong
    about_message = reason in _OF_THE_SENDER
    return Answer(error_class=error_class, reason=reason or "refused", words=words[:500], about_message=about_message)


def _by_status(status: int | None) -> ErrorClass:
    if status is not None and status >= 500:
        return ErrorClass.TRANSIENT
    return _BY_STATUS.get(status or 0, ErrorClass.CONFIG)  # 401, 403, 404, a redirect: not SES, or not for us


_PAUSED = "sending is paused for this SES account"
_CHECK_EVERY = timedelta(seconds=60)  # calls other than sending are limited to about one a second
_READ_ATTEMPTS = 5  # a page of a list may be asked for again
_CAUSES: Mapping[str, Literal["bounce", "complaint"]] = {"bounce": "bounce", "complaint": "complaint"}


class SesProvider:
    """An EmailProvider, FeedbackSource and SuppressionSource for one SES account in one region."""

    separate = True

    def __init__(
        self, name: str, settings: SesSettings, clock: Clock, fetch: sns.Fetch = sns.fetch_certificate
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._aws = Aws(settings.access)
        self._certificates = sns.Certificates(fetch, clock)
        self._checked: tuple[datetime, str | None] | None = None
        self._granted: tuple[datetime, Sequence[Rate]] | None = None

    async def send(self, message: OutgoingMessage) -> Answer:
        if ascii_address(message.email.sender.address) is None:
            return _NO_LOCAL_PART
        attachments = [(attachment, await message.read(attachment)) for attachment in message.email.attachments]
        mime = build_mime(message, attachments, smtputf8=False)

        async def call(recipient: Recipient) -> Answer:
            return await self._send_to(message, recipient, mime)

        return await send_each(message, call, self.name, self._clock)

    async def _send_to(self, message: OutgoingMessage, recipient: Recipient, mime: bytes) -> Answer:
        if ascii_address(recipient.address) is None:
            return _NO_LOCAL_PART
        arguments = build(message, recipient, mime, self._settings.set_for(message))
        try:
            return parse(
                recipient, await self._aws.call("sesv2", "send_email", still_ours=message.still_ours, **arguments)
            )
        except (NotSent, AnswerLost) as trouble:
            return no_answer(trouble)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        """SES has no search. Evidence comes by itself: a Send or Delivery event names the email."""
        return None

    async def check(self) -> str | None:
        """Probation is no trouble yet: SES still sends."""
        now = self._clock()
        if self._checked is None or now - self._checked[0] >= _CHECK_EVERY:
            self._checked = (now, await self._account())
        return self._checked[1]

    async def _account(self) -> str | None:
        try:
            account = await self._aws.ask("sesv2", "get_account")
        except ProviderTrouble as trouble:
            code = str(trouble).rpartition(": ")[2].removesuffix("Exception")
            return (Misconfigured if ANSWERS.get(code) is ErrorClass.CONFIG else str)(f"SES: {trouble}")
        if word(account.get("EnforcementStatus")) == "shutdown":
            return Misconfigured("SES has shut this account's sending down")
        return None if account.get("SendingEnabled") is not False else Misconfigured(_PAUSED)

    async def limits(self) -> Sequence[Rate]:
        """What SES grants: so many recipients a second, and what is left of those a day. Asked for once a minute."""
        now = self._clock()
        if self._granted is None or now - self._granted[0] >= _CHECK_EVERY:
            self._granted = (now, granted(await self._aws.ask("sesv2", "get_account")))
        return self._granted[1]

    async def verify(self, hook: Hook) -> str:
        signed = sns.examine(hook, self._settings.trust, self._clock())
        sns.check_signature(signed, await self._certificates.key(signed.certificate_url))
        return signed.message_id

    def translate(self, hook: Hook) -> Sequence[Feedback]:
        return translate(hook)

    async def follow_up(self, hook: Hook) -> None:
        """Confirm a subscription, if that is wanted, through the API: a URL in a message is never fetched.

        Raises ProviderTrouble. The token is good for two days.
        """
        said = sns.envelope(hook.body)
        if not said or said["Type"] == "Notification":
            return
        topic, token = said["TopicArn"], said.get("Token")
        wanted = self._settings.confirm_subscriptions and topic in self._settings.trust.topics
        if said["Type"] == "UnsubscribeConfirmation":
            _log.warning("%s: an SNS topic has no subscription of ours any more; its events will be missed", self.name)
        elif not wanted or not isinstance(token, str):
            _log.warning("%s: an SNS subscription waits to be confirmed (see confirm_subscriptions)", self.name)
        else:
            confirmation = {"TopicArn": topic, "Token": token, "AuthenticateOnUnsubscribe": "true"}
            await self._aws.ask("sns", "confirm_subscription", region=sns.region_of(topic), **confirmation)

    async def suppressions(self) -> AsyncIterator[ListedSuppression]:
        """The account's own list; AWS's global one cannot be read."""
        asked: dict[str, str] = {}
        while True:
            page = await self._aws.ask("sesv2", "list_suppressed_destinations", attempts=_READ_ATTEMPTS, **asked)
            for entry in items(page.get("SuppressedDestinationSummaries")):
                if listed := _listed(mapping(entry)):
                    yield listed
            token = page.get("NextToken")  # however long it is
            if not isinstance(token, str) or token in ("", asked.get("NextToken")):
                return
            asked = {"NextToken": token}

    async def close(self) -> None:
        await self._aws.close()


def granted(account: Mapping[str, Any]) -> Sequence[Rate]:
    """The rates of an account, whose quota counts recipients. A day's is -1 where there is none."""
    quota = mapping(account.get("SendQuota"))
    second, day, sent = (_amount(quota.get(name)) for name in ("MaxSendRate", "Max24HourSend", "SentLast24Hours"))
    rates = [Rate(max(1, int(second)), timedelta(seconds=1))] if second > 0 else []
    if day >= 0:
        # Others may use the account too, so its own count is what holds: until we ask again, no more than is left now.
        rates.append(Rate(max(0, int(day - max(0, sent))), _CHECK_EVERY))
    return rates


def _amount(value: object) -> float:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else -1


def _listed(entry: Mapping[str, Any]) -> ListedSuppression | None:
    address, at = text(entry.get("EmailAddress")), entry.get("LastUpdateTime")
    if address is None:
        return None
    reason = text(entry.get("Reason")) or ""
    since = at.astimezone(UTC) if isinstance(at, datetime) else None
    return ListedSuppression(address, _CAUSES.get(reason.lower(), "manual"), since, reason)
