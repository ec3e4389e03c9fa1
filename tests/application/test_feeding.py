"""What feedback does to the suppression list."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from application.commands import Caller
from application.feeding import TOPICS, SuppressionFeeder
from application.ports import StoredContent
from application.suppressions import Addition, Suppressions
from domain import events as e
from domain.answer import RecipientReport
from domain.email import Email
from domain.events import RecipientEvent, SuppressionAdded
from tests.fakes import MemoryLedger
from tests.samples import LEASE, NOW, queued, stamp, taken
from tests.strategies import chances

ADA, BOB = "ada@example.com", "bob@example.com"
HARD: dict[str, Any] = {"bounce_class": "hard", "reason": "no_mailbox", "add_to_suppression": True}
SOFT: dict[str, Any] = {"bounce_class": "soft", "reason": "mailbox_full"}


class Post:
    """Emails to Ada and Bob, what providers say about them, and the list that it leads to."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.ledger = ledger or MemoryLedger()
        self.suppressions = Suppressions(self.ledger, lambda: NOW + timedelta(hours=1))
        self.feed = SuppressionFeeder(self.ledger, self.suppressions, lambda: NOW + timedelta(hours=1))
        self._said = 0

    async def send(self, stream: str = "news") -> Email:
        email = queued(ADA, BOB, stream=stream, tenant="acme")
        email.conclude(email.start_delivery("main", "default", LEASE, stamp()), taken(email), stamp(), chance=0)
        await self.ledger.append(email.collect_events())
        return email

    async def say(
        self,
        email: Email,
        kind: type[RecipientEvent],
        at: int = 0,
        who: int = 0,
        key: int | None = None,
        **details: Any,
    ) -> None:
        """At minute `at`. The same `key` again, in other words, is a correction."""
        self._said += 1
        report = RecipientReport(
            kind,
            tuple(email.standing.recipients)[who],
            "main",
            NOW + timedelta(minutes=at),
            keys=(f"k{key or -self._said}",),
            raw=UUID(int=key or 100 + self._said),
            details=details,
        )
        email.report(report, stamp(NOW + timedelta(minutes=at)))
        await self.ledger.append(email.collect_events())

    async def digest(self, *after: int) -> None:
        """Let the feeder see what was said, from each of these positions on."""
        for start in after or (0,):
            await self.feed(await self.ledger.read(start, 1000, TOPICS))

    async def listed(self, address: str = ADA) -> dict[str, str]:
        entries = await self.suppressions.entries("acme", address)
        return {entry.scope: entry.rule for entry in reversed(entries)}


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.mark.parametrize(
    ("kind", "details", "listed"),
    [
        (e.EmailRecipientDeliveryFailed, HARD, {"*": "hard_bounce"}),
        (e.EmailRecipientDeliveryFailed, SOFT, {}),
        (e.EmailRecipientDelivered, {}, {}),
        (e.EmailRecipientOpened, {}, {}),
        (e.EmailRecipientComplained, {"complaint": "abuse"}, {"*": "complaint"}),
        (e.EmailRecipientUnsubscribed, {"scope": "global"}, {"*": "unsubscribe"}),
        (e.EmailRecipientUnsubscribed, {"scope": "group:10"}, {"news": "unsubscribe"}),
        (e.EmailRecipientUnsubscribed, {}, {"news": "unsubscribe"}),
        (e.EmailRecipientSuppressed, {"rule": "bounce"}, {"*": "provider_list"}),
        (e.EmailRecipientSuppressed, {"rule": "unsubscribe"}, {"news": "unsubscribe"}),
        (e.EmailRecipientResubscribed, {}, {}),
    ],
)
def test_what_an_event_leads_to(kind: type[RecipientEvent], details: dict[str, Any], listed: dict[str, str]) -> None:
    async def scenario() -> None:
        post = Post()
        await post.say(await post.send(), kind, **details)
        await post.digest()
        assert (await post.listed(), await post.listed(BOB)) == (listed, {})

    run(scenario())


