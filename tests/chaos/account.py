"""The account of a run: every accepted email, what the sinks have of it, and why they have it more than once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from application.ports import message_id
from domain import events as e
from domain.standing import Standing
from domain.status import EmailStatus
from tests.chaos.sinks import Copy

ENDS = frozenset({EmailStatus.DISPATCHED, EmailStatus.DELIVERED})
Taken = Mapping[str, Counter[Copy]]
_OVER = (e.EmailDeliveryFailed, e.EmailExpired, e.EmailCancelled)


@dataclass
class Account:
    """Copies are counted by recipient, everything else by email."""

    accepted: int = 0
    delivered: int = 0
    explained: int = 0  # copies beyond the first, each with an attempt of which it was in doubt whether it was taken
    unexplained: int = 0
    lost: int = 0
    doubts: int = 0
    settled: int = 0
    failovers: int = 0
    late: int = 0  # attempts that ended because whoever made them had stood still for too long
    wrong: list[str] = field(default_factory=list)  # what must never be

    def rows(self) -> Iterator[tuple[str, int]]:
        yield "accepted", self.accepted
        yield "delivered (the sinks have it)", self.delivered
        yield "duplicates with a recorded reason", self.explained
        yield "duplicates without", self.unexplained
        yield "lost", self.lost
        yield "in doubt", self.doubts
        yield "in doubt, settled", self.settled
        yield "attempts stopped right before the send", self.late
        yield "failovers", self.failovers


def account(accepted: Set[str], histories: Sequence[Sequence[e.Event]], taken: Taken) -> Account:
    """Judge the whole log against the sinks."""
    made = Account(accepted=len(accepted))
    left = {name: Counter(copies) for name, copies in taken.items()}
    for history in histories:
        queued = history[0]
        assert isinstance(queued, e.EmailQueued)
        _one(made, queued, history, left)
    ids = {str(history[0].originator_id) for history in histories}
    made.lost += len(accepted - ids)
    if ids - accepted:
        made.wrong.append(f"{len(ids - accepted)} emails are there that no client was told of")
    if any(left.values()):
        made.wrong.append("something is at a sink that no intent was recorded for")
    return made


def _one(made: Account, queued: e.EmailQueued, history: Sequence[e.Event], left: Taken) -> None:
    who = str(queued.originator_id)
    status = Standing.of(history).status
    if status not in ENDS:
        made.wrong.append(f"{who} ended as {status}")
    made.wrong += [f"{who}: {each}" for each in two_at_once(history)]
    resolved = [event for event in history if isinstance(event, e.EmailDeliveryResolved)]
    doubts = {event.attempt for event in history if isinstance(event, e.EmailDeliveryUnconfirmed)}
    made.doubts += len(doubts)
    made.settled += len(doubts & {event.attempt for event in resolved if not event.doubtful})
    if open := doubts - {event.attempt for event in resolved}:
        made.wrong.append(f"{who}: it was never found out what became of attempts {open}")
    started = [event for event in history if isinstance(event, e.EmailDeliveryStarted)]
    made.failovers += len({event.provider for event in started}) > 1
    made.late += sum(isinstance(event, e.EmailDeliveryDeferred) and event.reason == "lease_lost" for event in history)
    copies = [_copies(made, queued, recipient, history, left) for recipient in queued.recipients]
    made.delivered += all(copies)
    made.lost += not all(copies)


def _copies(
    made: Account, queued: e.EmailQueued, recipient: e.Recipient, history: Sequence[e.Event], left: Taken
) -> int:
    """How many copies this recipient has: each beyond the first needs a doubt, each one an attempt that may be it."""
    mine = (message_id(queued), recipient.address)
    may = attempts_that_may(history, recipient)
    providers = {event.attempt: event.provider for event in history if isinstance(event, e.EmailDeliveryStarted)}
    by_provider = Counter(providers[attempt] for attempt in may)
    doubted = sum(may.values())
    found = {name: copies.pop(mine, 0) for name, copies in left.items()}
    for name, count in found.items():
        if count > by_provider[name]:
            made.wrong.append(f"{queued.originator_id}: {count} copies at {name}, for {by_provider[name]} attempts")
    extra = max(0, sum(found.values()) - 1)
    made.explained += min(extra, doubted)
    made.unexplained += max(0, extra - doubted)
    return sum(found.values())


def attempts_that_may(history: Sequence[e.Event], recipient: e.Recipient) -> dict[int, bool]:
    """The attempts that may have reached this recipient, and whether that was in doubt."""
    may: dict[int, bool] = {}
    for event in history:
        if isinstance(event, e.EmailDispatched) and recipient.id in {m.recipient_id for m in event.messages}:
            may.setdefault(event.attempt, False)
        elif isinstance(event, e.EmailDeliveryUnconfirmed) and recipient.id in event.recipients:
            may[event.attempt] = True
    return may


def two_at_once(history: Sequence[e.Event]) -> Iterator[str]:
    """At no position is there more than one attempt whose outcome is open."""
    open: set[int] = set()
    for event in history:
        if isinstance(event, e.EmailDeliveryStarted) and open:
            yield f"attempt {event.attempt} began while {open} was open"
        if isinstance(event, (e.EmailDeliveryStarted, e.EmailDeliveryUnconfirmed)):
            open.add(event.attempt)
        elif isinstance(event, _OVER):
            open.clear()
        elif closed := _closed(event):
            open.discard(closed)
    if open:
        yield f"{open} is open at the end"


def _closed(event: e.Event) -> int | None:
    """The attempt of which this event tells how it ended."""
    match event:
        case e.EmailDispatched():
            return event.attempt
        case e.EmailDeliveryDeferred() if event.provider is not None:
            return event.attempt
        case e.EmailDeliveryResolved() if not event.doubtful:
            return event.attempt
    return None
