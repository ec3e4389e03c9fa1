"""Health checks: asks each provider now and then whether it would send, though nobody sends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from application.ports import Chance, Clock, EmailProvider, Misconfigured
from application.provider_watch import ProviderWatch
from application.surprises import log_surprise
from application.waiting import first
from domain.delivery import ErrorClass
from domain.provider import Breakdown

_ENOUGH = 3  # failures in a row until a provider is taken for degraded
_TIMEOUT = 10.0  # seconds
_NO_ANSWER = "There was no answer in time."

_log = logging.getLogger(__name__)


async def examine(provider: EmailProvider, timeout: float = _TIMEOUT) -> str | None:
    """What is wrong with it, without secrets; None when all is well. Never raises."""
    try:
        async with asyncio.timeout(timeout):
            return await provider.check()
    except TimeoutError:
        return _NO_ANSWER
    except Exception as error:  # noqa: BLE001 - a bug in an adapter's check must not end the checks of the others
        log_surprise(_log, f"checking the provider {provider.name}", error)
        return f"The check itself failed: {type(error).__name__}."


@dataclass(slots=True)
class _Patient:
    """What the last checks of one provider came to."""

    failures: int = 0  # in a row
    failing_since: datetime | None = None
    told: str | None = None  # what an operator was told to mend, until it is mended


class HealthChecks:
    """Checks the providers about every `interval`; some failures in a row degrade one, a success ends that."""

    def __init__(
        self,
        providers: Mapping[str, EmailProvider],
        watch: ProviderWatch,
        interval: timedelta,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._providers = providers
        self._watch = watch
        self._interval = interval
        self._clock = clock
        self._chance = chance
        self._patients = {name: _Patient() for name in providers}

    async def run(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        """Go on until `stop` is set; a process that does not lead leaves it to the one that does."""
        while not stop.is_set():
            if await leads():
                await first(self.round(), stop.wait())
            jitter = 0.8 + 0.4 * self._chance()
            await first(asyncio.sleep(self._interval.total_seconds() * jitter), stop.wait())

    async def round(self) -> None:
        """Check all of them at once, those excepted that an operator has paused."""
        await asyncio.gather(*(self._check(name) for name in self._providers if not self._watch.of(name).paused))

    async def _check(self, name: str) -> None:
        patient, wrong = self._patients[name], await examine(self._providers[name])
        self._tell(name, patient, wrong)
        if wrong is None:
            patient.failures, patient.failing_since = 0, None
            if self._watch.of(name).cause == "check":
                await self._watch.recover(name, "check")
            return
        patient.failures += 1
        patient.failing_since = patient.failing_since or self._clock() - self._interval
        if self._watch.worked_since(name, patient.failing_since):
            return  # mail goes through it: what the check says is disproved until it says something else
        if patient.failures >= _ENOUGH:
            await self._watch.degrade(name, self._breakdown(patient.failures, wrong))

    def _breakdown(self, failures: int, wrong: str) -> Breakdown:
        mend = isinstance(wrong, Misconfigured)
        window = failures * self._interval.total_seconds()
        return Breakdown(
            *("health_check", failures, failures, window),
            error_class=ErrorClass.CONFIG if mend else ErrorClass.TRANSIENT,
            reason="misconfigured" if mend else "check_failed",
            words=wrong,
        )

    def _tell(self, name: str, patient: _Patient, wrong: str | None) -> None:
        """An operator is told at once what only an operator can mend, and once."""
        mend = wrong if isinstance(wrong, Misconfigured) else None
        if mend is not None and mend != patient.told:
            _log.error("The provider %s needs an operator: %s", name, mend.rstrip("."))
        if wrong is None or mend is not None:  # in between it could not be reached: what it said still stands
            patient.told = mend