def test_an_entry_says_what_it_came_from() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        await post.say(email, e.EmailRecipientDeliveryFailed, **HARD)
        await post.digest()
        (cause,) = await post.ledger.read(0, 10, [e.EmailRecipientDeliveryFailed.TYPE])
        (added,) = [recorded.event for recorded in await post.ledger.read(0, 10, [SuppressionAdded.TYPE])]
        assert isinstance(added, SuppressionAdded)
        assert (added.source, added.actor, added.reason) == ("provider:main", "provider:main", "no_mailbox")
        assert (added.email_id, added.cause, added.causation_id) == (email.id, *[cause.event.event_id] * 2)
        assert (added.tenant, added.address) == ("acme", ADA)

    run(scenario())


def test_what_our_own_list_held_back_is_nothing_new() -> None:
    async def scenario() -> None:
        post = Post()
        email = queued(ADA, tenant="acme")
        (person,) = email.standing.recipients
        email.suppress({person: "complaint"}, stamp())
        await post.ledger.append(email.collect_events())
        await post.digest()
        assert await post.listed() == {}

    run(scenario())


def test_whoever_wants_mail_again_gets_it_but_only_what_was_their_wish_ends() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        await post.say(email, e.EmailRecipientUnsubscribed, at=1)
        await post.say(await post.send("offers"), e.EmailRecipientUnsubscribed, at=2)
        await post.say(email, e.EmailRecipientComplained, at=3)
        await post.digest()
        assert await post.listed() == {"*": "complaint", "news": "unsubscribe", "offers": "unsubscribe"}
        await post.say(email, e.EmailRecipientResubscribed, at=4)
        await post.digest()
        assert await post.listed() == {"*": "complaint"}

    run(scenario())


def test_of_a_wish_and_its_opposite_the_later_counts_whichever_is_reported_first() -> None:
    async def scenario() -> None:
        for kinds in (
            (e.EmailRecipientUnsubscribed, e.EmailRecipientResubscribed),
            (e.EmailRecipientResubscribed, e.EmailRecipientUnsubscribed),
        ):
            for order in ((0, 1), (1, 0)):
                post = Post()
                email = await post.send()
                for minute in order:
                    await post.say(email, kinds[minute], at=minute)
                    await post.digest()
                wanted = kinds[1] is e.EmailRecipientResubscribed
                assert await post.listed() == ({} if wanted else {"news": "unsubscribe"})

    run(scenario())


def test_an_unsubscription_put_there_by_hand_ends_with_a_later_wish_only() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        by_hand = Addition(ADA, "*", "unsubscribe", "api:1")
        await post.suppressions.add_all([by_hand], Caller("acme", "api:1", UUID(int=1)))  # at minute 60
        await post.say(email, e.EmailRecipientResubscribed, at=59)
        await post.digest()
        assert await post.listed() == {"*": "unsubscribe"}
        await post.say(email, e.EmailRecipientResubscribed, at=61)
        await post.digest()
        assert await post.listed() == {}

    run(scenario())


def test_a_correction_takes_back_what_the_mistake_led_to() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        await post.say(email, e.EmailRecipientDeliveryFailed, key=1, **HARD)
        await post.digest()
        assert await post.listed() == {"*": "hard_bounce"}
        await post.say(email, e.EmailRecipientDeferred, key=1)
        await post.digest()
        assert await post.listed() == {}

    run(scenario())


def test_a_correction_has_its_own_effect_besides() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        await post.say(email, e.EmailRecipientDeliveryFailed, key=1, **HARD)
        await post.digest()
        await post.say(email, e.EmailRecipientUnsubscribed, key=1)
        await post.digest()
        assert await post.listed() == {"news": "unsubscribe"}

    run(scenario())


