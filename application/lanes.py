"""Which emails are worth claiming: what a provider, a tenant or a domain has no room for now is left in the queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

OWN = "own"  # the lane of what waits for reasons of its own: it is under way, in doubt, or to be tried again
_LOOK_AGAIN = timedelta(seconds=1)  # a closed lane may open sooner than was thought: somebody resumes a provider
_STRAYED = timedelta(seconds=0.1)  # a while in which not many more are to stray
_ENDLESS = 1_000_000
_CALM = timedelta(minutes=1)  # a lane that was open for so long is like any other


@dataclass(frozen=True, slots=True)
class Held:
    """An email could not go now. `lane` is what it waits for; None when that is its own affair and no other email's."""

    lane: str | None
    until: datetime


@dataclass(slots=True)
class _Lane:
    closed_until: datetime
    width: int  # how many of it may be claimed next
    went: int = 0  # since it was last open


_Key = str | tuple[str, str]  # a lane, or what a tenant has in it


class Lanes:
    """Remembers, for one worker, what was refused until when, and feels its way back from one email at a time.

    Lanes are `route:NAME`, `domain:NAME` and `tenant:NAME`, and `route:NAME:PROVIDER…` of those that only these
    providers of the route are left to. Claiming a million emails to find a million times that their provider is down
    would cost more than delivering them.
    """

    def __init__(self) -> None:
        self._lanes: dict[_Key, _Lane] = {}

    def room(self, lane: str, tenant: str, now: datetime) -> int:
        """How many more emails of this lane and tenant may be claimed."""
        return min(self._room(key, now) for key in _keys(lane, tenant))

    def held(self, lane: str, until: datetime, now: datetime) -> None:
        """It has no room before `until`."""
        until = min(until, now + _LOOK_AGAIN) if lane.startswith("route:") else until
        self._close(lane, until, now, 1)

    def strayed(self, lane: str, tenant: str, now: datetime) -> None:
        """One that was claimed from there has to wait for something else.

        Each does so once, and then is where it belongs; but where that happens to most of them, as to a whole queue
        behind a provider that is down, it is not to happen to all of them at once.
        """
        self._close((lane, tenant), now + _STRAYED, now, 2)

    def went(self, lane: str, tenant: str) -> None:
        """An email of it was delivered, or ended otherwise: there may be room for twice as many."""
        for key in _keys(lane, tenant):
            if known := self._lanes.get(key):
                known.went += 1
                known.width += 1
                if known.width > _ENDLESS:
                    del self._lanes[key]

    def next_opening(self, now: datetime) -> datetime | None:
        """When the next closed lane opens."""
        later = [lane.closed_until for lane in self._lanes.values() if lane.closed_until > now]
        return min(later, default=None)

    def closed(self, now: datetime) -> Mapping[str, datetime]:
        """What is closed, until when."""
        lanes = ((key, lane.closed_until) for key, lane in self._lanes.items() if isinstance(key, str))
        return {key: until for key, until in lanes if until > now}

    def _close(self, key: _Key, until: datetime, now: datetime, growth: int) -> None:
        known = self._lanes.get(key)
        if known is None:
            self._forget(now)
            self._lanes[key] = _Lane(until, 1)
        elif known.closed_until <= now:
            self._lanes[key] = _Lane(until, max(1, growth * known.went))
        else:
            known.closed_until = max(known.closed_until, until)

    def _forget(self, now: datetime) -> None:
        """There may be as many lanes as there are domains."""
        for key in [key for key, lane in self._lanes.items() if lane.closed_until < now - _CALM]:
            del self._lanes[key]

    def _room(self, key: _Key, now: datetime) -> int:
        known = self._lanes.get(key)
        if known is None:
            return _ENDLESS
        return 0 if known.closed_until > now else known.width


def _keys(lane: str, tenant: str) -> tuple[_Key, ...]:
    """All that an email of this tenant in this lane has to pass. What has begun is counted in the tenant's quota."""
    return ((lane, tenant),) if lane == OWN else (lane, f"tenant:{tenant}", (lane, tenant))
