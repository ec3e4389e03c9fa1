"""From POST /emails through each provider's API, and back through its signed webhooks, into history and decisions."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from application.deciding import decide
from domain.email import Email
from domain.ids import recipient_id
from infrastructure import provider_table
from tests.in_process import Postledger, in_process
from tests.ledger.test_outages import Restartable
from tests.providers.tellers import TELLERS, smtp
from tests.providers.tellers.teller import Letter, Office, Post, Teller, Word
from tests.samples import stamp

ADA, BOB, CYD = "ada@example.com", "bob@example.com", "cyd@example.com"
NAME = "carrier"  # of the provider, whichever it is
ACTOR = f"provider:{NAME}"
SHUFFLES = 6

Scenario = Callable[[Postledger, Office], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture(params=TELLERS.values(), ids=list(TELLERS))
def teller(request: pytest.FixtureRequest) -> Teller:
    teller: Teller = request.param
    return teller


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Act a scenario with this provider; `patience` is how many seconds its answers are waited for."""

    def run(teller: Teller, scenario: Scenario, *, patience: float = 30.0) -> None:
        # SNS's certificates come from a host that is not here.
        monkeypatch.setattr(provider_table, "PROVIDERS", {**provider_table.PROVIDERS, teller.kind: teller.make})

        async def act() -> None:
            async with teller.office(patience) as office, in_process(tmp_path, NAME, office.url) as postledger:
                await scenario(postledger, office)

        asyncio.run(act())

    return run


@pytest.fixture
def restartable() -> Iterator[Restartable]:
    server = Restartable()
    yield server
    server.stop()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def said(teller: Teller, word: Word, letter: Letter, address: str, at: datetime, again: str = "") -> Post:
    """The provider's webhook; `again` tells one repetition from another."""
    return teller.sign(teller.event(word, letter, address, at), now(), f"{letter}{word}{address}{again}")


def to(office: Office, address: str) -> Letter:
    """The first call that was for this address."""
    return next(letter for letter in office.letters if address in letter.addresses)


async def dispatched(postledger: Postledger, *ids: str) -> None:
    async def all_are() -> bool:
        return all([await postledger.events(id, "email.dispatched") for id in ids])

    await postledger.until(all_are)


def test_what_became_of_a_message_comes_back_and_decides_about_the_next_one(play: Play, teller: Teller) -> None:
    async def scenario(postledger: Postledger, office: Office) -> None:
        async with postledger.working():
            mailings = [(ADA, BOB)] if teller.names else [(ADA,), (BOB,)]
            ids = {address: id for people in mailings for id in [await postledger.send(*people)] for address in people}
            await dispatched(postledger, *ids.values())
            assert {address: to(office, address).email_id for address in ids} == ids
            await tell_and_see(postledger, office, ids)
            await decided(postledger, ids[BOB])
            await not_sent_again(postledger, office)

    async def tell_and_see(postledger: Postledger, office: Office, ids: dict[str, str]) -> None:
        delivered = said(teller, "delivered", to(office, ADA), ADA, now())
        assert await postledger.tell(delivered) == 200
        assert await postledger.tell(said(teller, "bounced", to(office, BOB), BOB, now())) == 200

        async def told() -> bool:
            found = {address: (await postledger.recipients(id))[address] for address, id in ids.items()}
            return found == {ADA: "delivered", BOB: "bounced"}

        await postledger.until(told)
        reports = [event for id in set(ids.values()) for event in await postledger.events(id, "email.recipient_")]
        topics = {event["type"].rpartition(".")[0] for event in reports}
        assert topics == {"email.recipient_delivered", "email.recipient_delivery_failed"}
        assert {event["actor"] for event in reports} == {ACTOR}
        inbox = [await postledger.system.inbox.get(UUID(event["data"]["raw"])) for event in reports]
        assert delivered.body in [kept.entry.hook.body for kept in inbox if kept]
        assert await postledger.status(ids[ADA]) == ("partially_delivered" if teller.names else "delivered")

    async def decided(postledger: Postledger, id: str) -> None:
        async def listed() -> bool:
            return (await postledger.get(f"/suppressions/{BOB}")).status_code == 200

        await postledger.until(listed)
        entry = (await postledger.get(f"/suppressions/{BOB}")).json()
        assert (entry["rule"], entry["source"], entry["email_id"]) == ("hard_bounce", ACTOR, id)
        assert (await postledger.get(f"/suppressions/{ADA}")).status_code == 404

    async def not_sent_again(postledger: Postledger, office: Office) -> None:
        before = len(office.letters)
        alone, others = await postledger.send(BOB), await postledger.send(BOB, CYD)
        assert await postledger.status(alone) == "suppressed"
        await dispatched(postledger, others)
        assert [letter.addresses for letter in office.letters[before:]] == [(CYD,)]
        assert (await postledger.recipients(others))[BOB] == "suppressed"
        for id in (alone, others):
            (event,) = await postledger.events(id, "email.recipient_suppressed")
            assert event["data"]["rule"] == "hard_bounce"

    play(teller, scenario)


