"""GET /providers: how the configured providers stand, as this process knows it."""

from datetime import datetime

from domain.provider_state import ProviderState
from infrastructure.web import reply
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.views import ProviderList, ProviderView


async def show(call: Call) -> Reply:
    """Whether mail goes through each provider now: `closed` is well, `open` lets nothing through until a time,
    `half_open` one email at a time as a probe, `paused` nothing until an operator resumes it. About a second behind."""
    now = call.service.clock()
    return reply.of(ProviderList(data=[_view(state, now) for state in call.service.provider_states()]))


def _view(state: ProviderState, now: datetime) -> ProviderView:
    return ProviderView(
        name=state.name,
        state=state.word(now),
        since=state.since,
        until=None if state.paused else state.degraded_until,
        cause=state.cause,
        rule=state.rule,
    )
