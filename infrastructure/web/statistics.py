"""GET /statistics: how much mail there was, how it fared, and how long it took."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from application.errors import InvalidField
from infrastructure.web import query, reply
from infrastructure.web.headers import wait_for_position
from infrastructure.web.operation import Call
from infrastructure.web.reply import Reply
from infrastructure.web.statistics_views import StatisticsList, view
from projections.statistics_queries import Answer, Question, ask
from projections.statistics_windows import Per, TooLong, Window

_MOST = 10_000  # entries of one answer
_WEEK = timedelta(days=7)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_TAG = re.compile(r"[^:]+(:[^:]+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

Group = Literal["stream", "provider", "tag", "domain"]


def _read(text: str, zone: ZoneInfo) -> datetime:
    """A day is where it begins. Raises ValueError."""
    if _DAY.fullmatch(text):
        return datetime.combine(date.fromisoformat(text), time.min, zone).astimezone(UTC)
    found = datetime.fromisoformat(query.lost_plus(text))
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


def _when(text: str) -> str:
    try:
        _read(text, ZoneInfo("UTC"))
    except (ValueError, OverflowError):
        wanted = "must be a day such as 2026-08-05, or a time with an offset such as 2026-08-05T11:52:00Z"
        raise PydanticCustomError("moment", wanted) from None
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise PydanticCustomError("time_zone", "must be a time zone such as Europe/Berlin, or UTC") from None
    return name


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise PydanticCustomError("tag", "must be written name:value, or name alone with group_by=tag")
    return text


class StatisticsQuery(query.Query):
    """Of when, cut up how, and of what."""

    since: Annotated[
        Annotated[query.Text, AfterValidator(_when)] | None,
        Field(description="A day, or a time with an offset; the hour it is in counts whole. By default a week before."),
    ] = None
    until: Annotated[
        Annotated[query.Text, AfterValidator(_when)] | None,
        Field(description="Up to before this time, or before this day begins. By default now."),
    ] = None
    per: Annotated[Per | None, Field(description="An entry for each hour, or each day; else one for all.")] = None
    time_zone: Annotated[
        Annotated[query.Text, AfterValidator(_zone)], Field(description="Whose days are meant, such as Europe/Berlin.")
    ] = "UTC"
    group_by: Annotated[Group | None, Field(description="Those that have most each for themselves.")] = None
    stream: Annotated[query.Text | None, Field(description="Of this mail stream alone.")] = None
    provider: Annotated[query.Text | None, Field(description="Of this provider alone.")] = None
    tag: Annotated[
        Annotated[query.Text, AfterValidator(_tag)] | None,
        Field(description="Of this tag alone, as name:value; with group_by=tag a name, whose values are meant."),
    ] = None
    domain: Annotated[
        Annotated[query.Text, AfterValidator(str.casefold)] | None,
        Field(description="Of recipients at this domain alone."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=100, description="How many values with group_by, at most.")] = 20

    def question(self, tenant: str | None, now: datetime) -> Question:
        """Raises InvalidField for what does not fit together."""
        window = self._window(now)
        if self.group_by and self.limit * len(window.slots) > _MOST:
            raise InvalidField("limit", f"makes more than {_MOST} entries with so many hours or days; ask for less")
        return Question(tenant, window, self.group_by, self._of(), self.limit)

    def _window(self, now: datetime) -> Window:
        zone = ZoneInfo(self.time_zone)
        present = now + timedelta.resolution  # what happens now has its place too
        until = min(_read(self.until, zone), present) if self.until else present
        since = max(_read(self.since, zone) if self.since else until - _WEEK, _BEGINNING)
        if since >= until:
            raise InvalidField("since", "must be before until, and before now")
        try:
            return Window.between(since, until, self.per, zone)
        except TooLong as error:
            raise InvalidField("since", str(error)) from None

    def _of(self) -> tuple[Group, str] | None:
        given: list[tuple[Group, str]] = [
            (name, getattr(self, name)) for name in get_args(Group) if getattr(self, name)
        ]
        if len(given) > 1:
            raise InvalidField(
                given[1][0], f"cannot be combined with {given[0][0]}: one dimension at a time is counted"
            )
        if given and self.group_by:
            return self._values_of(*given[0])
        if self.tag and ":" not in self.tag:
            raise InvalidField("tag", "must be written name:value; a name alone goes with group_by=tag")
        return given[0] if given else None

    def _values_of(self, name: Group, value: str) -> tuple[Group, str]:
        if name != "tag" or self.group_by != "tag" or ":" in value:
            raise InvalidField(name, "cannot be combined with group_by: one dimension at a time is counted")
        return name, f"{value}:"


async def show(call: Call) -> Reply:
    """Counts, rates and times: in all, by hour or by day, and by stream, provider, tag or domain."""
    question = query.parse(call, StatisticsQuery).question(call.caller.tenant, call.service.clock())
    await wait_for_position(call)
    return reply.of(listed(await call.service.database.ask(ask, question), question))


def listed(answer: Answer, question: Question) -> StatisticsList:
    return StatisticsList(
        has_more=answer.has_more, data=[view(figures, question.dimension) for figures in answer.figures]
    )
