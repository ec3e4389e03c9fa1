"""What must hold whatever happens, told from the log and from the providers' own books alone."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

from application.ports import Claim, Wanted
from domain import events as e
from domain import provider_events as p
from domain.delivery import ErrorClass, backoff
from domain.email import Email
from domain.status import EmailStatus
from tests.simulation.providers import OVER_QUOTA_FOR, THROTTLED_FOR, Call

if TYPE_CHECKING:
    from tests.simulation.world import World

_HINTS = {ErrorClass.RATE_LIMITED: THROTTLED_FOR, ErrorClass.QUOTA: OVER_QUOTA_FOR}
_SLACK = timedelta(milliseconds=1)
_SEES_WITHIN, _SEES_LATE = 2.0, 70.0  # seconds until every worker knows of a pause, on a good day and on a bad one


@dataclass(slots=True)
class Story:
    """One email as an outsider reads its history."""

    queued: e.EmailQueued
    open: int | None = None
    attempts: int = 0
    since_requeue: Counter[str] = field(default_factory=Counter)
    not_before: dict[str, datetime] = field(default_factory=dict)
    intents: dict[int, e.EmailDeliveryStarted] = field(default_factory=dict)
    reasons: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # attempt -> versions
    firsts: set[int] = field(default_factory=set)  # the first attempts, and the first after each requeue
    requeued: list[int] = field(default_factory=list)  # versions


class Laws:
    """Follows the log; `check` raises for the first thing that must not be."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.emails: dict[UUID, Email] = {}
        self.stories: dict[UUID, Story] = {}
        self.broken: list[str] = []
        self._read, self._at = 0, 0.0
        self._back = timedelta(0)
        self._pauses: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        self._called: Counter[str] = Counter()
        world.queue.watch = self.claimed

    # -- what it is told -----------------------------------------------------------------------------------------

    def clock_went_back(self, by: timedelta) -> None:
        self._back += by

    def claimed(self, due: dict[UUID, tuple[e.Priority, str, str]], wanted: Wanted, claims: list[Claim]) -> None:
        """Nobody is passed over for long, and nothing urgent for something that is not."""
        got = {claim.email_id for claim in claims} & due.keys()
        open_now = {id: line for id, line in due.items() if wanted.room(line[1], line[2]) > 0}
        counts = Counter(due[id] for id in got)
        for priority in wanted.priorities:
            lines = {line for line in open_now.values() if line[0] is priority}
            here = sum(count for line, count in counts.items() if line[0] is priority)
            for line in lines:
                if here >= len(lines) and not counts[line]:
                    self.broken.append(f"{line} was passed over by a claim of {here} for {len(lines)} lines")
        for urgent, other in pairwise(wanted.priorities):
            left = [i for i, x in open_now.items() if x[0] is urgent and i not in got and not counts[x]]
            if left and any(due[id][0] is other and not due[id][1] for id in got):
                self.broken.append(f"{other} was claimed while {urgent} was due")

    # -- what it finds out ---------------------------------------------------------------------------------------

    def check(self) -> None:
        for recorded in self.world.ledger.log(self._read):
            self._at = self.world.ledger.when[self._read]
            self._read += 1
            self._follow(recorded.event)
        self._calls()
        self._workers()
        for id, email in self.emails.items():
            self._open_once(id, email)
        self.broken += self.world.surprises.lines
        if self.broken:
            raise AssertionError("\n".join(self.broken[:5]))

    def nothing_is_late(self, by: timedelta) -> None:
        """When all is well, whatever is due is done."""
        latest = self.world.clock() - by
        late = {id: email for id, email in self.world.open_emails().items() if email.due_at and email.due_at < latest}
        rows = {id: self.world.queue.rows.get(id) for id in late}
        assert not late, f"{len(late)} emails are late, such as {next(iter(rows.items()))}"

    def conserved(self) -> None:
        """Every email accepted is somewhere, and the queue holds exactly those that wait for something."""
        assert set(self.emails) == set(self.world.emails)
        waits = {id for id, m in self.emails.items() if m.due_at is not None or m.status is EmailStatus.UNCONFIRMED}
        assert waits == set(self.world.queue.rows)

    def _say(self, id: UUID, what: str) -> None:
        events = (recorded.event for recorded in self.world.ledger.log() if recorded.event.originator_id == id)
        history = [f"    {event.originator_version} {_told(event)}" for event in events]
        self.broken.append("\n".join([f"email {id.int}: {what}", *history]))

    def _follow(self, event: e.Event) -> None:
        id = event.originator_id
        if isinstance(event, e.EmailQueued):
            self.emails[id] = Email(id)
            self.stories[id] = Story(event)
        if isinstance(event, p.ProviderEvent):
            self._provider(event)
        if id not in self.emails:
            return
        self.emails[id].apply(event)
        story = self.stories[id]
        if told := _TOLD.get(type(event)):
            told(self, id, story, event)

    def _provider(self, event: p.ProviderEvent) -> None:
        at, pauses = self._at, self._pauses[event.provider]
        if isinstance(event, p.ProviderPaused):
            pauses.append((at, None))
        elif isinstance(event, p.ProviderResumed) and pauses and pauses[-1][1] is None:
            pauses[-1] = (pauses[-1][0], at)

    def _started(self, id: UUID, story: Story, event: e.EmailDeliveryStarted) -> None:
        provider, slack = event.provider, _SLACK + self._back
        if story.open is not None:
            self._say(id, f"attempt {event.attempt} began while {story.open} was open")
        if event.attempt != story.attempts + 1:
            self._say(id, f"attempt {event.attempt} came after {story.attempts}")
        story.attempts, story.open, story.intents[event.attempt] = event.attempt, event.attempt, event
        if not story.since_requeue:
            story.firsts.add(event.attempt)
        story.since_requeue[provider] += 1
        if story.since_requeue[provider] > story.queued.policy.max_attempts:
            self._say(id, f"more attempts with {provider} than allowed")
        earliest = story.not_before.get(provider)
        if earliest and event.occurred_at < earliest - slack:
            self._say(id, f"{provider} was asked again {earliest - event.occurred_at} too early")
        if self._is_out(provider):
            self._say(id, f"{provider} is paused and was chosen")

    def _is_out(self, provider: str) -> bool:
        """Whether everybody who was not held up should know by now that it is paused."""
        held_up = self.world.upheavals
        if "stop" in held_up:
            return False
        since = self._at - (_SEES_WITHIN if held_up <= {"clock"} else _SEES_LATE)
        return any(began < since and (ended is None or self._at < ended) for began, ended in self._pauses[provider])

    def _deferred(self, id: UUID, story: Story, event: e.EmailDeliveryDeferred) -> None:
        if event.provider is None:
            return
        story.open = None if story.open == event.attempt else story.open
        again = event.again_at or event.retry_at
        story.not_before[event.provider] = again
        if again == self.emails[id].give_up_at or event.error_class is ErrorClass.UNKNOWN:
            return
        longest = backoff(story.queued.policy, event.error_class, story.since_requeue[event.provider])
        waits, hint = again - event.occurred_at, _HINTS.get(event.error_class, timedelta(0))
        if not longest / 2 - _SLACK <= waits <= max(longest, hint) + _SLACK:
            self._say(id, f"a wait of {waits} where the plan says {longest}")

    def _resolved(self, id: UUID, story: Story, event: e.EmailDeliveryResolved) -> None:
        if event.attempt == story.open and not event.doubtful:
            story.open = None
        if event.resolution is not e.Resolution.ACCEPTED:
            story.reasons[event.attempt].append(event.originator_version)
        elif event.evidence in ("look_up", "late_answer"):
            self._really_taken(id, event.provider, event.attempt, set(event.recipients))

    def _dispatched(self, id: UUID, story: Story, event: e.EmailDispatched) -> None:
        story.open = None if not event.put_off else story.open
        self._really_taken(id, event.provider, event.attempt, {m.recipient_id for m in event.messages})

    def _doubted(self, id: UUID, story: Story, event: e.EmailDeliveryUnconfirmed) -> None:
        story.open = event.attempt

    def _requeued(self, id: UUID, story: Story, event: e.EmailRequeued) -> None:
        story.since_requeue.clear()
        story.not_before.clear()
        story.requeued.append(event.originator_version)

    def _ended(self, id: UUID, story: Story, event: e.Event) -> None:
        story.open = None

    def _really_taken(self, id: UUID, provider: str, attempt: int, recipients: set[UUID]) -> None:
        calls = self.world.providers[provider].calls
        taken = {r for call in calls if (call.email_id, call.attempt) == (id, attempt) for r in call.taken}
        if not recipients <= taken:
            self._say(id, f"{provider} never took what attempt {attempt} is said to have handed over")

    def _open_once(self, id: UUID, email: Email) -> None:
        if email.standing.open_attempt != self.stories[id].open:
            self._say(id, f"attempt {email.standing.open_attempt} is open, or {self.stories[id].open}")

    def _calls(self) -> None:
        calls = [call for provider in self.world.providers.values() for call in provider.calls]
        for call in (call for provider in self.world.providers.values() for call in provider.unrecorded):
            self._say(call.email_id, f"{call.provider} was called without a recorded intent")
        for (id, attempt), times in Counter((call.email_id, call.attempt) for call in calls).items():
            if times > 1:
                self._say(id, f"attempt {attempt} was called {times} times")
        self._takings(calls)

    def _takings(self, calls: list[Call]) -> None:
        taken: defaultdict[tuple[UUID, UUID], list[int]] = defaultdict(list)
        for call in calls:
            for recipient in call.taken:
                taken[call.email_id, recipient].append(call.attempt)
        for (id, _), attempts in taken.items():
            for first, second in pairwise(sorted(attempts)):
                if not self._explained(id, first, second):
                    self._say(id, f"taken by attempts {first} and {second}, and nobody can say why")

    def _explained(self, id: UUID, first: int, second: int) -> bool:
        story = self.stories[id]
        intent = story.intents.get(second)
        before = intent.originator_version if intent else 0
        after = story.intents[first].originator_version
        return any(after < v < before for v in (*story.reasons[first], *story.requeued))

    def _workers(self) -> None:
        for worker in self.world.workers:
            if error := worker.trouble():
                self.broken.append(f"{worker.name} died of {error!r}")


def _told(event: e.Event) -> str:
    facts = " ".join(f"{k}={v}" for k, v in event.model_dump(mode="json").items() if k in _TELLING)
    return f"{event.occurred_at:%d %H:%M:%S} {type(event).__name__} {facts}"


_TOLD: Mapping[type[e.Event], Callable[[Laws, UUID, Story, Any], None]] = {
    e.EmailDeliveryStarted: Laws._started,
    e.EmailDeliveryDeferred: Laws._deferred,
    e.EmailDeliveryUnconfirmed: Laws._doubted,
    e.EmailDeliveryResolved: Laws._resolved,
    e.EmailDispatched: Laws._dispatched,
    e.EmailRequeued: Laws._requeued,
    e.EmailDeliveryFailed: Laws._ended,
    e.EmailExpired: Laws._ended,
    e.EmailCancelled: Laws._ended,
}
_TELLING = {
    *("attempt", "provider", "error_class", "reason", "retry_at", "again_at", "resolution", "evidence", "settle_at"),
    *("send_at", "expires_at", "put_off", "deadline", "route"),
}
