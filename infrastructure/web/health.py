"""GET /healthz and GET /readyz, for whatever watches over the process."""

from infrastructure.web import reply
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.views import Health, Readiness


async def alive(call: Call) -> Reply:
    """The process runs and answers. Says nothing about what it depends on."""
    return reply.of(Health())


async def ready(call: Call) -> Reply:
    """Whether everything that requests need is there."""
    checks = dict(await call.service.ready())
    fine = not any(checks.values())
    return reply.of(Readiness(status="ready" if fine else "not_ready", checks=checks), status=200 if fine else 503)
