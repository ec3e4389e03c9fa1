"""Links to attachments that a message leaves out: made and checked with a key, nothing else is kept about them."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID

_PURPOSE = "postledger attachment link 1"  # what else is ever signed with this key must not read as a link


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says, each part as it stands there."""

    email_id: str
    sha256: str
    expires: str  # Unix seconds
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AttachmentLinks:
    """Links under a URL of ours. The first key signs, any of them verifies."""

    public_url: str  # without a slash at its end
    keys: Sequence[bytes] = field(repr=False)
    ttl: timedelta

    def url(self, email_id: UUID, sha256: str, since: datetime) -> str:
        """The same for the same arguments; good until `ttl` after `since`."""
        expires = str(int((since + self.ttl).timestamp()))
        signature = _sign(self.keys[0], str(email_id), sha256, expires)
        path = f"/attachments/{email_id}/{sha256}"
        return f"{self.public_url}{path}?expires={quote(expires)}&signature={signature}"

    def genuine(self, link: Link) -> bool:
        """Whether we made it, at whatever time. Takes the same time for all signatures of one length."""
        given = link.signature.encode("utf-8", "replace")
        wanted = [_sign(key, link.email_id, link.sha256, link.expires).encode() for key in self.keys]
        return any([hmac.compare_digest(each, given) for each in wanted])


def over(link: Link, now: datetime) -> bool:
    """Whether the time of a genuine link has passed."""
    return now.timestamp() >= int(link.expires)


def _sign(key: bytes, *parts: str) -> str:
    said = "\n".join((_PURPOSE, *parts)).encode("utf-8", "replace")
    return urlsafe_b64encode(hmac.digest(key, said, hashlib.sha256)).decode().rstrip("=")
