"""Options that several commands share."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from infrastructure.bootstrap import now

_AGO = re.compile(r"(\d{1,6}) ?(s|m|h|d)")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_F = TypeVar("_F", bound=Callable[..., Any])

_URL = click.option("--url", metavar="URL", help="The service to talk to; by default the one the settings describe.")
_KEY = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds the API key; by default the key comes from the settings.",
)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in stubs of newer versions only
    """A time (UTC unless it has an offset), or how long ago: 2026-08-05, 2026-08-05T11:52, 90m, 2d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(str(value).strip()):
            return now() - timedelta(**{_UNIT[ago[2]]: int(ago[1])})
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a time such as 2026-08-05T11:52, nor an age such as 90m or 2d", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Span(click.ParamType):  # type: ignore[type-arg]  # generic in stubs of newer versions only
    """A length of time up to a day: 90s, 10m, 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _AGO.fullmatch(str(value).strip())
        span = timedelta(**{_UNIT[found[2]]: int(found[1])}) if found else timedelta(0)
        if not timedelta(0) < span <= timedelta(days=1):
            self.fail(f"{value!r} is not a duration such as 90s, 10m or 2h, of at most a day", param, ctx)
        return span


def of_a_service(command: _F) -> _F:
    """`--url` and `--api-key-file`."""
    return _URL(_KEY(command))
