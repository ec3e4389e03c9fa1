"""Feeds the suppression list: what recipients' feedback means for the mail that is still to come."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID

from application.ports import Clock, Ledger, Recorded
from application.suppressions import Suppressions
from domain import events as e
from domain.address import address_key
from domain.catalogue import EVENTS
from domain.suppression import EVERYTHING, Entry, Suppression

OURSELVES = "postledger"  # the provider of a report that our own list caused
TOPICS = tuple(cls.TYPE for cls in EVENTS if issubclass(cls, e.RecipientEvent))  # any of them may be a correction

_UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The entry that follows from an event: by this rule, for this scope (None: the email's own mail stream)."""

    rule: str
    scope: str | None = EVERYTHING
    reason: str = field(default="", repr=False)


def _bounced(event: e.EmailRecipientDeliveryFailed) -> Meaning | None:
    return Meaning("hard_bounce", reason=event.reason or "") if event.add_to_suppression else None


def _complained(event: e.EmailRecipientComplained) -> Meaning:
    return Meaning("complaint", reason=event.complaint or "")


def _unsubscribed(event: e.EmailRecipientUnsubscribed) -> Meaning:
    return Meaning(_UNSUBSCRIBE, EVERYTHING if event.scope == "global" else None)


def _on_a_list(event: e.EmailRecipientSuppressed) -> Meaning | None:
    if event.provider == OURSELVES or not event.add_to_suppression:
        return None
    if event.rule == _UNSUBSCRIBE:
        return Meaning(_UNSUBSCRIBE, None)
    return Meaning("provider_list", reason=event.rule)


MEANINGS: Mapping[type[e.RecipientEvent], Callable[[Any], Meaning | None]] = {
    e.EmailRecipientDeliveryFailed: _bounced,
    e.EmailRecipientComplained: _complained,
    e.EmailRecipientUnsubscribed: _unsubscribed,
    e.EmailRecipientSuppressed: _on_a_list,
}


@dataclass(frozen=True, slots=True)
class _Report:
    """A recipient event among all that was reported about the same recipient of the same email."""

    position: int
    event: e.RecipientEvent
    address: str = field(repr=False)
    stream: str
    all: Sequence[e.RecipientEvent] = field(repr=False)

    @property
    def source(self) -> str:
        return f"provider:{self.event.provider}"

    @property
    def mistakes(self) -> Collection[UUID]:
        return {event.corrects.event_id for event in self.all if event.corrects}

    @property
    def counted(self) -> list[e.RecipientEvent]:
        """Without those that turned out to be mistakes."""
        mistakes = self.mistakes
        return [event for event in self.all if event.event_id not in mistakes]


class SuppressionFeeder:
    """Handles pages of recipient events, in order. Handling events again, when more has happened, changes nothing."""

    def __init__(self, ledger: Ledger, suppressions: Suppressions, clock: Clock) -> None:
        self._ledger = ledger
        self._suppressions = suppressions
        self._clock = clock

    async def __call__(self, page: Sequence[Recorded]) -> None:
        found = await asyncio.gather(*(self._report(r.position, r.event) for r in page if _matters(r.event)))
        by_person: defaultdict[tuple[str, str], list[_Report]] = defaultdict(list)
        for report in filter(None, found):
            by_person[report.event.tenant, address_key(report.address)].append(report)
        await asyncio.gather(*map(self._handle, by_person.values()))

    async def _report(self, position: int, event: e.Event) -> _Report | None:
        history = [recorded.event for recorded in await self._ledger.load(event.originator_id)]
        queued = history[0]
        if not isinstance(event, e.RecipientEvent) or not isinstance(queued, e.EmailQueued):
            return None
        about = [h for h in history if isinstance(h, e.RecipientEvent) and h.recipient_id == event.recipient_id]
        address = next(r.address for r in queued.recipients if r.id == event.recipient_id)
        return _Report(position, event, address, queued.stream, about)

    async def _handle(self, reports: Sequence[_Report]) -> None:
        """All about one person, in order: a wish for mail looks at what stands by then, the rest is one decision."""
        for wish, some in groupby(reports, lambda report: isinstance(report.event, e.EmailRecipientResubscribed)):
            if wish:
                for report in some:
                    await self._decide([report], await self._before(report))
            else:
                await self._decide(list(some))

    async def _decide(self, reports: Sequence[_Report], before: Collection[Entry] = ()) -> None:
        def ask(suppression: Suppression) -> None:
            for report in reports:
                _decide(suppression, report, before, _stamp(report, self._clock))

        await self._suppressions.decide(reports[0].event.tenant, reports[0].address, ask)

    async def _before(self, report: _Report) -> Collection[Entry]:
        """The entries that this wish to hear from us again is about.

        Their causes stand before it both in the log (or doing it again would take back what came later) and by the
        provider's clock.
        """
        entries = await self._suppressions.entries(report.event.tenant, report.address)
        by_wish = [entry for entry in entries if entry.rule == _UNSUBSCRIBE]
        causes = await asyncio.gather(*map(self._cause, by_wish))
        return [entry for entry, cause in zip(by_wish, causes, strict=True) if _stands_before(entry, cause, report)]

    async def _cause(self, entry: Entry) -> Recorded | None:
        history = await self._ledger.load(entry.email_id) if entry.email_id else []
        return next((recorded for recorded in history if recorded.event.event_id == entry.cause), None)