def test_a_webhook_settles_what_a_lost_answer_left_in_doubt(play: Play, teller: Teller) -> None:
    async def scenario(postledger: Postledger, office: Office) -> None:
        office.fall_silent()
        async with postledger.working():
            id = await postledger.send(ADA, BOB)
            await has_status(postledger, id, "unconfirmed")
            (letter,) = office.letters
            assert await postledger.tell(said(teller, "delivered", letter, ADA, now())) == 200
            resolved = await resolutions(postledger, id, 1)
            everyone = [str(recipient_id(UUID(id), index)) for index in range(2)]
            assert resolved == [("accepted", "feedback", everyone[:1] if teller.separate else everyone)]
            await everyone_is_called_once(postledger, office, id)

    async def everyone_is_called_once(postledger: Postledger, office: Office, id: str) -> None:
        if teller.separate:  # the second call was not made yet
            await dispatched(postledger, id)
        called = [address for letter in office.letters for address in letter.addresses]
        assert called == [ADA, BOB]
        statuses = {ADA: "delivered" if teller.names else "sent", BOB: "sent"}
        assert await postledger.recipients(id) == statuses

    play(teller, scenario, patience=1.0)


def test_after_a_crash_a_call_of_its_own_is_proved_for_its_recipient_alone(play: Play, teller: Teller) -> None:
    async def scenario(postledger: Postledger, office: Office) -> None:
        id = await postledger.send(ADA, BOB)
        await crash(postledger, id)
        everyone = [str(recipient_id(UUID(id), index)) for index in range(2)]
        async with postledger.working():
            await has_status(postledger, id, "unconfirmed")
            assert await postledger.tell(said(teller, "delivered", letter(id, 0), ADA, now())) == 200
            resolved = await resolutions(postledger, id, 1)
            if not teller.separate:
                assert resolved == [("accepted", "feedback", everyone)]
                return
            assert await postledger.status(id) == "unconfirmed"
            assert await postledger.tell(said(teller, "bounced", letter(id, 1), BOB, now())) == 200
            resolved = await resolutions(postledger, id, 2)
            assert resolved == [("accepted", "feedback", [one]) for one in everyone]
            await has_status(postledger, id, "partially_delivered")
        assert office.letters == []

    async def crash(postledger: Postledger, id: str) -> None:
        """A worker records what it is about to do, and is gone."""

        def begin(email: Email) -> None:
            email.start_delivery(NAME, "only", timedelta(microseconds=1), stamp(now()), separate=teller.separate)

        await decide(postledger.system.ledger, UUID(id), begin)

    def letter(id: str, index: int) -> Letter:
        """The call of which nobody knows whether it was made."""
        if not teller.separate:
            return Letter(id, None, (ADA, BOB), "a-message-that-we-were-not-told-of")
        whose = str(recipient_id(UUID(id), index))
        return Letter(id, whose, ((ADA, BOB)[index],), "not-told-of", smtp.token(id, index))

    play(teller, scenario)


