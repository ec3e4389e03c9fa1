"""What is used up of limits: the rules of the port Limits, on values in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from application.ports import Refusal, Want
from application.rates import Spent

_SOON = timedelta(seconds=0.05)  # somebody may give back a slot at any moment

Place = tuple[str, timedelta]  # key and period


@dataclass(slots=True)
class Usage:
    """What rates have counted, and who has slots of a key until when."""

    spent: dict[Place, Spent] = field(default_factory=dict)
    slots: dict[str, dict[UUID, datetime]] = field(default_factory=dict)

    def take(self, holder: UUID, wants: Sequence[Want], now: datetime, until: datetime) -> Refusal | None:
        """All of it or nothing; what stands in the way for longest is named."""
        refusals = [refusal for want in wants for refusal in self._refusals(holder, want, now)]
        if refusals:
            return max(refusals, key=lambda refusal: refusal.until)
        for want in wants:
            if want.rate:
                place = (want.key, want.rate.period)
                self.spent[place] = self.spent.get(place, Spent()).plus(want.rate.period, want.amount, now)
            if want.slots is not None:
                self.slots[want.key] = {**self._held(want.key, now), holder: until}  # whose time was up has lost it
        return None

    def give_back(self, holder: UUID) -> None:
        for holders in self.slots.values():
            holders.pop(holder, None)

    def _refusals(self, holder: UUID, want: Want, now: datetime) -> Iterator[Refusal]:
        if want.rate:
            spent = self.spent.get((want.key, want.rate.period), Spent())
            if opens := spent.opens(want.rate, want.amount, now):
                yield Refusal(want.key, opens)
        if want.slots is not None:
            held = self._held(want.key, now)
            if holder not in held and len(held) >= want.slots:
                yield Refusal(want.key, min([*held.values(), now + _SOON]))

    def _held(self, key: str, now: datetime) -> dict[UUID, datetime]:
        return {holder: until for holder, until in self.slots.get(key, {}).items() if until > now}
