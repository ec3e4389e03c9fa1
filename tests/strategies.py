"""Random valid histories: whatever the aggregate lets happen to an email, in any order it allows."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.errors import NotAllowedInThisState
from domain.suppression import Entry, Suppression
from tests.samples import LEASE, NOW, queued, stamp

_PEOPLE = ("ada@example.com", "Bob@Example.org", "cy@example.net")
_TROUBLES = (*ErrorClass,)
_REPORTS: tuple[tuple[type[e.RecipientEvent], dict[str, Any]], ...] = (
    (e.EmailRecipientDelivered, {}),
    (e.EmailRecipientDeferred, {"smtp_status": 421}),
    (e.EmailRecipientDeliveryFailed, {"bounce_class": "hard", "reason": "no_mailbox", "smtp_status": 550}),
    (e.EmailRecipientSuppressed, {"rule": "provider"}),
    (e.EmailRecipientOpened, {}),
    (e.EmailRecipientClicked, {"url": "https://example.com/"}),
    (e.EmailRecipientComplained, {"complaint": "abuse"}),
    (e.EmailRecipientUnsubscribed, {}),
)


class Life:
    """One email, and everything that may happen to it, chosen by `chance`."""

    def __init__(self, chance: Random, tenant: str) -> None:
        self.chance = chance
        self.now = NOW + timedelta(seconds=chance.randrange(600))
        self.email = self._queue(tenant)
        self.events = self.email.collect_events()

    def step(self) -> None:
        """Let one more thing happen, if the aggregate allows it now."""
        self.now += timedelta(seconds=self.chance.choice((0, 1, 30, 70, 1200, 9000)))
        deed = self.chance.choice(_DEEDS)
        with suppress(NotAllowedInThisState):
            deed(self)
        self.events += self.email.collect_events()

    def _queue(self, tenant: str) -> Email:
        chance = self.chance
        people = chance.sample(_PEOPLE, chance.choice((1, 1, 2, 3)))
        policy = DeliveryPolicy(max_attempts=chance.choice((1, 3, 12)), in_doubt=chance.choice(_DOUBTS))
        fields: dict[str, Any] = {"policy": policy, "priority": chance.choice(tuple(e.Priority))}
        if chance.random() < 0.3:
            fields["send_at"] = self.now + timedelta(hours=chance.randrange(1, 5))
        if chance.random() < 0.3:
            fields["expires_at"] = self.now + timedelta(hours=chance.randrange(1, 9))
        if chance.random() < 0.5:
            fields["tags"] = (e.Tag(name="kind", value=chance.choice(("invoice", "welcome"))),)
        id = UUID(int=chance.getrandbits(128), version=4)
        return queued(*people, now=self.now, id=id, tenant=tenant, **fields)


def _start(life: Life) -> None:
    life.email.start_delivery(life.chance.choice(("main", "backup")), "default", LEASE, stamp(life.now))


def _conclude(life: Life) -> None:
    if life.email.attempts:
        attempt = life.chance.choice((max(life.email.attempts), *life.email.attempts))
        answer = _answer(life, life.email.attempts[attempt])
        life.email.conclude(attempt, answer, stamp(life.now), chance=life.chance.random())


def _answer(life: Life, started: e.EmailDeliveryStarted) -> Answer:
    chance, people = life.chance, started.recipients
    taken = people if chance.random() < 0.6 else chance.sample(people, chance.randrange(len(people) + 1))
    refused = [id for id in people if id not in taken and chance.random() < 0.3]
    return Answer(
        messages=tuple(e.ProviderMessage(recipient_id=id, message_id=f"m-{id}") for id in taken),
        reports=tuple(_word(life, id, *_REPORTS[2]) for id in refused),
        error_class=None if len(taken) == len(people) else chance.choice(_TROUBLES),
    )


def _report(life: Life) -> None:
    person = life.chance.choice(tuple(life.email.standing.recipients))
    life.email.report(_word(life, person, *life.chance.choice(_REPORTS)), stamp(life.now))


def _word(life: Life, person: UUID, kind: type[e.RecipientEvent], details: dict[str, Any]) -> RecipientReport:
    at = life.now - timedelta(seconds=life.chance.choice((0, 5, 100, 4000)))
    return RecipientReport(kind, person, "main", at, details=details)


def _settle(life: Life) -> None:
    started = life.email.attempts.get(life.email.standing.attempt)
    found = _answer(life, started) if started and life.chance.random() < 0.5 else None
    life.email.settle(found, stamp(life.now))


def _resolve(life: Life) -> None:
    life.email.resolve(life.chance.choice(tuple(e.Resolution)), "seen in its log", stamp(life.now))


def _reschedule(life: Life) -> None:
    life.email.reschedule(life.now + timedelta(hours=life.chance.randrange(12)), stamp(life.now))


_DOUBTS = ("at_least_once", "at_most_once")
_DEEDS: tuple[Callable[[Life], None], ...] = (
    _start,
    _start,
    _start,
    _conclude,
    _conclude,
    _conclude,
    _report,
    _report,
    _settle,
    _resolve,
    _reschedule,
    lambda life: life.email.doubt(stamp(life.now)),
    lambda life: life.email.expire(stamp(life.now)),
    lambda life: life.email.requeue("mended", stamp(life.now)),
    lambda life: life.email.cancel(stamp(life.now)) if life.chance.random() < 0.2 else None,
)


def history(chance: Random, emails: int, steps: int) -> list[Life]:
    """Lives of `emails` emails of two tenants, `steps` things each at most."""
    lives = [Life(chance, chance.choice(("acme", "globex"))) for _ in range(emails)]
    for life in lives:
        for _ in range(chance.randrange(steps + 1)):
            life.step()
    return lives


class Listed:
    """One address on the suppression list of one tenant, and what was decided about it."""

    def __init__(self, chance: Random, tenant: str, address: str, steps: int) -> None:
        self.suppression = Suppression(tenant, address)
        for step in range(chance.randrange(steps + 1)):
            now = stamp(NOW + timedelta(minutes=step))
            scope, rule = chance.choice(("*", "news", "offers")), chance.choice(_RULES)
            cause = UUID(int=chance.getrandbits(128), version=4) if chance.random() < 0.5 else None
            if chance.random() < 0.4:
                self.suppression.remove(chance.choice((None, scope)), "manual", "api:1", now, only=_but(rule))
            else:
                self.suppression.add(scope, rule, "provider:main", now, reason=f"No. {step}", cause=cause)
        self.events = self.suppression.collect_events()


def _but(rule: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.rule != rule


_RULES = ("hard_bounce", "complaint", "unsubscribe", "manual")


def listed(chance: Random, steps: int) -> list[Listed]:
    """Some addresses, which two tenants have decided about."""
    return [Listed(chance, tenant, address, steps) for tenant in ("acme", "globex") for address in _PEOPLE]


def woven(chance: Random, lives: Sequence[Life | Listed]) -> list[e.Event]:
    """The events of all lives in one order, each life's own kept."""
    turns = [number for number, life in enumerate(lives) for _ in life.events]
    chance.shuffle(turns)
    queues = [iter(life.events) for life in lives]
    return [next(queues[number]) for number in turns]


chances = st.integers(0, 2**32).map(Random)