def _matters(event: e.Event) -> bool:
    if not isinstance(event, e.RecipientEvent):
        return False
    return bool(event.corrects or isinstance(event, e.EmailRecipientResubscribed) or _meaning(event))


def _meaning(event: e.RecipientEvent) -> Meaning | None:
    return MEANINGS.get(type(event), lambda _: None)(event)


def _stands_before(entry: Entry, cause: Recorded | None, report: _Report) -> bool:
    if cause is None or not isinstance(cause.event, e.RecipientEvent):
        return entry.added_at <= report.event.occurred_at  # somebody put it there by hand
    return cause.position < report.position and cause.event.provider_at <= report.event.provider_at


def _decide(suppression: Suppression, report: _Report, before: Collection[Entry], stamp: e.Stamp) -> None:
    event, counts = report.event, report.event.event_id not in report.mistakes
    if event.corrects:
        _correct(suppression, report, event.corrects.event_id, stamp)
    if counts and isinstance(event, e.EmailRecipientResubscribed):
        by, why = event.event_id, "resubscribed"
        suppression.remove(None, why, report.source, stamp, cause=by, only=lambda entry: entry in before)
    elif counts:
        _add(suppression, event, report, stamp)


def _correct(suppression: Suppression, report: _Report, mistake: UUID, stamp: e.Stamp) -> None:
    by, why = report.event.event_id, "corrected"
    suppression.remove(None, why, report.source, stamp, cause=by, only=lambda entry: entry.cause == mistake)
    if not any(isinstance(other, e.EmailRecipientResubscribed) for other in report.counted):
        mistakes = report.mistakes
        suppression.revive(mistake, stamp, only=lambda entry: entry.cause not in mistakes)
    for other in report.counted:  # what the mistake had made meaningless
        _add(suppression, other, report, stamp)


def _add(suppression: Suppression, event: e.RecipientEvent, report: _Report, stamp: e.Stamp) -> None:
    meaning = _meaning(event)
    if meaning is None or (meaning.rule == _UNSUBSCRIBE and _wished_again(event, report)):
        return
    suppression.add(
        meaning.scope or report.stream,
        meaning.rule,
        f"provider:{event.provider}",
        stamp,
        reason=meaning.reason,
        email_id=event.originator_id,
        cause=event.event_id,
    )


def _wished_again(event: e.RecipientEvent, report: _Report) -> bool:
    """Whether it is known already that the recipient changed their mind later."""
    return any(
        isinstance(other, e.EmailRecipientResubscribed) and other.provider_at > event.provider_at
        for other in report.counted
    )


def _stamp(report: _Report, clock: Clock) -> e.Stamp:
    event = report.event
    return e.Stamp(clock(), report.source, event.correlation_id, event.event_id, event.traceparent)
