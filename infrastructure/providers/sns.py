"""The envelope of Amazon SNS: reading it, and making sure that SNS wrote it.

Quirks:
* The signature is over some of the values in a fixed order, version 1 with SHA-1, version 2 with SHA-256.
* Anybody can have a topic whose messages are validly signed: only topics that were named beforehand count.
* The certificate's URL comes with the message. It is checked before anything is fetched, the whole of it, because a
  bucket of S3 is under amazonaws.com as well (novuhq/novu#11056, wiz-sec/open-cvdb#158).
* A fetch that fails is not the message's fault. It must end in a 5xx: after a 4xx SNS never delivers it again.
* The timestamp is not renewed when SNS tries again, which it may do for an hour.
* With "raw message delivery" nothing is signed. Over HTTP that is refused; from a queue of our own it is fine.
* Records shaped for Lambda spell `SigningCertUrl` and have `Subject: null`.
"""

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.x509 import load_pem_x509_certificate

from application.errors import Untrusted, VerificationUnavailable
from application.ports import Clock, Hook
from infrastructure.providers.reading import iso_time, json, mapping

Fetch = Callable[[str], Awaitable[bytes]]  # raises VerificationUnavailable

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_HASHES: Mapping[str, Callable[[], HashAlgorithm]] = {"1": SHA1, "2": SHA256}
_CERTIFICATE = re.compile(
    r"(?ai:https://sns\.([a-z0-9-]{3,})\.amazonaws\.com(?:\.cn)?)/SimpleNotificationService(?:-[0-9A-Fa-f]+)?\.pem"
)
_TOPIC = re.compile(r"arn:aws[a-z-]{0,20}:sns:([a-z0-9-]{3,40}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
# What is signed has no clear ends: a line break in an id could make room for values that SNS never wrote.
_ID = re.compile(r"[A-Za-z0-9-]{1,100}")

_FETCH_TIMEOUT = aiohttp.ClientTimeout(total=5)  # SNS itself waits for 15 seconds
_UNKNOWN = (403, 404)  # how S3, behind that host, says that there is nothing
_LONGEST_CERTIFICATE = 1 << 16  # bytes
_KEPT_FOR = timedelta(days=1)
_KEPT = 32


@dataclass(frozen=True, slots=True)
class SnsTrust:
    """Whose messages count."""

    topics: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset({"1", "2"})  # of the signature
    tolerance: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is needed to check a signature."""

    message_id: str
    certificate_url: str
    version: str
    text: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def envelope(body: bytes) -> Mapping[str, Any]:
    """The SNS document in a body; empty when it is none. It is not verified."""
    said = mapping(json(body))
    texts = all(isinstance(said.get(name), str) for name in ("Type", "Message", "TopicArn"))
    return said if texts and said["Type"] in _SIGNED else {}


def region_of(topic: str) -> str | None:
    """Of a topic's ARN; None when it is no such ARN."""
    match = _TOPIC.fullmatch(topic)
    return match[1] if match else None


def examine(hook: Hook, trust: SnsTrust, now: datetime) -> Signed:
    """Everything that can be checked before the certificate is fetched. Raises Untrusted."""
    if not trust.topics:
        raise Untrusted("no_key")
    kind = hook.headers.get("x-amz-sns-message-type")
    if kind is None:
        raise Untrusted("missing_header")
    said = envelope(hook.body)
    if not said or said["Type"] != kind or "x-amz-sns-rawdelivery" in hook.headers:
        raise Untrusted("malformed")
    if said["TopicArn"] not in trust.topics:
        raise Untrusted("unknown_topic")
    signed = _signed(said, trust)
    sent_at = iso_time(said.get("Timestamp"))
    if sent_at is None or abs(now - sent_at) > trust.tolerance:
        raise Untrusted("stale")
    return signed


def check_signature(signed: Signed, key: RSAPublicKey) -> None:
    """Raises Untrusted."""
    try:
        key.verify(signed.signature, signed.text, PKCS1v15(), _HASHES[signed.version]())
    except InvalidSignature:
        raise Untrusted("bad_signature") from None


def string_to_sign(said: Mapping[str, Any]) -> bytes:
    """The values that are signed, each under its name. Raises Untrusted."""
    parts: list[str] = []
    for name in _SIGNED[said["Type"]]:
        value = said.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Untrusted("malformed")
        parts += (name, value)
    return "".join(f"{part}\n" for part in parts).encode("utf-8", "replace")


def is_certificate_url(url: object, topic: str) -> bool:
    """Whether SNS keeps its certificates there, in the region of the topic."""
    match = _CERTIFICATE.fullmatch(url) if isinstance(url, str) else None
    return match is not None and match[1].lower() == region_of(topic)


def _signed(said: Mapping[str, Any], trust: SnsTrust) -> Signed:
    url = said.get("SigningCertURL") or said.get("SigningCertUrl")
    version, message_id = said.get("SignatureVersion"), said.get("MessageId")
    if not isinstance(message_id, str) or not _ID.fullmatch(message_id):
        raise Untrusted("malformed")
    known = version in _HASHES and version in trust.versions if isinstance(version, str) else False
    if not known or not is_certificate_url(url, said["TopicArn"]):
        raise Untrusted("bad_signature")
    return Signed(message_id, str(url), str(version), string_to_sign(said), _base64(said.get("Signature")))


def _base64(value: object) -> bytes:
    try:
        return b64decode(value if isinstance(value, str) else "", validate=True)
    except (binascii.Error, ValueError):
        raise Untrusted("bad_signature") from None


class Certificates:
    """SNS's public keys by the URL of their certificate, each fetched once a day, by one of those who need it."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, tuple[datetime, asyncio.Task[RSAPublicKey]]] = {}

    async def key(self, url: str) -> RSAPublicKey:
        """Raises VerificationUnavailable. The URL must have been checked."""
        now = self._clock()
        since, task = self._kept.get(url, (now, None))
        if task is None or now - since >= _KEPT_FOR:
            task = asyncio.create_task(self._load(url))
            task.add_done_callback(_seen)
            self._kept.pop(url, None)
            self._kept[url] = (now, task)
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return await asyncio.shield(task)  # another delivery may wait for the same

    async def _load(self, url: str) -> RSAPublicKey:
        try:
            return public_key(await self._fetch(url))
        except BaseException:
            self._kept.pop(url, None)  # the next delivery tries again
            raise


def _seen(task: asyncio.Task[RSAPublicKey]) -> None:
    """A failure is not a surprise, even if nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


def public_key(certificate: bytes) -> RSAPublicKey:
    """Of a certificate in PEM. Raises VerificationUnavailable: AWS sent it, not whoever sent the message."""
    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationUnavailable("the signing certificate is none") from None
    if not isinstance(key, RSAPublicKey):
        raise VerificationUnavailable("the signing certificate has no RSA key")
    return key


async def fetch_certificate(url: str) -> bytes:
    """What is under the URL: no redirects, no more than a certificate's size.

    Raises VerificationUnavailable; and Untrusted where AWS knows no such certificate, which no retry would mend.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=_FETCH_TIMEOUT, trust_env=False) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status in _UNKNOWN:
                raise Untrusted("bad_certificate")
            if response.status != 200:
                raise VerificationUnavailable(f"the signing certificate: HTTP {response.status}")
            return await _whole(response.content)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise VerificationUnavailable(f"the signing certificate: {type(error).__name__}") from None


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _LONGEST_CERTIFICATE:
            raise VerificationUnavailable("the signing certificate is too long")
    return body
