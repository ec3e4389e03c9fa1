"""One due email, one step: intent, call, outcome, each persisted before the next begins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from application.deciding import decide, load
from application.errors import BlobMissing, BlobStoreUnavailable, Contended, StoreUnavailable
from application.ports import (
    BlobStore,
    Chance,
    Clock,
    ContentStore,
    EmailProvider,
    Ledger,
    OutgoingMessage,
    SuppressionList,
)
from application.routing import Router
from application.surprises import log_surprise
from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.email import Email, Step
from domain.events import EmailDeliveryStarted, Stamp

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 5.0  # seconds between two tries to record what happened
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What every step needs from the outside."""

    ledger: Ledger
    contents: ContentStore
    blobs: BlobStore
    providers: Mapping[str, EmailProvider]
    router: Router
    suppressions: SuppressionList
    clock: Clock
    chance: Chance
    lease: timedelta


class Delivery:
    """Takes the step that is due for one email that this worker has claimed."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def __call__(self, email_id: UUID, still_ours: Callable[[], bool]) -> None:
        """Do whatever is due. `still_ours` tells whether the claim still holds: without it no provider is called."""
        step = Step.NOTHING
        known = await self._persist(lambda: load(self._tools.ledger, email_id))
        rules = await self._rules(known[0])

        def ask(email: Email) -> None:
            nonlocal step
            step = email.step(self._tools.clock())
            if step is Step.START:
                email.suppress(rules, self._stamp(email))
                step = email.step(self._tools.clock())  # nobody may be left
            self._decide_without_calling(email, step)

        email, position = await self._decide(email_id, ask, known)
        if step is Step.START:
            await self._call(email, position, still_ours)
        elif step is Step.SETTLE:
            await self._settle(email)

    async def _decide(
        self, email_id: UUID, ask: Callable[[Email], None], known: tuple[Email, int]
    ) -> tuple[Email, int]:
        first: list[tuple[Email, int]] = [known]  # what was loaded must not be asked twice

        def again() -> Awaitable[tuple[Email, int]]:
            return decide(self._tools.ledger, email_id, ask, known=first.pop() if first else None)

        return await self._persist(again)

    async def _rules(self, email: Email) -> Mapping[UUID, str]:
        """The rules by which outstanding recipients must not be sent to. Asked anew before each attempt."""
        if email.step(self._tools.clock()) is not Step.START:
            return {}
        outstanding = set(email.standing.outstanding)
        people = {r.id: r.address for r in email.queued.recipients if r.id in outstanding}
        suppressions = self._tools.suppressions
        rules = await self._persist(
            lambda: suppressions.rules(email.tenant, email.queued.stream, list(people.values()))
        )
        return {id: rules[address] for id, address in people.items() if address in rules}

    def _decide_without_calling(self, email: Email, step: Step) -> None:
        stamp = self._stamp(email)
        match step:
            case Step.START:
                route = self._tools.router.choose(email)
                separate = self._tools.providers[route.provider].separate
                email.start_delivery(route.provider, route.reason, self._tools.lease, stamp, separate=separate)
            case Step.EXPIRE:
                email.expire(stamp)
            case Step.DOUBT:
                email.doubt(stamp)
            case Step.SETTLE | Step.NOTHING:
                pass

    async def _call(self, email: Email, position: int, still_ours: Callable[[], bool]) -> None:
        started = email.attempts[email.standing.attempt]
        answer = await self._answer(email, started, still_ours)
        known: list[tuple[Email, int]] = [(email, position)]  # good for one try; after an outage we look again

        def ask(email: Email) -> None:
            email.conclude(started.attempt, answer, self._stamp(email, started.event_id), chance=self._tools.chance())

        await self._persist(lambda: decide(self._tools.ledger, email.id, ask, known=known.pop() if known else None))

    async def _answer(self, email: Email, started: EmailDeliveryStarted, still_ours: Callable[[], bool]) -> Answer:
        provider = self._tools.providers[started.provider]
        try:
            message = await self._message(email, started)
            if message is None:
                return Answer(error_class=ErrorClass.PERMANENT, reason="content_missing")
            if not still_ours():
                # We were held up past our lease; somebody may have judged this attempt already. Nothing was sent.
                return Answer(error_class=ErrorClass.TRANSIENT, reason="lease_lost")
            return await provider.send(message)
        except BlobMissing:
            return Answer(error_class=ErrorClass.PERMANENT, reason="attachment_missing")
        except BlobStoreUnavailable:
            return Answer(error_class=ErrorClass.TRANSIENT, reason="blob_store_unavailable")
        except Exception as error:  # noqa: BLE001 - a bug in the adapter, at a moment we cannot know: may have been taken
            log_surprise(_log, f"sending email {email.id} through {started.provider}", error)
            return Answer(error_class=ErrorClass.UNKNOWN, reason="adapter_error")

    async def _settle(self, email: Email) -> None:
        started = email.attempts[email.standing.attempt]
        found = await self._look_up(email, started)
        await self._persist(
            lambda: decide(
                self._tools.ledger,
                email.id,
                lambda email: email.settle(found, self._stamp(email, started.event_id)),
            )
        )

    async def _look_up(self, email: Email, started: EmailDeliveryStarted) -> Answer | None:
        provider = self._tools.providers.get(started.provider)
        message = await self._message(email, started)
        if provider is None or message is None:
            return None
        try:
            return await provider.look_up(replace(message, only=frozenset(email.in_doubt_for(started.attempt))))
        except Exception as error:  # noqa: BLE001 - no evidence is an answer too
            log_surprise(_log, f"looking up email {email.id} at {started.provider}", error)
            return None

    async def _message(self, email: Email, started: EmailDeliveryStarted) -> OutgoingMessage | None:
        content = await self._persist(lambda: self._tools.contents.load_content(email.id))
        if content is None:
            return None
        date = email.first_due
        return OutgoingMessage(email.queued, started, content, date, self._tools.blobs)

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
            causation_id=causation_id or email.queued.event_id,
            traceparent=email.queued.traceparent,
        )
