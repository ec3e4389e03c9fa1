"""What every provider must do, whatever its own words are. Each rig lists the behaviours it can act out."""

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from domain.answer import Answer
from domain.content import Content
from domain.delivery import ErrorClass
from tests.mail import attach, outgoing
from tests.providers.contract import RETRY_AFTER, Behaviour, Rig
from tests.providers.rigs import RIGS

LOGO = bytes(range(256)) * 8
MakeRig = Callable[[], AbstractAsyncContextManager[Rig]]

# What a behaviour means for a single recipient; None: taken.
MEANS: dict[Behaviour, frozenset[ErrorClass | None]] = {
    Behaviour.ACCEPT: frozenset({None}),
    Behaviour.SLOW: frozenset({None}),
    Behaviour.SUPPRESS: frozenset({ErrorClass.SUPPRESSED}),
    Behaviour.PERMANENT: frozenset({ErrorClass.PERMANENT}),
    Behaviour.RATE_LIMIT: frozenset({ErrorClass.RATE_LIMITED}),
    Behaviour.QUOTA: frozenset({ErrorClass.QUOTA}),
    Behaviour.TRANSIENT: frozenset({ErrorClass.TRANSIENT}),
    Behaviour.CONFIG: frozenset({ErrorClass.CONFIG}),
    Behaviour.CONFLICT: frozenset({ErrorClass.CONFLICT}),
    Behaviour.MALFORMED: frozenset({ErrorClass.UNKNOWN, ErrorClass.CONFIG}),
    Behaviour.GARBAGE: frozenset({ErrorClass.UNKNOWN, ErrorClass.TRANSIENT}),
    Behaviour.SILENCE: frozenset({ErrorClass.UNKNOWN}),
    Behaviour.RESET_EARLY: frozenset({ErrorClass.UNKNOWN, ErrorClass.TRANSIENT}),
    Behaviour.RESET_LATE: frozenset({ErrorClass.UNKNOWN}),
    Behaviour.RESET_IN_ANSWER: frozenset({ErrorClass.UNKNOWN}),
    Behaviour.UNREACHABLE: frozenset({ErrorClass.TRANSIENT}),
}
MUST = frozenset(
    {
        *(Behaviour.ACCEPT, Behaviour.SLOW, Behaviour.PERMANENT, Behaviour.TRANSIENT, Behaviour.CONFIG),
        *(Behaviour.SILENCE, Behaviour.RESET_EARLY, Behaviour.RESET_LATE, Behaviour.UNREACHABLE),
    }
)