def test_repeated_shuffled_and_late_webhooks_come_to_the_same(play: Play, teller: Teller) -> None:
    """A late bounce comes after a delivery, whichever of the two is heard first."""
    words: list[tuple[Word, str, int]] = [("delivered", ADA, 10), ("bounced", ADA, 40)]
    words += [("opened", ADA, 20)] if "opened" in teller.words else []
    words += [("delivered", BOB, 12)] if teller.names else []

    async def scenario(postledger: Postledger, office: Office) -> None:
        chance = random.Random(teller.kind)
        async with postledger.working():
            ids = [await postledger.send(*dict.fromkeys(address for _, address, _ in words)) for _ in range(SHUFFLES)]
            await dispatched(postledger, *ids)
            begun = now()
            for id in ids:
                await heard(postledger, office, id, begun, chance)
            await postledger.digested()
            outcomes = [(await postledger.email(id))["recipients"] for id in ids]
            assert all(outcome == outcomes[0] for outcome in outcomes)
            assert [each["status"] for each in outcomes[0]] == ["bounced", "delivered"][: len(outcomes[0])]
            bounced_at = datetime.fromisoformat(outcomes[0][0]["at"])
            assert bounced_at == begun + timedelta(seconds=40)
            if teller.kind != "resend":  # to which another id is another event
                assert [len(await postledger.events(id, "email.recipient_")) for id in ids] == [len(words)] * SHUFFLES

    async def heard(postledger: Postledger, office: Office, id: str, begun: datetime, chance: random.Random) -> None:
        letters = {a: letter for letter in office.letters if letter.email_id == id for a in letter.addresses}
        posts = [
            said(teller, word, letters[address], address, begun + timedelta(seconds=after), again)
            for word, address, after in words
            for again in ("", "again")
        ]
        posts *= 2  # the very same once more
        chance.shuffle(posts)
        assert {await postledger.tell(post) for post in posts} == {200}

    play(teller, scenario)


def test_what_resend_says_about_several_is_about_none_of_them(play: Play) -> None:
    resend = TELLERS["resend"]

    async def scenario(postledger: Postledger, office: Office) -> None:
        async with postledger.working():
            id = await postledger.send(ADA, BOB)
            await dispatched(postledger, id)
            before = await postledger.recipients(id)
            for word in resend.words:
                assert await postledger.tell(said(resend, word, to(office, ADA), ADA, now())) == 200
            await postledger.digested()
            noted = await postledger.events(id, "email.feedback_unattributed")
            assert {event["data"]["kind"] for event in noted} == {"delivered", "bounced", "opened"}
            assert await postledger.recipients(id) == before
            assert await postledger.events(id, "email.recipient_") == []
            assert {(await postledger.get(f"/suppressions/{each}")).status_code for each in (ADA, BOB)} == {404}

    play(resend, scenario)


def test_what_is_told_while_the_database_is_away_is_refused_for_now_and_heard_when_told_again(
    tmp_path: Path, restartable: Restartable
) -> None:
    postmark = TELLERS["postmark"]

    async def scenario() -> None:
        url = restartable.fresh_database()
        async with (
            postmark.office(30.0) as office,
            in_process(tmp_path, NAME, office.url, url) as postledger,
            postledger.working(),
        ):
            id = await postledger.send(ADA)
            await dispatched(postledger, id)
            webhook = said(postmark, "delivered", to(office, ADA), ADA, now())
            restartable.halt()
            assert [await postledger.tell(webhook) for _ in range(3)] == [503, 503, 503]
            assert await postledger.tell(Post({}, webhook.body)) == 401
            restartable.resume()
            assert await told_at_last(postledger, webhook) == 200
            await has_status(postledger, id, "delivered")

    async def told_at_last(postledger: Postledger, webhook: Post) -> int:
        """As providers do it: again and again."""
        for _ in range(20):
            if (status := await postledger.tell(webhook)) != 503:
                break
            await asyncio.sleep(0.2)
        return status

    asyncio.run(scenario())


async def has_status(postledger: Postledger, id: str, status: str) -> None:
    async def so() -> bool:
        return await postledger.status(id) == status

    await postledger.until(so)


async def resolutions(postledger: Postledger, id: str, number: int) -> list[tuple[str, str, list[str]]]:
    """That many of them, once there are: what was decided, by what evidence, about whom."""

    async def there() -> bool:
        return len(await postledger.events(id, "email.delivery_resolved")) >= number

    await postledger.until(there)
    found = [event["data"] for event in await postledger.events(id, "email.delivery_resolved")]
    return [(data["resolution"], data["evidence"], data["recipients"]) for data in found]
