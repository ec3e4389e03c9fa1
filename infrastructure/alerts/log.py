"""Alerts as lines of the log. Always on."""

import logging

from application.incidents import Alert

_LEVELS = {"warning": logging.WARNING, "critical": logging.ERROR}

_log = logging.getLogger(__name__)


class LogAlerts:
    """An AlertChannel."""

    name = "log"

    async def tell(self, alert: Alert) -> None:
        level = _LEVELS[alert.severity] if alert.status == "raised" else logging.INFO
        _log.log(level, "%s: %s (incident %s, %s)", alert.kind, alert.text, alert.id, alert.status)