def test_a_correction_brings_out_what_the_mistake_stood_in_front_of() -> None:
    async def scenario() -> None:
        post = Post()
        email = await post.send()
        await post.say(email, e.EmailRecipientDeliveryFailed, key=1, **HARD)
        await post.say(email, e.EmailRecipientComplained)
        await post.digest()
        assert await post.listed() == {"*": "hard_bounce"}
        await post.say(email, e.EmailRecipientDelivered, key=1)
        await post.digest()
        assert await post.listed() == {"*": "complaint"}

    run(scenario())


def test_what_ended_by_a_wish_that_nobody_had_stands_again() -> None:
    async def scenario() -> None:
        post = Post()
        email, other = await post.send(), await post.send("offers")
        await post.say(email, e.EmailRecipientUnsubscribed, 1)
        await post.say(other, e.EmailRecipientUnsubscribed, 2)
        await post.digest()
        await post.say(email, e.EmailRecipientResubscribed, 3, key=1)
        await post.digest()
        assert await post.listed() == {}
        await post.say(email, e.EmailRecipientOpened, 3, key=1)
        await post.digest()
        assert await post.listed() == {"news": "unsubscribe", "offers": "unsubscribe"}
        await post.suppressions.remove(ADA, None, "by hand", Caller("acme", "api:1", UUID(int=1)))
        await post.digest()
        assert await post.listed() == {}

    run(scenario())


def test_what_an_operator_took_back_stays_so() -> None:
    async def scenario() -> None:
        post = Post()
        await post.say(await post.send(), e.EmailRecipientDeliveryFailed, **HARD)
        await post.digest()
        await post.suppressions.remove(ADA, None, "a typo, mended", Caller("acme", "api:1", UUID(int=1)))
        await post.digest()
        assert await post.listed() == {}

    run(scenario())


class Counting(MemoryLedger):
    commits = 0

    async def append(self, events: Sequence[e.Event], contents: Sequence[StoredContent] = ()) -> int:
        self.commits += 1
        return await super().append(events, contents)


def test_however_much_is_said_about_a_person_it_is_one_decision() -> None:
    async def scenario() -> None:
        post = Post(ledger := Counting())
        email = await post.send()
        for minute in range(50):
            await post.say(email, e.EmailRecipientUnsubscribed, minute)
        ledger.commits = 0
        await post.digest()
        assert (await post.listed(), ledger.commits) == ({"news": "unsubscribe"}, 1)

    run(scenario())


_KINDS: tuple[tuple[type[RecipientEvent], dict[str, Any]], ...] = (
    (e.EmailRecipientDeliveryFailed, HARD),
    (e.EmailRecipientComplained, {}),
    (e.EmailRecipientUnsubscribed, {}),
    (e.EmailRecipientUnsubscribed, {"scope": "global"}),
    (e.EmailRecipientResubscribed, {}),
    (e.EmailRecipientDelivered, {}),
)


@given(chance=chances)
@settings(max_examples=100, deadline=None)
def test_handling_it_all_again_from_anywhere_changes_nothing(chance: Random) -> None:
    async def scenario() -> None:
        post = Post()
        emails = [await post.send(chance.choice(("news", "offers"))) for _ in range(2)]
        for _ in range(chance.randrange(1, 10)):
            kind, details = chance.choice(_KINDS)
            at, who, key = chance.randrange(50), chance.randrange(2), chance.choice((None, 1, 2))
            seen = await post.ledger.position()
            await post.say(chance.choice(emails), kind, at, who, key, **details)
            if chance.random() < 0.5:
                await post.digest(seen, *[0] * chance.randrange(2))
        await post.digest()
        listed, end = (await post.listed(), await post.listed(BOB)), await post.ledger.position()
        await post.digest(*(chance.randrange(end) for _ in range(3)), 0)
        assert (await post.listed(), await post.listed(BOB)) == listed
        assert await post.ledger.position() == end

    run(scenario())
