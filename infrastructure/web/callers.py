"""Who is calling: API keys, and the ids that a request is followed by."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from application.commands import Caller
from infrastructure.web.errors import InvalidApiKey, MissingApiKey

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, level 1
_BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    tenant: str
    actor: str


class ApiKeys:
    """The keys that are known, kept as digests only."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._known = {known.digest: known for known in (_known(key, tenant) for key, tenant in tenants.items())}

    def identify(self, headers: Mapping[bytes, bytes], correlation_id: UUID) -> Caller:
        """Whose key the request carries. Raises MissingApiKey, InvalidApiKey."""
        known = self._find(headers.get(b"authorization", b""))
        traceparent = headers.get(b"traceparent")
        traced = traceparent is not None and _TRACEPARENT.fullmatch(traceparent)
        return Caller(
            tenant=known.tenant,
            actor=known.actor,
            correlation_id=correlation_id,
            traceparent=traceparent.decode() if traceparent is not None and traced else None,
        )

    def _find(self, authorization: bytes) -> _Known:
        if authorization[:7].lower() != _BEARER or not (key := authorization[7:].strip()):
            raise MissingApiKey
        # How long a look-up by digest takes tells nothing about a key; the comparison takes the same time for all.
        digest = hashlib.sha256(key).digest()
        known = self._known.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest):
            raise InvalidApiKey
        return known


def _known(key: str, tenant: str) -> _Known:
    digest = hashlib.sha256(key.encode()).digest()
    return _Known(digest, tenant, f"api:{digest.hex()[:8]}")