def with_rig(make: MakeRig, use: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        async with make() as rig:
            await use(rig)

    asyncio.run(run())


@pytest.mark.parametrize("behaviour", Behaviour)
@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_an_answer_is_classified(make: MakeRig, behaviour: Behaviour) -> None:
    async def use(rig: Rig) -> None:
        if not rig.will(behaviour):
            assert behaviour not in MUST
            return
        answer = await rig.provider.send(outgoing())
        assert answer.error_class in MEANS[behaviour], answer.reason
        assert bool(answer.messages) == (answer.error_class is None)
        if behaviour is Behaviour.RATE_LIMIT and answer.retry_after is not None:
            assert 0 < answer.retry_after.total_seconds() <= RETRY_AFTER + 1

    with_rig(make, use)


@pytest.mark.parametrize("behaviour", [Behaviour.SILENCE, Behaviour.RESET_LATE, Behaviour.TRANSIENT])
@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_nothing_is_sent_twice_by_itself(make: MakeRig, behaviour: Behaviour) -> None:
    async def use(rig: Rig) -> None:
        assert rig.will(behaviour)
        await rig.provider.send(outgoing())
        assert rig.taken <= 1

    with_rig(make, use)


@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_every_recipient_is_accounted_for(make: MakeRig) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"], cc=["eve@example.com"])

    async def use(rig: Rig) -> None:
        answer = await rig.provider.send(message)
        assert {m.recipient_id for m in answer.messages} == {r.id for r in message.recipients}
        assert len({m.message_id for m in answer.messages}) == (3 if rig.provider.separate else 1) or _smtp(answer)

    with_rig(make, use)


@pytest.mark.parametrize("make", [m for n, m in RIGS.items() if n in ("ses", "mailgun", "smtp")])
@pytest.mark.parametrize("behaviour", [Behaviour.SILENCE, Behaviour.TRANSIENT, Behaviour.PERMANENT])
def test_trouble_with_the_first_recipient_is_not_trouble_with_all(make: MakeRig, behaviour: Behaviour) -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    ada, bob = (r.id for r in message.recipients)

    async def use(rig: Rig) -> None:
        assert rig.provider.separate
        assert rig.will(behaviour)
        answer = await rig.provider.send(message)
        if behaviour is Behaviour.SILENCE:
            assert (answer.doubtful, answer.put_off) == ((ada,), (bob,))
        elif behaviour is Behaviour.TRANSIENT:
            assert (answer.doubtful, answer.put_off) == ((), (ada, bob))
        else:
            assert [m.recipient_id for m in answer.messages] == [bob]
            assert answer.refused() == (ada,)

    with_rig(make, use)


@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_who_was_held_up_until_it_had_but_to_be_sent_sends_nothing(make: MakeRig) -> None:
    async def use(rig: Rig) -> None:
        answer = await rig.provider.send(replace(outgoing(), still_ours=lambda: False))
        assert (answer.error_class, answer.reason) == (ErrorClass.TRANSIENT, "lease_lost")
        assert rig.taken == 0
        assert (await rig.provider.send(outgoing())).messages  # the connection is as good as ever, or a new one

    with_rig(make, use)


@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_what_was_sent_before_it_was_held_up_is_told(make: MakeRig) -> None:
    message = outgoing(["ada@example.com", "bob@example.com", "eve@example.com"])
    asked = iter([True])

    async def use(rig: Rig) -> None:
        answer = await rig.provider.send(replace(message, still_ours=lambda: next(asked, False)))
        sent = message.recipients[:1] if rig.provider.separate else message.recipients
        assert {m.recipient_id for m in answer.messages} == {r.id for r in sent}
        assert set(answer.put_off) == {r.id for r in message.recipients} - {r.id for r in sent}
        assert rig.taken == 1

    with_rig(make, use)


@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("make", RIGS.values(), ids=RIGS.keys())
def test_every_attempt_at_an_email_sends_the_same_bytes(make: MakeRig, tracking: bool) -> None:
    """But for what a provider's page in docs/providers.md names; none does."""
    content = Content(text="Hello Ada", html='<p>Hello Ada <img src="cid:logo"></p>', headers={"X-Campaign": "spring"})
    files = [attach(LOGO, "logo.png", "image/png", "logo"), attach(b"%PDF" * 9_999, "bill.pdf")]
    to = ["ada@example.com", "bob@example.com"]
    first, later = (outgoing(to, content=content, attachments=files, attempt=attempt) for attempt in (1, 7))
    assert first.message_id == later.message_id

    async def use(rig: Rig) -> None:
        sent: list[list[bytes]] = []
        for message in (first, later):
            seen = len(rig.received)
            assert (await rig.provider.send(replace(message, tracking=tracking))).error_class is None
            sent.append(rig.received[seen:])
        assert sent[0] == sent[1]
        assert sent[0]
        assert all(_holds(body, LOGO) for body in sent[0])

    with_rig(make, use)


def _holds(body: bytes, file: bytes) -> bool:
    if b64encode(file) in body.replace(b"\r\n", b""):
        return True
    raw = re.search(rb'"Data": ?"([^"]+)"', body)  # SES: a whole MIME message inside
    return raw is not None and _holds(b64decode(raw[1]), file)


def _smtp(answer: Answer) -> bool:
    return all("@sender.example" in m.message_id for m in answer.messages)  # our own Message-ID is the id
