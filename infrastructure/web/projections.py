"""GET /projections: how far the read models follow the log, as any process can tell."""

from infrastructure.database.positions import ProjectionPosition
from infrastructure.web import reply
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.views import ProjectionList, ProjectionView


async def show(call: Call) -> Reply:
    """Where each read model stands in the order of all events, how far it is behind, and what holds it."""
    return reply.of(ProjectionList(data=[_view(each) for each in await call.service.positions()]))


def _view(each: ProjectionPosition) -> ProjectionView:
    return ProjectionView(
        name=each.name,
        version=each.version,
        state=each.state,
        building=each.building,
        position=each.position,
        lag=each.lag,
        lag_seconds=each.lag_seconds,
        parked=each.parked,
        error=each.error,
        updated_at=each.updated_at,
    )
