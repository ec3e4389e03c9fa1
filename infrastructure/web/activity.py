"""GET /recipients/{address}/activity: everything that happened to one recipient's emails."""

from typing import Annotated, Literal

from pydantic import Field

from infrastructure.web import query
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.parameters import address
from infrastructure.web.reply import Reply
from infrastructure.web.views import View


class ActivityQuery(query.Query):
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Activity(View):
    object: Literal["list"] = "list"
    has_more: bool


async def show(call: Call) -> Reply:
    """What happened, the newest first."""
    await wait_for_position(call)
    address(call)
    return Reply(500, b"")
