"""What one email gives to the statistics: it follows the events, and says what of it counts, where and when.

What counts of a recipient hangs on what stands now: an end that is superseded, or a report that is corrected, gives
way. So each recipient's share is told anew after it may have changed, and the sums are moved by the difference.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain import events as e
from domain.standing import RecipientStanding, Standing, is_current
from domain.status import EmailStatus
from projections.statistics_measures import ERROR, bucket, hour_of, micros, tag_name
from projections.statistics_person import EACH, ENDS, KIND_OF, Person, Report, Share, read, short, written

_OURS = "postledger"  # who says that a rule of ours forbids a recipient: no provider


@dataclass(slots=True)
class Account:
    """One email while a batch is folded into it."""

    stream: str
    tags: tuple[str, ...]
    due: int  # since when it might have been sent
    people: dict[UUID, Person]
    call: tuple[int, str, int] | None = None  # the attempt that has no outcome yet, its provider and start
    standing: Standing = field(init=False)
    moves: list[tuple[int, Share, Person | None]] = field(default_factory=list)  # by how much, what, of whom
    _before: dict[UUID, list[Share]] = field(default_factory=dict)  # of whom something may have changed

    def __post_init__(self) -> None:
        self.standing = Standing({id: p.standing for id, p in self.people.items()}, waiting=EmailStatus.QUEUED)

    # -- as it is stored -------------------------------------------------------------------------------------------

    @classmethod
    def opened(cls, event: e.EmailQueued) -> "Account":
        people = {r.id: Person(RecipientStanding(r.id, "", ""), _domain(r.address)) for r in event.recipients}
        tags = tuple(sorted({tag_name(tag.name, tag.value) for tag in event.tags}))
        account = cls(event.stream, tags, micros(event.send_at or event.occurred_at), people)
        account._say("accepted", event)
        for person in people.values():
            account._say("recipients", event, of=person)
        return account

    @classmethod
    def decode(cls, stored: str) -> "Account":
        stream, tags, due, call, people = json.loads(stored)
        return cls(stream, tuple(tags), due, dict(map(read, people)), tuple(call) if call else None)

    def encode(self) -> str:
        people = [written(person) for person in self.people.values()]
        return json.dumps((self.stream, self.tags, self.due, self.call, people), separators=(",", ":"))

    # -- following -------------------------------------------------------------------------------------------------

    def take(self, event: e.Event) -> None:
        """Follow one more event, of a kind in `FOLLOWED`."""
        FOLLOWED[type(event)](self, event)

    def settle(self) -> None:
        """Say what has changed, in `moves`."""
        for id, before in self._before.items():
            person = self.people[id]
            for share in person.shares():
                if share in before:
                    before.remove(share)
                else:
                    self.moves.append((1, share, person))
            self.moves += [(-1, share, person) for share in before]
        self._before = {}

    def _touch(self, *ids: UUID) -> None:
        for id in ids or self.people:
            if id not in self._before:
                self._before[id] = self.people[id].shares()

    def _say(
        self,
        measure: str,
        event: e.Event,
        provider: str | None = None,
        since: int | None = None,
        of: Person | None = None,
    ) -> None:
        """What counts for good, or the time since then."""
        time = None if since is None else bucket(micros(event.occurred_at) - since)
        self.moves.append((1, Share(measure, hour_of(event.occurred_at), provider, time), of))

    def _conclude(self, measure: str, attempt: int, event: e.Event, provider: str, *, answered: bool = True) -> None:
        """The first outcome of an attempt is the one that counts."""
        if self.call and self.call[0] == attempt:
            self._say(measure, event, provider)
            if answered:
                self._say("provider_latency", event, provider, since=self.call[2])
            self.call = None

    def _hand_over(self, event: e.EmailDispatched | e.EmailDeliveryResolved, *ids: UUID) -> None:
        self._touch(*ids)
        self.standing.apply(event)
        time = bucket(micros(event.occurred_at) - self.due)
        for id in ids:
            person = self.people[id]
            person.taken = person.taken or (hour_of(event.occurred_at), event.provider, time)

    def _close(self, event: e.Event, measure: str, provider: str | None = None) -> None:
        """Whoever no provider has taken ends with the email, unless a report says more."""
        self._touch()
        self.standing.apply(event)
        for person in self.people.values():
            if not person.standing.handed_over:
                person.ended = person.ended or (measure, hour_of(event.occurred_at), provider)


def _domain(address: str) -> str:
    return address.rpartition("@")[2].casefold()


# -- what each event means -------------------------------------------------------------------------------------------


def _rescheduled(account: Account, event: e.EmailRescheduled) -> None:
    account.due = micros(event.send_at)


def _started(account: Account, event: e.EmailDeliveryStarted) -> None:
    account.call = event.attempt, event.provider, micros(event.occurred_at)
    account._say("attempts", event, event.provider)


def _dispatched(account: Account, event: e.EmailDispatched) -> None:
    account._conclude("taken", event.attempt, event, event.provider)
    account._hand_over(event, *(message.recipient_id for message in event.messages))


def _resolved(account: Account, event: e.EmailDeliveryResolved) -> None:
    if event.resolution is e.Resolution.ACCEPTED and event.recipients:
        account._hand_over(event, *event.recipients)


def _put_off(account: Account, event: e.EmailDeliveryDeferred) -> None:
    if event.provider is not None:  # else nobody was asked
        account._conclude(ERROR + event.error_class.value, event.attempt, event, event.provider)
        account._say("deferred", event, event.provider)


def _doubted(account: Account, event: e.EmailDeliveryUnconfirmed) -> None:
    account._conclude("in_doubt", event.attempt, event, event.provider, answered=False)


def _failed(account: Account, event: e.EmailDeliveryFailed) -> None:
    if event.provider is not None:
        account._conclude(ERROR + event.error_class.value, event.attempt, event, event.provider)
    measure = "suppressed" if event.error_class.value == "suppressed" else "failed"
    account._close(event, measure, event.provider)


def _expired(account: Account, event: e.EmailExpired) -> None:
    if account.call:  # it was too late for another attempt; what went wrong with this one was not recorded
        account._say("call_expired", event, account.call[1])
        account.call = None
    account._close(event, "expired")


def _cancelled(account: Account, event: e.EmailCancelled) -> None:
    account._close(event, "cancelled")


def _requeued(account: Account, event: e.EmailRequeued) -> None:
    account.settle()  # what counted so far keeps counting
    account.standing.apply(event)
    account.due = micros(event.occurred_at)
    for id in event.recipients:
        account.people[id].begin_again()
        account._say("requeued", event, of=account.people[id])


def _unattributed(account: Account, event: e.EmailFeedbackUnattributed) -> None:
    account._say("unattributed", event, event.provider)


def _reported(account: Account, event: e.RecipientEvent) -> None:
    account._touch(event.recipient_id)
    person = account.people[event.recipient_id]
    if event.corrects:
        mistaken = short(event.corrects.event_id)
        person.reports = [report for report in person.reports if report.id != mistaken]
    account.standing.apply(event)
    kind = KIND_OF[type(event)](event)
    if kind is None or (kind in ENDS and not is_current(event.provider_at, person.standing.since)):
        return
    at, hour = micros(event.provider_at), hour_of(event.occurred_at)
    provider = None if event.provider == _OURS else event.provider
    time = bucket(at - account.due) if kind == "d" else None
    if not person.remember(Report(short(event.event_id), kind, hour, provider, at, time)) and kind in EACH:
        account._say(EACH[kind], event, provider, of=person)


FOLLOWED: Mapping[type[e.Event], Callable[[Account, Any], None]] = {
    e.EmailRescheduled: _rescheduled,
    e.EmailDeliveryStarted: _started,
    e.EmailDispatched: _dispatched,
    e.EmailDeliveryDeferred: _put_off,
    e.EmailDeliveryUnconfirmed: _doubted,
    e.EmailDeliveryResolved: _resolved,
    e.EmailDeliveryFailed: _failed,
    e.EmailExpired: _expired,
    e.EmailCancelled: _cancelled,
    e.EmailRequeued: _requeued,
    e.EmailFeedbackUnattributed: _unattributed,
    **dict.fromkeys(KIND_OF, _reported),
}
