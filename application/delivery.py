"""One due email, one step: intent, call, outcome, each persisted before the next begins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from application.concessions import Conceding, Reduced
from application.deciding import decide, load
from application.errors import BlobMissing, BlobStoreUnavailable, ConcessionLost, Contended, StoreUnavailable
from application.lanes import Held
from application.limits import Quotas
from application.ports import (
    BlobStore,
    Chance,
    Clock,
    ContentStore,
    EmailProvider,
    Ledger,
    Limits,
    OutgoingMessage,
    ProviderStates,
    Refusal,
    SuppressionList,
)
from application.routing import Choice, Plan, Router, clock
from application.surprises import log_surprise
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email, Step
from domain.events import EmailDeliveryDeferred, EmailDeliveryStarted, EmailFeedbackUnattributed, RecipientEvent, Stamp

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 5.0  # seconds between two tries to record what happened


_HEARD = (RecipientEvent, EmailFeedbackUnattributed)  # what providers reported
_PATIENCE = timedelta(seconds=5)  # how long to wait for a provider's room rather than go to the next one
_WORTH_RECORDING = timedelta(seconds=10)  # a wait of the email's own that a person would notice
_T = TypeVar("_T")
_OURS = frozenset(  # not its fault
    {"content_missing", "attachment_missing", "blob_store_unavailable", "lease_lost", "concession_lost"}
)
_RULES: Mapping[str, str] = {"tenant": "tenant_quota", "domain": "domain_quota"}  # whose refusals are put on record


@dataclass(frozen=True, slots=True)
class Tools:
    """What every step needs from the outside."""

    ledger: Ledger
    contents: ContentStore
    blobs: BlobStore
    providers: Mapping[str, EmailProvider]
    router: Router
    quotas: Quotas
    limits: Limits
    states: ProviderStates
    suppressions: SuppressionList
    clock: Clock
    chance: Chance
    lease: timedelta
    conceding: Conceding = field(default_factory=Conceding)


@dataclass(frozen=True, slots=True)
class _Wait:
    """No attempt may begin now. `rule` is to be recorded on the email; `own` and `reason` as in Plan."""

    until: datetime | None
    lane: str
    own: bool = False
    rule: str | None = None
    reason: str = "no_provider"


class Delivery:
    """Takes the step that is due for one email that this worker has claimed."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def __call__(self, email_id: UUID, still_ours: Callable[[], bool]) -> Held | None:
        """Do whatever is due. `still_ours` tells whether the claim still holds: without it no provider is called.

        Returns what the email has to wait for where nothing was recorded that says so.
        """
        known = await self._persist(lambda: load(self._tools.ledger, email_id))
        match known[0].step(self._tools.clock()):
            case Step.START:
                return await self._start(known, still_ours)
            case Step.EXPIRE:
                await self._decide(email_id, lambda email: email.expire(self._stamp(email)), known)
            case Step.DOUBT:
                await self._decide(email_id, self._doubt, known)
            case Step.SETTLE:
                await self._settle(known[0], still_ours)
            case Step.NOTHING if known[0].due_at is not None:
                return Held(None, known[0].due_at)  # the queue was behind, or has been told so by somebody else
            case Step.NOTHING:
                pass
        return None

    async def _start(self, known: tuple[Email, int], still_ours: Callable[[], bool]) -> Held | None:
        rules, turn = await self._rules(known[0]), await self._turn(known[0])
        attempt: int | None = None

        def ask(email: Email) -> None:
            nonlocal attempt
            attempt = None
            if email.step(self._tools.clock()) is Step.START:
                email.suppress(rules, self._stamp(email))  # nobody may be left
            if email.step(self._tools.clock()) is Step.START:
                attempt = self._begin(email, turn)

        try:
            email, position = await self._decide(known[0].id, ask, known)
            if attempt is not None:
                await self._call(email, attempt, position, still_ours)
                return None
        finally:
            if isinstance(turn, Choice):
                await self._give_back(known[0].id)
        return self._held(email, turn) if isinstance(turn, _Wait) else None

    async def _turn(self, email: Email) -> Choice | _Wait:
        """The first provider that has room for this email, or what to wait for."""
        now = self._tools.clock()
        plan = self._tools.router.plan(email, self._tools.states.of, now)
        if plan.rule:
            return _Wait(plan.until, f"route:{plan.route}", rule=plan.rule)
        refused: list[tuple[Choice, Refusal]] = []
        for choice in plan.choices:
            if _rather_waits(refused, choice, now):
                break
            refusal = await self._take(email, choice, now)
            if refusal is None:
                return _after(refused, choice, now)
            kind = refusal.key.partition(":")[0]
            if kind in _RULES:
                return _Wait(refusal.until, refusal.key, rule=_RULES[kind])
            refused.append((choice, refusal))
        return _wait(plan, refused)

    async def _take(self, email: Email, choice: Choice, now: datetime) -> Refusal | None:
        wants = self._tools.quotas.wants(email, choice)
        if not wants:
            return None
        until = now + self._tools.lease
        return await self._persist(lambda: self._tools.limits.take(email.id, wants, now, until))

    async def _give_back(self, email_id: UUID) -> None:
        try:
            await self._tools.limits.give_back(email_id)
        except StoreUnavailable:
            _log.warning("The store is unavailable; the room of email %s at its provider frees itself.", email_id)

    def _begin(self, email: Email, turn: Choice | _Wait) -> int | None:
        stamp = self._stamp(email)
        if isinstance(turn, Choice):
            separate = self._tools.providers[turn.provider].separate
            return email.start_delivery(
                *(turn.provider, turn.reason, self._tools.lease, stamp),
                separate=separate,
                concessions=turn.concessions,
            )
        if turn.until is None:
            email.give_up("retries_exhausted", stamp)
        elif turn.rule in _RULES.values() and stamp.now < email.give_up_at and _is_told(email, turn.rule):
            pass  # to wait a little longer for the same is nothing new
        elif turn.rule or stamp.now >= email.give_up_at:
            email.put_off(turn.rule or turn.reason, turn.until, stamp)
        elif turn.own and turn.until - stamp.now >= _WORTH_RECORDING and not _is_told(email, turn.reason):
            email.put_off(turn.reason, turn.until, stamp)
        return None

    def _held(self, email: Email, turn: _Wait) -> Held | None:
        if turn.until is None or email.due_at is None or (turn.rule and turn.lane.startswith("route:")):
            return None  # it has ended, or is to wait by its own history
        end = min(filter(None, (email.expires_at, email.give_up_at)))  # which is seen in time, whatever it waits for
        return Held(None if turn.own else turn.lane, min(turn.until, end))

    def _doubt(self, email: Email) -> None:
        if email.step(self._tools.clock()) is Step.DOUBT:
            email.doubt(self._stamp(email))

    async def _decide(
        self, email_id: UUID, ask: Callable[[Email], None], known: tuple[Email, int]
    ) -> tuple[Email, int]:
        first: list[tuple[Email, int]] = [known]  # what was loaded must not be asked twice

        def again() -> Awaitable[tuple[Email, int]]:
            return decide(self._tools.ledger, email_id, ask, known=first.pop() if first else None)

        return await self._persist(again)

    async def _rules(self, email: Email) -> Mapping[UUID, str]:
        """The rules by which outstanding recipients must not be sent to. Asked anew before each attempt."""
        outstanding = set(email.standing.outstanding)
        people = {r.id: r.address for r in email.queued.recipients if r.id in outstanding}
        suppressions = self._tools.suppressions
        rules = await self._persist(
            lambda: suppressions.rules(email.tenant, email.queued.stream, list(people.values()))
        )
        return {id: rules[address] for id, address in people.items() if address in rules}

    async def _call(self, email: Email, attempt: int, position: int, still_ours: Callable[[], bool]) -> None:
        started = email.attempts[attempt]
        answer = await self._answer(email, started, still_ours)
        known: list[tuple[Email, int]] = [(email, position)]  # good for one try; after an outage we look again

        def ask(email: Email) -> None:
            stamp = self._stamp(email, started.event_id)
            elsewhere = self._elsewhere(email, started, stamp.now)
            email.conclude(attempt, answer, stamp, chance=self._tools.chance(), elsewhere=elsewhere)

        await self._persist(lambda: decide(self._tools.ledger, email.id, ask, known=known.pop() if known else None))
        await self._learn(started.provider, answer)

    def _elsewhere(self, email: Email, started: EmailDeliveryStarted, now: datetime) -> datetime | None:
        return self._tools.router.elsewhere(email, started.provider, self._tools.states.of, now)

    async def _learn(self, provider: str, answer: Answer) -> None:
        """What the answer says about the provider, for all the other emails."""
        if answer.pause:
            try:
                await self._tools.limits.pause(f"provider:{provider}", self._tools.clock() + answer.pause)
            except StoreUnavailable:
                _log.warning("The store is unavailable; that %s wants a pause was not kept.", provider)
        if answer.reason not in _OURS:
            await self._tools.states.observe(provider, answer)

    async def _answer(self, email: Email, started: EmailDeliveryStarted, still_ours: Callable[[], bool]) -> Answer:
        provider = self._tools.providers[started.provider]
        try:
            message = await self._message(email, started, still_ours)
            if message is None:
                return Answer(error_class=ErrorClass.PERMANENT, reason="content_missing")
            if not still_ours():
                # We were held up past our lease; somebody may have judged this attempt already. Nothing was sent.
                # The adapters ask again before the last bytes of it go out, for we may be stopped at any moment.
                return Answer(error_class=ErrorClass.TRANSIENT, reason="lease_lost")
            return await provider.send(message)
        except ConcessionLost:
            return Answer(error_class=ErrorClass.CONFIG, reason="concession_lost")
        except BlobMissing:
            return Answer(error_class=ErrorClass.PERMANENT, reason="attachment_missing")
        except BlobStoreUnavailable:
            return Answer(error_class=ErrorClass.TRANSIENT, reason="blob_store_unavailable")
        except Exception as error:  # noqa: BLE001 - a bug in the adapter, at a moment we cannot know: may have been taken
            log_surprise(_log, f"sending email {email.id} through {started.provider}", error)
            return Answer(error_class=ErrorClass.UNKNOWN, reason="adapter_error")

    async def _settle(self, email: Email, still_ours: Callable[[], bool]) -> None:
        started = email.attempts[email.standing.attempt]
        found = await self._look_up(email, started, still_ours)
        await self._persist(
            lambda: decide(
                self._tools.ledger,
                email.id,
                lambda email: email.settle(
                    found,
                    self._stamp(email, started.event_id),
                    elsewhere=self._elsewhere(email, started, self._tools.clock()),
                ),
            )
        )

    async def _look_up(
        self, email: Email, started: EmailDeliveryStarted, still_ours: Callable[[], bool]
    ) -> Answer | None:
        provider = self._tools.providers.get(started.provider)
        try:
            message = await self._message(email, started, still_ours)
            if provider is None or message is None:
                return None
            doubtful = frozenset(email.in_doubt_for(started.attempt))
            return await provider.look_up(replace(message, only=doubtful, doubt=email.doubts.get(started.attempt)))
        except ConcessionLost:
            _log.warning("What email %s was sent as cannot be made again: %s is not asked.", email.id, started.provider)
            return None
        except Exception as error:  # noqa: BLE001 - no evidence is an answer too
            log_surprise(_log, f"looking up email {email.id} at {started.provider}", error)
            return None

    async def _message(
        self, email: Email, started: EmailDeliveryStarted, still_ours: Callable[[], bool]
    ) -> OutgoingMessage | None:
        content = await self._persist(lambda: self._tools.contents.load_content(email.id))
        if content is None:
            return None
        date, words = email.first_due, started.concessions
        whole = Reduced(email.queued, content)
        reduced = await asyncio.to_thread(self._tools.conceding, whole, date, words) if words else whole
        return OutgoingMessage(
            *(reduced.email, started, reduced.content, date, self._tools.blobs),
            tracking=reduced.tracking,
            still_ours=still_ours,
        )

    async def _persist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Go on until the store takes it: what a provider answered must not get lost because of a database restart."""
        pause = 0.05
        while True:
            try:
                return await work()
            except (StoreUnavailable, Contended):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _stamp(self, email: Email, causation_id: UUID | None = None) -> Stamp:
        now: datetime = self._tools.clock()
        return Stamp(
            now=now,
            actor="worker",
            correlation_id=email.queued.correlation_id,
            causation_id=causation_id or _led(email),
            traceparent=email.queued.traceparent,
        )


def _led(email: Email) -> UUID:
    """The event that has it dealt with now: accepted, put off, sent again … What recipients do has none."""
    return next(event.event_id for event in reversed(email.history) if not isinstance(event, _HEARD))


def _is_told(email: Email, rule: str | None) -> bool:
    """Whether the last thing on record is that it waits for this."""
    last = email.history[-1]
    return isinstance(last, EmailDeliveryDeferred) and last.provider is None and last.reason == rule


def _rather_waits(refused: Sequence[tuple[Choice, Refusal]], choice: Choice, now: datetime) -> bool:
    """Whether one that is preferred to this one will have room soon. Of those equally preferred, any will do.

    A probe may take as long as a provider that hangs: nobody waits for that who has a choice.
    """
    preferred = (refusal for other, refusal in refused if other.priority < choice.priority)
    return any(not each.key.startswith("probe:") and each.until - now <= _PATIENCE for each in preferred)


def _wait(plan: Plan, refused: Sequence[tuple[Choice, Refusal]]) -> _Wait:
    """For whichever comes first. What waits for room does so in a lane, also where its own history leaves it fewer
    choices than others have: each of a thousand would look for itself, again and again."""
    lane, room = f"route:{plan.route}", min((refusal.until for _, refusal in refused), default=None)
    if room is None or (plan.own and plan.until and plan.until < room):
        return _Wait(plan.until, lane, plan.own, reason=plan.wait)
    if plan.own:
        lane = ":".join((lane, *(choice.provider for choice, _ in refused)))
    return _Wait(min(filter(None, (plan.until, room))), lane, reason=plan.wait)


def _after(refused: Sequence[tuple[Choice, Refusal]], choice: Choice, now: datetime) -> Choice:
    """The choice, with why those before it were passed over."""
    passed = "".join(f"; {other.provider} had no room until {clock(it.until, now)}" for other, it in refused)
    return replace(choice, reason=f"{choice.reason}{passed}")
