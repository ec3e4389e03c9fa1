"""`postledger statistics`: how much mail there was, how it fared, and how long it took."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from application.errors import InvalidField
from infrastructure.bootstrap import System, now
from infrastructure.cli import display, options
from infrastructure.cli.failures import USAGE, Failure
from infrastructure.cli.running import follow, with_system
from infrastructure.web.statistics import StatisticsQuery, listed
from projections.statistics_measures import BRIEF
from projections.statistics_queries import Answer, Figures, Question, ask
from projections.statistics_windows import Slot

_OPTION = {"group_by": "by", "time_zone": "time-zone"}  # where it is called otherwise than the parameter
_WIDTH = 12  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"

_Cell = Callable[[Figures], str]


class _Day(options.Moment):
    """A day as it is written, for it begins where the time zone says; else a time, as text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
            return value
        return super().convert(value, param, ctx).isoformat()


def _count(measure: str) -> _Cell:
    return lambda figures: f"{figures[measure]:,}" if figures[measure] else ""


def _rate(name: str) -> _Cell:
    return lambda figures: percent(figures.rate(name))


def _times(measure: str) -> _Cell:
    """Half of them took no longer than the first, and 99 % no longer than the second."""

    def cell(figures: Figures) -> str:
        if measure not in figures.times:
            return ""
        quantiles = figures.times[measure].quantiles
        return f"{seconds(quantiles['p50'])}, {seconds(quantiles['p99'])}"

    return cell


_FATE: Sequence[tuple[str, _Cell]] = (
    ("sent", _count("dispatched")),
    ("delivered", _count("delivered")),
    ("%", _rate("delivery")),
    ("bounced", _count("bounced")),
    ("failed", _count("failed")),
    ("complaints", _count("complained")),
    ("opened", _count("opened")),
    ("clicked", _count("clicked")),
)
_MAIL = (("emails", _count("accepted")), ("recipients", _count("recipients")), *_FATE)
_TIMES = (("sent in", _times("time_to_dispatch")), ("delivered in", _times("time_to_delivery")))
_CALLS = (
    ("attempts", _count("attempts")),
    ("success", _rate("success")),
    ("in doubt", _count("in_doubt")),
    ("answers in", _times("provider_latency")),
)
# What is told of all together: what it is called, and what it is a share of.
_ALL = (
    ("accepted", "emails", ""),
    ("recipients", "recipients", ""),
    ("requeued", "requeued", ""),
    ("dispatched", "sent", "recipients"),
    ("delivered", "delivered", "asked"),
    ("bounced", "bounced", "asked"),
    ("rejected", "rejected", "asked"),
    ("suppressed", "suppressed", "recipients"),
    ("failed", "failed", "recipients"),
    ("cancelled", "cancelled", "recipients"),
    ("expired", "expired", "recipients"),
    ("complained", "complaints", "delivered"),
    ("opened", "opened", "delivered"),
    ("clicked", "clicked", "delivered"),
    ("unsubscribed", "unsubscribed", "delivered"),
    ("attempts", "attempts", ""),
    ("taken", "taken", "concluded"),
    ("in_doubt", "in doubt", "concluded"),
)


@click.command("statistics")
@click.option("--tenant", metavar="NAME", help="Of this tenant alone; else of all together.")
@click.option("--since", type=_Day(), default="7d", show_default=True, help="A day, a time, or an age such as 36h.")
@click.option("--until", type=_Day(), help="Up to before then; by default now.")
@click.option("--per", type=click.Choice(["hour", "day"]), help="A line for each.")
@click.option("--by", "group_by", type=click.Choice(["stream", "provider", "tag", "domain"]), help="A line for each.")
@click.option("--stream", metavar="NAME", help="Of this mail stream alone.")
@click.option("--provider", metavar="NAME", help="Of this provider alone.")
@click.option("--tag", metavar="NAME:VALUE", help="Of this tag alone; with `--by tag` a name, whose values are meant.")
@click.option("--domain", metavar="NAME", help="Of recipients at this domain alone.")
@click.option("--time-zone", default="UTC", show_default=True, metavar="NAME", help="Whose days are meant.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="So many with --by, at most.")
def statistics_command(tenant: str | None, **wanted: Any) -> None:
    """How many emails there were, what became of them, and how long it took."""
    question = _question(tenant, {name: value for name, value in wanted.items() if value is not None})

    async def work(system: System) -> tuple[Answer, Answer]:
        await follow(system, "statistics")
        return await system.database.ask(ask, question), await system.database.ask(ask, _whole(question))

    answer, whole = with_system(work)
    if not display.for_people():
        display.document(listed(answer, question).model_dump(mode="json"))
        return
    _show(question, answer, whole, ZoneInfo(wanted["time_zone"]))


def percent(share: float | None) -> str:
    """98.5 %, and nothing for a share of nothing."""
    return "" if share is None else f"{share * 100:.1f}".removesuffix(".0")


def seconds(time: float) -> str:
    """With as many digits as are known: 0.25 s, 12 s, 3 min, 5 h, 2 d."""
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "min")):
        if time >= size:
            return f"{time / {'d': 86_400, 'h': 3_600, 'min': 60}[unit]:.3g} {unit}"
    return f"{time:.2g} s" if time < 10 else f"{time:.0f} s"


