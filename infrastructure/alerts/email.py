"""Alerts as emails of our own, which go out through whichever provider works."""

from collections.abc import Sequence

from application.commands import Caller, SendEmail
from application.errors import IdempotencyConflict
from application.incidents import Alert
from application.send_email import SendEmailHandler
from domain.events import Priority

TENANT = "postledger"  # whose emails these are


class EmailAlerts:
    """An AlertChannel. One email for each alert, however often it is told."""

    name = "email"

    def __init__(self, send: SendEmailHandler, sender: str, to: Sequence[str]) -> None:
        self._send = send
        self._sender = sender
        self._to = tuple(to)

    async def tell(self, alert: Alert) -> None:
        """Raises StoreUnavailable."""
        caller = Caller(tenant=TENANT, actor="alerts", correlation_id=alert.id)
        try:
            await self._send(self._written(alert), caller, key=f"{alert.id}-{alert.status}")
        except IdempotencyConflict:
            return  # it was sent before, and the settings have changed since

    def _written(self, alert: Alert) -> SendEmail:
        word = alert.severity if alert.status == "raised" else "resolved"
        facts = "\n".join(f"{name}: {value}" for name, value in alert.facts.items())
        return SendEmail.model_validate(
            {
                "from": self._sender,
                "to": self._to,
                "subject": f"[Postledger] {word}: {alert.kind} {alert.subject}".rstrip(),
                "text": f"{alert.text}\n\n{facts}\n\nSince {alert.since:%Y-%m-%d %H:%M:%S} UTC. Incident {alert.id}.\n",
                "priority": Priority.CRITICAL,
                "stream": "alerts",
                "headers": {"Auto-Submitted": "auto-generated"},
            }
        )
