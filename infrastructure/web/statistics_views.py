"""What the API answers about how much mail there was, and how it fared."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from infrastructure.web.views import View
from projections.statistics_measures import BRIEF, MORE, Dimension
from projections.statistics_queries import Figures, Times
from projections.statistics_windows import Slot

_Share = Annotated[float | None, Field(description="Between 0 and 1; null where there is nothing to be a part of.")]
_Rarely = Annotated[int | None, Field(description="null by tag and domain, where it is not counted.")]
_Email = Annotated[int | None, Field(description="null by provider, for no provider has a part in it.")]
_NO_PROVIDER = ("accepted", "recipients", "requeued", "cancelled", "expired")


class TimesView(View):
    """How long something took, in seconds, each within 2 %."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float


class BouncedView(View):
    """Recipients whose side refused the message, by class."""

    hard: int
    soft: int
    undetermined: int


class RatesView(View):
    """Shares of recipients: of those a provider was asked to send to, or of those delivered to."""

    delivery: _Share
    bounce: _Share
    complaint: _Share
    open: _Share
    click: _Share
    unsubscribe: _Share


class AttemptsView(View):
    """Calls to providers, each counted under its first outcome."""

    started: int
    taken: Annotated[int, Field(description="For one recipient at least.")]
    errors: Annotated[dict[str, int], Field(description="By error class.")]
    in_doubt: Annotated[int, Field(description="The provider may or may not have taken it.")]
    expired: Annotated[int, Field(description="Did not work when it was too late for another one.")]
    deferred: Annotated[int, Field(description="After which a later one was planned.")]
    success: Annotated[float | None, Field(description="The share that was taken, of those with an outcome.")]
    latency: Annotated[TimesView | None, Field(description="From the call to the answer, where there was one.")]


class StatisticsView(View):
    """What was counted between two times. Recipients, but for emails in `accepted`, and calls in `attempts`."""

    object: Literal["statistics"] = "statistics"
    since: datetime
    until: datetime
    group: Annotated[str | None, Field(description="The stream, provider, tag or domain; null for everything asked.")]
    accepted: Annotated[int | None, Field(description="Emails; null by provider.")]
    recipients: _Email
    requeued: _Email
    dispatched: Annotated[int, Field(description="A provider took the message for them.")]
    delivered: int
    bounced: BouncedView
    rejected: Annotated[int, Field(description="The provider would not send it after all.")]
    refused: Annotated[int, Field(description="Of those bounced or rejected: in the answer to the call itself.")]
    suppressed: int
    failed: int
    cancelled: _Email
    expired: _Email
    complained: int
    opened: Annotated[int, Field(description="Each recipient once, whatever was opened how often.")]
    opened_by_machine: _Rarely
    opens: _Rarely
    clicked: Annotated[int, Field(description="Each recipient once.")]
    clicked_by_machine: _Rarely
    clicks: _Rarely
    unsubscribed: int
    delayed: _Rarely
    unattributed: _Rarely
    rates: RatesView
    attempts: Annotated[AttemptsView | None, Field(description="null by tag and domain.")]
    time_to_dispatch: Annotated[TimesView | None, Field(description="From when it was due until a provider took it.")]
    time_to_delivery: Annotated[TimesView | None, Field(description="From when it was due until it was delivered.")]


class StatisticsList(View):
    """By time, or one for all of it; of several values those that have most first."""

    object: Literal["list"] = "list"
    has_more: Annotated[bool, Field(description="Whether other values were left out.")]
    data: list[StatisticsView]


def view(figures: Figures, dimension: Dimension) -> StatisticsView:
    """`dimension` is what was asked by, or of."""
    unknown = MORE if dimension in BRIEF else _NO_PROVIDER if dimension == "provider" else ()
    names = StatisticsView.model_fields.keys() - {"object", "since", "until", "group", "bounced", *_PARTS}
    counts = {name: None if name in unknown else figures[name] for name in names}
    bounced = {name: figures[f"bounced_{name}"] for name in BouncedView.model_fields}
    rates = {name: figures.rate(name) for name in RatesView.model_fields}
    return StatisticsView(
        since=figures.slot.since,
        until=figures.slot.until,
        group=figures.value,
        bounced=BouncedView(**bounced),
        rates=RatesView(**rates),
        attempts=None if dimension in BRIEF else attempts(figures),
        time_to_dispatch=_times(figures.times, "time_to_dispatch"),
        time_to_delivery=_times(figures.times, "time_to_delivery"),
        **counts,
    )


_PARTS = ("rates", "attempts", "time_to_dispatch", "time_to_delivery")


def attempts(found: Figures | None) -> AttemptsView:
    """None: nothing was counted."""
    figures = found or Figures(Slot(0, 0, 0))
    return AttemptsView(
        started=figures["attempts"],
        taken=figures["taken"],
        errors=figures.errors,
        in_doubt=figures["in_doubt"],
        expired=figures["call_expired"],
        deferred=figures["deferred"],
        success=figures.rate("success"),
        latency=_times(figures.times, "provider_latency"),
    )


def _times(found: Mapping[str, Times], measure: str) -> TimesView | None:
    times = found.get(measure)
    return TimesView(count=times.count, **times.quantiles) if times else None
