"""What an attempt uses up: shares of the limits of its provider, its tenant and its recipients' domains."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator

from application.errors import OverQuota
from application.ports import Clock, Limits, Rate, Want
from application.routing import Choice
from domain.address import normalise
from domain.email import Email
from domain.errors import InvalidAddress
from domain.events import Priority

ALL = "*"  # every tenant, or domain, that is not named
_DATA = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_SHARE = 0.9  # what mail that is not critical may use of a provider, so that critical mail never waits for it

_RATE = re.compile(r"\s*(\d{1,12})\s*/\s*(\d{0,6})\s*([a-z]+)\s*", re.I)
_UNITS: Mapping[str, timedelta] = {
    **dict.fromkeys(("s", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("m", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
}
_LONGEST = timedelta(days=31)
_NOBODY = UUID(int=0)  # what a rate counts is nobody's to give back
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse_rate(text: str) -> Rate:
    """`14/second`, `50000/day`, `100/15m`. Raises ValueError."""
    found = _RATE.fullmatch(text)
    unit = _UNITS.get(found[3].lower()) if found else None
    if found is None or unit is None:
        raise ValueError("must be a number per second, minute, hour or day, such as 14/second or 100/15m")
    rate = Rate(int(found[1]), int(found[2] or 1) * unit)
    if not rate.count or not timedelta(0) < rate.period <= _LONGEST:
        raise ValueError("must allow at least 1, in a period of at most 31 days")
    return rate


def written(rate: Rate) -> str:
    """The rate as it may be set."""
    unit = next(unit for unit in ("day", "hour", "minute", "second") if not rate.period % _UNITS[unit])
    times = rate.period // _UNITS[unit]
    return f"{rate.count}/{unit}" if times == 1 else f"{rate.count}/{times}{unit[0]}"


def _rates(value: object) -> tuple[Rate, ...]:
    texts = value if isinstance(value, (list, tuple)) else [value]
    rates = tuple(parse_rate(str(text)) for text in texts)
    if len({rate.period for rate in rates}) < len(rates):
        raise ValueError("must not have two rates for the same period")
    return rates


Rates = Annotated[
    tuple[Rate, ...],
    BeforeValidator(_rates),
    PlainSerializer(lambda rates: [written(rate) for rate in rates], return_type=list[str]),
]


class ProviderLimits(BaseModel):
    """What a provider is given to do."""

    model_config = _DATA

    rate: Rates = Field(default=(), description="How many messages it is handed: `14/second`, or a list of such.")
    concurrency: int | None = Field(default=None, ge=1, le=1000, description="How many emails at once.")


class TenantLimits(BaseModel):
    """How much a tenant may send."""

    model_config = _DATA

    rate: Rates = Field(description="How many emails: `10000/day`, or a list of such.")
    over_quota: Literal["defer", "reject"] = Field(
        default="defer", description="What is over it waits, or is not accepted in the first place."
    )


class DomainLimits(BaseModel):
    """How much goes to the recipients of a domain."""

    model_config = _DATA

    rate: Rates = Field(description="How many recipients: `500/minute`, or a list of such.")


class LimitSettings(BaseModel):
    """All limits. `*` among the tenants or domains is each one that is not named."""

    model_config = _DATA

    providers: dict[str, ProviderLimits] = {}
    tenants: dict[str, TenantLimits] = {}
    domains: dict[str, DomainLimits] = {}

    @field_validator("tenants")
    @classmethod
    def _named(cls, tenants: dict[str, TenantLimits]) -> dict[str, TenantLimits]:
        for name in tenants:
            if name != ALL and not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a tenant's name; tenants are named in the API keys, or * for all")
        return tenants

    @field_validator("domains")
    @classmethod
    def _spelt(cls, domains: dict[str, DomainLimits]) -> dict[str, DomainLimits]:
        try:
            return {name if name == ALL else normalise(f"x@{name}")[2:]: limits for name, limits in domains.items()}
        except InvalidAddress as error:
            raise ValueError(f"has a domain that cannot be one: {error}") from None


class Quotas:
    """The limits in force, as far as an email touches them: those configured, and those that providers told."""

    def __init__(self, limits: LimitSettings | None = None, separate: Collection[str] = ()) -> None:
        """`separate` are the providers that are handed a message for each recipient."""
        self._limits = limits or LimitSettings()
        self._separate = frozenset(separate)
        self._learnt: dict[str, tuple[Rate, ...]] = {}

    def learn(self, provider: str, rates: Sequence[Rate]) -> None:
        """What the provider itself says that it takes now. It counts where no rate is configured."""
        self._learnt[provider] = tuple(rates)

    def wants(self, email: Email, choice: Choice) -> Sequence[Want]:
        """What must be free for this attempt to begin."""
        return [
            *self._of_provider(email, choice.provider),
            *([Want(f"probe:{choice.provider}", slots=1)] if choice.probe else []),
            *self._of_tenant(email),
            *self._of_domains(email),
        ]

    def admission(self, tenant: str, emails: int) -> Sequence[Want]:
        """What must be free for so many emails to be accepted."""
        limits = self._tenant(tenant)
        if limits is None or limits.over_quota != "reject":
            return []
        return [Want(f"tenant:{tenant}", emails, rate) for rate in limits.rate]

    def _of_provider(self, email: Email, provider: str) -> Iterator[Want]:
        limits, key = self._limits.providers.get(provider, ProviderLimits()), f"provider:{provider}"
        share = 1.0 if email.priority is Priority.CRITICAL else _SHARE
        messages = len(email.standing.outstanding) if provider in self._separate else 1
        yield Want(key)  # it may be paused
        for rate in limits.rate or self._learnt.get(provider, ()):
            count = _part(rate.count, share)
            yield Want(key, min(messages, count) or 1, Rate(count, rate.period))
        if limits.concurrency:
            yield Want(key, slots=_part(limits.concurrency, share))

    def _of_tenant(self, email: Email) -> Iterator[Want]:
        """An email counts once, however many attempts it takes."""
        limits = self._tenant(email.tenant)
        if limits and limits.over_quota == "defer" and email.standing.attempt == email.attempts_before:
            yield from (Want(f"tenant:{email.tenant}", rate=rate) for rate in limits.rate)

    def _of_domains(self, email: Email) -> Iterator[Want]:
        if not self._limits.domains:
            return
        outstanding = set(email.standing.outstanding)
        addresses = (r.address for r in email.queued.recipients if r.id in outstanding)
        for domain, count in Counter(address.rpartition("@")[2] for address in addresses).items():
            if limits := self._limits.domains.get(domain) or self._limits.domains.get(ALL):
                # More than there ever is room for goes when there is all the room.
                yield from (Want(f"domain:{domain}", min(count, rate.count), rate) for rate in limits.rate)

    def _tenant(self, tenant: str) -> TenantLimits | None:
        return self._limits.tenants.get(tenant) or self._limits.tenants.get(ALL)


class Admission:
    """Whether more emails of a tenant may be accepted now."""

    def __init__(self, quotas: Quotas, limits: Limits, clock: Clock) -> None:
        self._quotas = quotas
        self._limits = limits
        self._clock = clock

    def limited(self, tenant: str) -> bool:
        """Whether there is anything to ask."""
        return bool(self._quotas.admission(tenant, 1))

    async def admit(self, tenant: str, emails: int) -> None:
        """Count them. Raises OverQuota, and then none is counted, and StoreUnavailable."""
        wants, now = self._quotas.admission(tenant, emails), self._clock()
        if not wants:
            return
        for rate in (want.rate for want in wants if want.rate and emails > want.rate.count):
            raise OverQuota(rate.period, f"So many emails at once are more than your whole quota of {written(rate)}.")
        if refusal := await self._limits.take(_NOBODY, wants, now, now):
            raise OverQuota(refusal.until - now)


def _part(whole: int, share: float) -> int:
    return max(int(whole * share), min(whole, 1))
