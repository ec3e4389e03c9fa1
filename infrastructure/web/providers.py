"""GET /providers: how the configured providers stand, as this process knows it, and how they did of late."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from application.errors import StoreUnavailable
from domain.provider_state import ProviderState
from infrastructure.web import reply
from infrastructure.web.operation import Call
from infrastructure.web.provider_views import ProviderList, ProviderView
from infrastructure.web.reply import Reply
from infrastructure.web.statistics_views import AttemptsView, attempts
from projections.statistics_queries import Figures, calls

_PATIENCE = 1.0  # seconds; how they stand is told whether or not it can be told how they did


async def show(call: Call) -> Reply:
    """Whether mail goes through each provider now: `closed` is well, `open` lets nothing through until a time,
    `half_open` one email at a time as a probe, `paused` nothing until an operator resumes it. About a second behind."""
    now = call.service.clock()
    figures = await _figures(call, now)
    states = call.service.provider_states()
    return reply.of(ProviderList(data=[_view(state, now, _calls(state.name, figures)) for state in states]))


async def _figures(call: Call, now: datetime) -> Mapping[str, Figures] | None:
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            return await call.service.database.ask(calls, call.caller.tenant, now)
    return None


def _calls(name: str, figures: Mapping[str, Figures] | None) -> AttemptsView | None:
    return None if figures is None else attempts(figures.get(name))


def _view(state: ProviderState, now: datetime, last_24_hours: AttemptsView | None) -> ProviderView:
    return ProviderView(
        name=state.name,
        state=state.word(now),
        since=state.since,
        until=None if state.paused else state.degraded_until,
        cause=state.cause,
        rule=state.rule,
        last_24_hours=last_24_hours,
    )