def bar(part: float) -> Text:
    """A share of the longest bar, in eighths of a character."""
    whole, eighth = divmod(round(part * _WIDTH * 8), 8)
    return Text("█" * whole + (_EIGHTHS[eighth] if eighth else ""), no_wrap=True, overflow="crop")


def _question(tenant: str | None, wanted: dict[str, Any]) -> Question:
    try:
        return StatisticsQuery.model_validate(wanted).question(tenant, now())
    except ValidationError as error:
        (first, *_) = error.errors()
        field, why = str(first["loc"][0]), first["msg"]
    except InvalidField as error:
        field, why = error.field, str(error)
    raise Failure(f"--{_OPTION.get(field, field)} {why}.", "See `postledger statistics --help`.", USAGE)


def _whole(question: Question) -> Question:
    """The same without lines for hours, days or values."""
    window = question.window
    slots = (Slot(0, window.first, window.end),)
    of = question.of if question.by is None else None
    return replace(question, window=replace(window, per=None, slots=slots), by=None, of=of)


def _show(question: Question, answer: Answer, whole: Answer, zone: ZoneInfo) -> None:
    (total,) = whole.figures
    title = f"{_clock(total.slot.since, zone)} to {_clock(total.slot.until, zone)} ({zone.key})"
    names = [name for name in (question.by, question.window.per) if name]
    made = _lines(question, names, answer, total, zone, title) if names else _overview(total, title)
    display.console().print(made)
    if not total.counts:
        click.echo("Nothing was counted.")
    if total.times:
        click.echo("Of two times, half took no longer than the first, and 99 % no longer than the second.")
    if answer.has_more:
        click.echo(f"There are more than {question.limit}: ask for more with --limit.")


def _overview(total: Figures, title: str) -> Table:
    rows: list[list[str | Text]] = []
    for measure, name, of in _ALL:
        share = total[measure] / total[of] if total[of] else None
        drawn = "" if share is None else bar(min(share, 1))
        rows += [[name, f"{total[measure]:,}", percent(share), drawn]] if total[measure] else []
    rows += [[name, cell(total), "", ""] for name, cell in (*_TIMES, _CALLS[-1]) if cell(total)]
    return display.table(("", "", "%", ""), rows, title)


def _lines(
    question: Question, names: Sequence[str], answer: Answer, total: Figures, zone: ZoneInfo, title: str
) -> Table:
    columns = _columns(question, [*answer.figures, total])
    measure = "attempts" if question.dimension == "provider" else "recipients"
    most = max((figures[measure] for figures in answer.figures), default=0) or 1
    rows: list[list[str | Text]] = [
        [*_names(question, figures, zone), *(cell(figures) for _, cell in columns), bar(figures[measure] / most)]
        for figures in answer.figures
    ]
    rows.append(["all", *[""] * (len(names) - 1), *(cell(total) for _, cell in columns), ""])
    made = display.table((*names, *(name for name, _ in columns), ""), rows, title)
    for column in made.columns:
        column.no_wrap = column.header in (
            *names,
            *dict(_TIMES),
            "answers in",
            "",
        )  # what cannot be read when it is cut
    return made


def _columns(question: Question, told: Sequence[Figures]) -> list[tuple[str, _Cell]]:
    """Those that say something, and something new."""
    if question.dimension == "provider":
        columns = [*_CALLS, *_FATE]
    else:
        columns = [*_MAIL, *(() if question.dimension in BRIEF else _TIMES)]
    same = all(figures["accepted"] == figures["recipients"] for figures in told)
    return [(name, cell) for name, cell in columns if any(map(cell, told)) and not (same and name == "recipients")]


def _names(question: Question, figures: Figures, zone: ZoneInfo) -> list[str]:
    names = [] if figures.value is None else [figures.value]
    if question.window.per == "day":
        names.append(_date(figures.slot.since, zone).isoformat())
    elif question.window.per == "hour":
        names.append(_clock(figures.slot.since, zone))
    return names


def _date(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date()


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
