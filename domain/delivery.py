"""Delivery policy: when to try again, when to give up, what to do in doubt. Time and chance come in as arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

InDoubt = Literal["at_least_once", "at_most_once"]


class ErrorClass(StrEnum):
    """Why an attempt did not work; what to do next hangs on it."""

    PERMANENT = "permanent"  # this message will never be accepted
    SUPPRESSED = "suppressed"  # the provider keeps the recipient on its own suppression list
    RATE_LIMITED = "rate_limited"  # come back after the hint
    QUOTA = "quota"  # come back much later
    TRANSIENT = "transient"  # come back with backoff
    CONFIG = "config"  # credentials, domain, account: the same message may work once an operator has mended it
    CONFLICT = "conflict"  # our token was used with another body: a bug on our side
    HELD = "held"  # nobody was asked: a rule of ours forbids it now
    UNKNOWN = "unknown"  # the provider may or may not have taken it


HOPELESS = frozenset({ErrorClass.PERMANENT, ErrorClass.SUPPRESSED, ErrorClass.CONFLICT})
MOVES_ON = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.QUOTA, ErrorClass.TRANSIENT, ErrorClass.CONFIG})
_SLOWER = {ErrorClass.QUOTA: timedelta(hours=1), ErrorClass.CONFIG: timedelta(minutes=5)}


class RetryPlan(BaseModel):
    """How long to wait before the same provider is asked again: doubling from `first`, never above `longest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: timedelta = Field(gt=timedelta(0))
    longest: timedelta = Field(gt=timedelta(0))


class DeliveryPolicy(BaseModel):
    """How hard to try. It travels in `EmailQueued`, so that every later decision can be explained from the stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_doubt: InDoubt = Field(
        default="at_least_once",
        description="When a provider's answer was lost and no evidence came: send again, or wait for an operator.",
    )
    max_attempts: int = Field(default=12, ge=1, le=100, description="Attempts with one provider before giving it up.")
    give_up_after: timedelta = Field(
        default=timedelta(hours=72),
        gt=timedelta(0),
        le=timedelta(days=14),
        description="How long after it was due an email is still tried (ISO 8601 duration or seconds).",
    )
    settle_after: timedelta = Field(
        default=timedelta(minutes=15),
        gt=timedelta(0),
        le=timedelta(days=7),
        description="How long to wait for evidence about an attempt in doubt before the policy decides.",
    )
    first_retry: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))
    longest_retry: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    retries: Mapping[ErrorClass, RetryPlan] = Field(default={}, description="Other waits after some kinds of trouble.")


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No more attempts, and why."""

    reason: Literal["rejected", "retries_exhausted", "too_old", "expired"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is known when an attempt did not work."""

    error_class: ErrorClass
    attempts: int  # made with this provider so far, this one included
    due_since: datetime  # when delivery could first have begun
    expires_at: datetime | None
    retry_after: timedelta | None = None  # the provider's own hint


def after_trouble(policy: DeliveryPolicy, trouble: Trouble, now: datetime, chance: float) -> RetryAt | GiveUp:
    """Decide what follows a failed attempt.

    `chance` in [0, 1) spreads retries over the second half of the backoff, so that a provider's return does not meet
    all waiting mail at once. A provider's own hint wins over our backoff when it is later.
    """
    if trouble.error_class in HOPELESS:
        return GiveUp("rejected")
    if trouble.attempts >= policy.max_attempts:
        return GiveUp("retries_exhausted")
    wait = backoff(policy, trouble.error_class, trouble.attempts) * (0.5 + chance / 2)
    at = now + max(wait, trouble.retry_after or timedelta(0))
    return in_time(policy, trouble, at)


def elsewhere_after(
    policy: DeliveryPolicy, trouble: Trouble, here: RetryAt | GiveUp, elsewhere: datetime
) -> RetryAt | GiveUp:
    """What follows when another provider may take the email from `elsewhere` on: whichever of the two comes first."""
    if trouble.error_class not in MOVES_ON:
        return here
    at = min(elsewhere, here.at) if isinstance(here, RetryAt) else elsewhere
    return in_time(policy, trouble, at)


def in_time(policy: DeliveryPolicy, trouble: Trouble, at: datetime) -> RetryAt | GiveUp:
    """Whether there still is a point in trying then."""
    if trouble.expires_at and at >= trouble.expires_at:
        return GiveUp("expired")
    if at >= trouble.due_since + policy.give_up_after:
        return GiveUp("too_old")
    return RetryAt(at)


def backoff(policy: DeliveryPolicy, error_class: ErrorClass, attempts: int) -> timedelta:
    """The longest wait after so many attempts: doubling from the plan's `first`, never above its `longest`."""
    plan = policy.retries.get(error_class) or RetryPlan(
        first=max(policy.first_retry, _SLOWER.get(error_class, timedelta(0))), longest=policy.longest_retry
    )
    doubled = plan.first * (1 << min(attempts - 1, 20))
    return max(plan.first, min(doubled, plan.longest))
