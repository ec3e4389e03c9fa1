"""Hours of the day in which a route sends nothing, by the clocks of one time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from application.fields import one_or_many
from domain.events import Priority

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_DAY = timedelta(days=1)


def _time_of_day(value: object) -> time:
    if isinstance(value, time) and value.tzinfo is None and not value.microsecond:
        return value  # TOML has such times
    if isinstance(value, str) and (found := _TIME.fullmatch(value)):
        return time(int(found[1]), int(found[2]), int(found[3] or 0))
    raise ValueError("must be a time of day such as 22:00")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        if not available_timezones():
            raise ValueError("cannot be read: there is no time zone database; install the package tzdata") from None
        raise ValueError("is not a time zone; write one such as Europe/Berlin or UTC") from None
    return name


TimeOfDay = Annotated[
    time, BeforeValidator(_time_of_day), PlainSerializer(lambda at: at.isoformat()[: 8 if at.second else 5])
]


class QuietHours(BaseModel):
    """From one time of day to another, over midnight when that is the earlier one.

    It is quiet while the clocks of the time zone show such a time. Of an hour that the clocks go through twice, the
    first time begins and the second time ends; when they leave a time out, it is when they do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    priorities: Annotated[tuple[Priority, ...], BeforeValidator(one_or_many), Field(min_length=1)] = (
        Priority.NORMAL,
        Priority.BULK,
    )

    @model_validator(mode="after")
    def _not_all_day(self) -> "QuietHours":
        if self.start == self.end:
            raise ValueError("must not begin and end at the same time; pause the providers to send nothing at all")
        return self

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours that hold at `now` end, in UTC; None when none do."""
        zone = ZoneInfo(self.timezone)
        today, end = now.astimezone(zone).date(), None
        for days in (-1, 0, 1):
            night = self._night(today + days * _DAY, zone)
            if night[0] <= (end or now) < night[1]:
                end = night[1]
        return end

    def _night(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        last = day if self.start < self.end else day + _DAY
        return _instant(datetime.combine(day, self.start), zone, 0), _instant(datetime.combine(last, self.end), zone, 1)


def _instant(wall: datetime, zone: ZoneInfo, fold: int) -> datetime:
    """When clocks show this time, for the first or second time (`fold`); when they leave it out, when they do."""
    at = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    before, after = (int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (1, 0))
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)
