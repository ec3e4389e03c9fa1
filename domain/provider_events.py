"""The events of a provider's own stream: how it was doing, and what operators decided about it."""

from typing import Literal

from pydantic import AwareDatetime

from domain.delivery import ErrorClass
from domain.events import Event, ProviderWords
from domain.personal import PersonalStr

EVERYBODY = ""  # the tenant of these streams: they belong to no tenant, and no API key reads them

Fault = Literal["timeout", "5xx", "429", "reset", "slow"]
Cause = Literal["sends", "check"]


class ProviderEvent(Event):
    """Something about one configured provider."""

    provider: str  # as configured


class ProviderDegraded(ProviderEvent):
    """It fails too often: until `until` nothing is sent through it, and from then on one email at a time as a probe."""

    TYPE = "provider.degraded"
    cause: Cause  # what failed: send calls, or the health check
    rule: Literal["consecutive_failures", "error_rate", "probe_failed", "health_check"]
    failures: int  # of `calls` in the last `window` seconds
    calls: int
    window: float
    error_class: ErrorClass | None = None  # of the last failure
    reason: str | None = None
    words: ProviderWords = ""
    openings: int  # how many times in a row, this one included
    until: AwareDatetime


class ProviderRecovered(ProviderEvent):
    """It works again."""

    TYPE = "provider.recovered"
    evidence: Literal["send", "check"]


class ProviderPaused(ProviderEvent):
    """An operator took it out of use."""

    TYPE = "provider.paused"
    reason: PersonalStr


class ProviderResumed(ProviderEvent):
    """An operator took it into use again."""

    TYPE = "provider.resumed"
    reason: PersonalStr


class ProviderDrillStarted(ProviderEvent):
    """An operator has faults injected in front of it, to see what happens. It ends by itself."""

    TYPE = "provider.drill_started"
    fault: Fault
    rate: float  # the share of calls it hits, in (0, 1]
    until: AwareDatetime


class ProviderDrillEnded(ProviderEvent):
    """An operator ended a drill before its time."""

    TYPE = "provider.drill_ended"
