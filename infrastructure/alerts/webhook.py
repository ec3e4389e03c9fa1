"""Alerts as calls to a URL of the operator's, signed as Standard Webhooks says (www.standardwebhooks.com)."""

import json

from application.incidents import Alert
from application.ports import Clock
from infrastructure.outbound import Outbound, OutboundTrouble
from infrastructure.standard_webhooks import key_of, signed


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
        signature = signed(self._key, f"{alert.id}-{alert.status}", self._clock(), body)
        headers = {"Content-Type": "application/json", **signature}
        status = await self._outbound.post(self._url, body, headers)
        if not 200 <= status < 300:
            raise NotTaken(f"it answered {status}")

    async def close(self) -> None:
        await self._outbound.close()


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
