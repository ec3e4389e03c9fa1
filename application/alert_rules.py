"""What an operator is told about: one table of rules, each a function of how the service is doing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from application.vitals import MOST, Signs
from domain.delivery import ErrorClass
from domain.provider_state import ProviderState

Severity = Literal["warning", "critical"]
Facts = Mapping[str, int | str]  # numbers, configured names and words of ours; never a person, or a server's words

_MENDED = 0.8  # of a threshold: an incident that began above it goes on until the value is below this


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on an operator is told."""

    dead_letters: int = 20
    dead_letters_window: timedelta = timedelta(minutes=15)
    queue_age: timedelta = timedelta(minutes=5)
    in_doubt: int = 50
    in_doubt_age: timedelta = timedelta(hours=1)
    lag: int = 10_000


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules look at."""

    signs: Signs
    providers: Sequence[ProviderState]
    thresholds: Thresholds
    now: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule applies to `subject`. What is only `mending` keeps an incident open, and does not begin one."""

    subject: str = ""  # a configured name, where there can be several
    facts: Facts = field(default_factory=dict)
    mending: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`text` and `over` are told when an incident begins and ends, with its facts filled in."""

    kind: str
    severity: Severity
    text: str
    over: str
    find: Callable[[Situation], Iterator[Finding]]


def _providers_down(now: Situation) -> Iterator[Finding]:
    for state in now.providers:
        if state.degraded and not state.paused:
            drill = {"drill": fault} if (fault := state.drill(now.now)) else {}
            facts: Facts = {
                "provider": state.name,
                "cause": state.cause or "sends",
                "openings": state.openings,
                **drill,
            }
            yield Finding(state.name, facts)


def _all_down(now: Situation) -> Iterator[Finding]:
    degraded = sum(state.degraded and not state.paused for state in now.providers)
    paused = sum(state.paused for state in now.providers)
    if now.providers and degraded + paused == len(now.providers):
        yield Finding(facts={"providers": len(now.providers), "degraded": degraded, "paused": paused})


def _misconfigured(now: Situation) -> Iterator[Finding]:
    for state in now.providers:
        if state.error_class is ErrorClass.CONFIG and not state.paused:
            yield Finding(state.name, {"provider": state.name})


def _dead_letters(now: Situation) -> Iterator[Finding]:
    count, limit = now.signs.dead_letters_lately, now.thresholds.dead_letters
    if count > limit * _MENDED:
        minutes = _minutes(now.thresholds.dead_letters_window)
        facts: Facts = {"dead_letters": count, "shown": _count(count), "minutes": minutes, "threshold": limit}
        yield Finding(facts=facts, mending=count <= limit)


def _queue_age(now: Situation) -> Iterator[Finding]:
    age, limit = now.signs.queue_oldest, now.thresholds.queue_age
    if age > limit * _MENDED:
        waiting = min(MOST, sum(now.signs.queue.values()))
        facts: Facts = {"oldest_minutes": _minutes(age), "waiting": waiting, "shown": _count(waiting)}
        yield Finding(facts=facts, mending=age <= limit)


def _in_doubt(now: Situation) -> Iterator[Finding]:
    signs, limits = now.signs, now.thresholds
    worst = max(signs.unconfirmed / limits.in_doubt, signs.unconfirmed_oldest / limits.in_doubt_age)
    if worst > _MENDED:
        facts: Facts = {
            "unconfirmed": signs.unconfirmed,
            "shown": _count(signs.unconfirmed),
            "oldest_minutes": _minutes(signs.unconfirmed_oldest),
            "parked": signs.parked,
        }
        yield Finding(facts=facts, mending=worst <= 1)


def _behind(now: Situation) -> Iterator[Finding]:
    for model in now.signs.read_models:
        if model.lag > now.thresholds.lag * _MENDED:
            yield Finding(model.name, {"name": model.name, "lag": model.lag}, mending=model.lag <= now.thresholds.lag)


def _held(now: Situation) -> Iterator[Finding]:
    for model in now.signs.read_models:
        if model.held:
            yield Finding(model.name, {"name": model.name, "lag": model.lag})


def _parked(now: Situation) -> Iterator[Finding]:
    for model in now.signs.read_models:
        if model.parked:
            yield Finding(model.name, {"name": model.name, "parked": model.parked})


def _unchained(now: Situation) -> Iterator[Finding]:
    lag, limit = now.signs.unchained, now.thresholds.lag
    if lag > limit * _MENDED:
        yield Finding(facts={"lag": lag}, mending=lag <= limit)


def _minutes(time: timedelta) -> int:
    return round(time.total_seconds() / 60)


def _count(number: int) -> str:
    return f"{number:,}{' or more' if number >= MOST else ''}"


RULES: Sequence[Rule] = (
    Rule(
        *("all_providers_down", "critical"),
        "No email is going out: of {providers} providers, {degraded} are down and {paused} are paused.",
        "At least one provider can be used again.",
        _all_down,
    ),
    Rule(
        *("provider_down", "warning"),
        "The provider {provider} is down: nothing but a probe now and then is sent through it.",
        "The provider {provider} is not taken for down any more.",
        _providers_down,
    ),
    Rule(
        *("provider_config", "critical"),
        "The provider {provider} refuses us: its key, sender domain or account is wrong, which somebody has to mend.",
        "The provider {provider} is not known to refuse us any more.",
        _misconfigured,
    ),
    Rule(
        *("dead_letters", "warning"),
        "{shown} emails ended undelivered within {minutes} minutes.",
        "Few emails end undelivered again.",
        _dead_letters,
    ),
    Rule(
        *("queue_age", "warning"),
        "Email waits: the oldest has been due for {oldest_minutes} minutes, and {shown} are waiting.",
        "Email is begun in time again.",
        _queue_age,
    ),
    Rule(
        *("in_doubt", "warning"),
        "{shown} emails are in doubt, the oldest for {oldest_minutes} minutes; {parked} of them wait for an operator.",
        "Few emails are in doubt again, and none for long.",
        _in_doubt,
    ),
    Rule(
        *("read_model_behind", "warning"),
        "The read model {name} is {lag} events behind.",
        "The read model {name} has caught up.",
        _behind,
    ),
    Rule(
        *("read_model_held", "critical"),
        "{name} stands still: it cannot go on from an event, and everything made from it grows old.",
        "{name} goes on.",
        _held,
    ),
    Rule(
        *("streams_parked", "warning"),
        "The read model {name} could not follow {parked} streams, and shows them as they were before.",
        "The read model {name} follows all streams.",
        _parked,
    ),
    Rule(
        *("audit_chain_behind", "warning"),
        "The audit chain is {lag} events behind: what was done to these since would not be found.",
        "The audit chain has caught up.",
        _unchained,
    ),
)
BY_KIND: Mapping[str, Rule] = {rule.kind: rule for rule in RULES}
