"""Tells operators what is wrong, once per incident, and again when it is over.

Incidents are kept where all processes see them. Whoever watches claims a telling before it calls a channel, so that
two who both believe they lead do not both tell; a claim that led to nothing is tried again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from application.alert_rules import RULES, Finding, Rule, Situation, Thresholds
from application.errors import StoreUnavailable
from application.incidents import Alert, Incident, Incidents, Telling
from application.ports import Clock, ProviderStates
from application.surprises import log_surprise
from application.vitals import Vitals
from domain.ids import uuid7

_PATIENCE = 20.0  # seconds for one channel
_TRIES = 8

_log = logging.getLogger(__name__)


class AlertChannel(Protocol):
    """One way to reach an operator."""

    name: str

    async def tell(self, alert: Alert) -> None:
        """Whatever this raises means that the operator was not told. The same alert may come twice."""
        ...


@dataclass(frozen=True, slots=True)
class WatchPace:
    """How often to look, and for how long all must have been well before an incident is over."""

    every: timedelta = timedelta(seconds=15)
    calm: timedelta = timedelta(minutes=2)


class AlertWatch:
    """Looks at how the service is doing, keeps the incidents, and has channels tell of them."""

    def __init__(
        self,
        vitals: Vitals,
        states: ProviderStates,
        providers: Sequence[str],
        incidents: Incidents,
        channels: Sequence[AlertChannel],
        thresholds: Thresholds,
        pace: WatchPace,
        clock: Clock,
        rules: Sequence[Rule] = RULES,
    ) -> None:
        self._vitals = vitals
        self._states = states
        self._providers = providers
        self._incidents = incidents
        self._channels = {channel.name: channel for channel in channels}
        self._thresholds = thresholds
        self._pace = pace
        self._clock = clock
        self._rules = rules
        self._bad_at: dict[tuple[str, str], datetime] = {}  # when a rule last applied, as far as we have seen

    async def run(self, leads: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
        """Look every now and then until `stop` is set, while `leads` says that it is on us."""
        last = ""
        while not stop.is_set():
            last = await self._look(leads, last)
            try:
                await asyncio.wait_for(stop.wait(), self._pace.every.total_seconds())
            except TimeoutError:
                continue

    async def look(self) -> None:
        """One look: begin and end incidents, and tell what has not been told. Raises StoreUnavailable."""
        now = self._clock()
        states = [self._states.of(name) for name in self._providers]
        situation = Situation(await self._vitals.read(), states, self._thresholds, now)
        known = {(i.kind, i.subject): i for i in await self._incidents.unsettled() if i.resolved_at is None}
        for rule in self._rules:
            for finding in rule.find(situation):
                await self._note(rule, finding, known, now)
        for key, incident in known.items():
            # Who has just begun to watch does not know how long all has been well.
            if now - self._bad_at.setdefault(key, now) >= self._pace.calm:
                await self._change(incident, lambda i: replace(i, resolved_at=i.resolved_at or now))
                del self._bad_at[key]
        await self._tell_all(now)

    async def _look(self, leads: Callable[[], Awaitable[bool]], last: str) -> str:
        """Look if it is on us. Each kind of trouble is logged once; returns its kind."""
        try:
            if await leads():
                await self.look()
            else:
                self._bad_at.clear()
            return ""
        except StoreUnavailable:
            if last != "away":
                _log.warning("The store is unavailable; nobody is watching how the service is doing.")
            return "away"
        except Exception as error:  # noqa: BLE001 - the watch goes on, whatever went wrong with one look
            if last != (kind := type(error).__name__):
                log_surprise(_log, "watching how the service is doing", error)
            return kind

    async def _note(
        self, rule: Rule, finding: Finding, known: Mapping[tuple[str, str], Incident], now: datetime
    ) -> None:
        key = (rule.kind, finding.subject)
        if key in known or not finding.mending:
            self._bad_at[key] = now
        if key not in known and not finding.mending:
            await self._incidents.add(Incident(uuid7(now), *key, rule.severity, finding.facts, now))

    async def _tell_all(self, now: datetime) -> None:
        unsettled = await self._incidents.unsettled()
        await asyncio.gather(*(self._tell(incident, now) for incident in unsettled))

    async def _tell(self, incident: Incident, now: datetime) -> None:
        owed = [name for name in self._channels if incident.owes(name, now)]
        if owed and not await self._incidents.save(incident.claimed(owed, now)):
            return  # somebody else is at it
        reached = await asyncio.gather(*(self._reach(self._channels[name], incident) for name in owed))
        told = [name for name, done in zip(owed, reached, strict=True) if done]
        if told or incident.done(list(self._channels), now):
            await self._change(incident, lambda i: self._settle(i.told(told, incident.status), now))

    async def _reach(self, channel: AlertChannel, incident: Incident) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await channel.tell(incident.alert)
            return True
        except Exception as error:  # noqa: BLE001 - a channel may fail in any way; it is tried again
            if incident.tellings.get(channel.name, Telling()).tries == 0:
                what = f"{incident.kind} {incident.subject}".rstrip()
                log_surprise(_log, f"telling {channel.name} of {what}, which is tried again", error)
            return False

    def _settle(self, incident: Incident, now: datetime) -> Incident:
        return replace(incident, settled=incident.done(list(self._channels), now))

    async def _change(self, incident: Incident, change: Callable[[Incident], Incident]) -> None:
        """Change it as it is now, whatever somebody else made of it meanwhile."""
        for _ in range(_TRIES):
            fresh = await self._incidents.get(incident.id)
            if fresh is None or await self._incidents.save(change(fresh)):
                return
