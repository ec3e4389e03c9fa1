"""GET /metrics, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST

from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply


async def show(call: Call) -> Reply:
    """What this process has counted since it started, and how the service is doing, in Prometheus's text format."""
    gauges = await call.service.gauges()  # before the rest, which counts when they cannot be read
    return Reply(200, call.service.metrics.text() + gauges, content_type=CONTENT_TYPE_LATEST.encode())
