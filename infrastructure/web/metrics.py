"""GET /metrics, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST

from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply


async def show(call: Call) -> Reply:
    """What this process has counted since it started, in Prometheus's text format."""
    return Reply(200, call.service.metrics.text(), content_type=CONTENT_TYPE_LATEST.encode())
