"""What the API answers about the providers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from infrastructure.web.statistics_views import AttemptsView
from infrastructure.web.views import View


class ProviderView(View):
    """How one configured provider stands."""

    name: str
    state: Literal["closed", "open", "half_open", "paused"]
    since: Annotated[datetime | None, Field(description="The latest change; null when there never was one.")]
    until: Annotated[datetime | None, Field(description="Nothing goes through it before; null unless it is degraded.")]
    cause: Annotated[Literal["sends", "check"] | None, Field(description="What failed, while it is degraded.")]
    rule: Annotated[str | None, Field(description="By which it was taken for degraded, such as `error_rate`.")]
    last_24_hours: Annotated[
        AttemptsView | None,
        Field(description="Of your email, as far as it is counted; null where that cannot be told now."),
    ]


class ProviderList(View):
    """Every provider, in the order of the settings."""

    object: Literal["list"] = "list"
    has_more: Literal[False] = False
    data: list[ProviderView]
