"""Alerts as calls to a URL of the operator's, signed as Standard Webhooks says (www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

from application.incidents import Alert
from application.ports import Clock
from infrastructure.outbound import Outbound, OutboundTrouble

_ENCODED = "whsec_"  # begins a secret that is in base64; any other is taken as it is


class NotTaken(OutboundTrouble):
    """The receiver answered with something other than 2xx."""


class WebhookAlerts:
    """An AlertChannel."""

    name = "webhook"

    def __init__(self, url: str, outbound: Outbound, clock: Clock, secret: str | None = None) -> None:
        """Raises ValueError for a secret that is not what its beginning says."""
        self._url = url
        self._outbound = outbound
        self._clock = clock
        self._key = key_of(secret) if secret else None

    async def tell(self, alert: Alert) -> None:
        """Raises Refused, Unanswered, NotTaken."""
        body = json.dumps(document(alert), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **self._signed(f"{alert.id}-{alert.status}", body)}
        status = await self._outbound.post(self._url, body, headers)
        if not 200 <= status < 300:
            raise NotTaken(f"it answered {status}")

    async def close(self) -> None:
        await self._outbound.close()

    def _signed(self, id: str, body: bytes) -> Mapping[str, str]:
        at = str(int(self._clock().timestamp()))
        headers = {"webhook-id": id, "webhook-timestamp": at}
        if self._key is None:
            return headers
        digest = hmac.new(self._key, b".".join((id.encode(), at.encode(), body)), hashlib.sha256).digest()
        return {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def key_of(secret: str) -> bytes:
    """The key that a secret stands for. Raises ValueError."""
    if not secret.startswith(_ENCODED):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
    except binascii.Error:
        raise ValueError(f"begins with {_ENCODED}, and what follows is not base64") from None


def document(alert: Alert) -> dict[str, object]:
    """An alert as JSON."""
    return {
        "id": str(alert.id),
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "status": alert.status,
        "since": alert.since.isoformat(),
        "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        "text": alert.text,
        "facts": dict(alert.facts),
    }
