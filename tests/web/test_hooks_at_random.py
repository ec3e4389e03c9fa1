"""The door for webhooks against a hundred thousand bodies that nobody signed, and what hypothesis can think of."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.tellers import TELLERS
from tests.providers.tellers.teller import Letter, Word
from tests.web.door import ADA, Door, Headers, open_door, raw, without_secrets

BODIES, AT_ONCE = 100_000, 100
KINDS = sorted(TELLERS)
LETTER = Letter("0195f3a0-0000-7000-8000-000000000001", None, (ADA,), "m-1", "")
REASONS = frozenset(
    (
        "missing_header",
        "malformed",
        "bad_signature",
        "stale",
        "replayed",
        "unknown_topic",
        "missing_token",
        "duplicate",
        "unavailable",
    )
)
STRUCTURE = b'{}[]",:\\\x00\xff\r\n0-'
Bytes = Callable[[random.Random, bytes], bytes]


# -- ways to spoil a body


def _noise(chance: random.Random, body: bytes) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 7, 60, 900)))


def _flip(chance: random.Random, body: bytes) -> bytes:
    spoilt = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        spoilt[chance.randrange(len(spoilt))] = (
            chance.choice(STRUCTURE) if chance.random() < 0.5 else chance.randrange(256)
        )
    return bytes(spoilt)


def _cut(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))]


def _leave_out(chance: random.Random, body: bytes) -> bytes:
    start = chance.randrange(len(body))
    return body[:start] + body[start + chance.randint(1, 80) :]


def _repeat(chance: random.Random, body: bytes) -> bytes:
    start = chance.randrange(len(body))
    return body[:start] + body[start : start + chance.randint(1, 40)] * chance.randint(2, 20) + body[start:]


def _nest(chance: random.Random, body: bytes) -> bytes:
    depth = chance.choice((10, 300, 3000))
    return chance.choice((b'{"signature":', b"[", b'{"Message":')) * depth + body[:200]


def _re_encode(chance: random.Random, body: bytes) -> bytes:
    return body.decode("latin-1").encode(chance.choice(("utf-8", "utf-16", "utf-32-be", "utf-7")))


SPOIL: Sequence[Bytes] = (_noise, _flip, _flip, _flip, _cut, _leave_out, _repeat, _nest, _re_encode)


def _headers(chance: random.Random, known: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Some of what providers send; values as they should be, spoilt, or out of thin air."""
    for name, value in known:
        luck = chance.random()
        if luck < 0.8:
            yield name, value
        elif luck < 0.9:
            yield name, _flip(chance, value or b"x")
        elif luck < 0.95:
            yield name, chance.randbytes(chance.choice((0, 1, 40)))


class Stranger:
    """Has seen genuine deliveries, and may change them, but not sign. Passwords and our tokens were not to be seen."""

    def __init__(self, door: Door) -> None:
        self.posts = {kind: without_secrets(door.genuine(kind, LETTER)) for kind in KINDS}
        self.known = [header for post in self.posts.values() for header in raw(post.headers)]

    def attempt(self, chance: random.Random) -> tuple[str, Headers, bytes]:
        kind = chance.choice(KINDS)
        post = self.posts[kind if chance.random() < 0.9 else chance.choice(KINDS)]
        known = raw(post.headers) if chance.random() < 0.8 else chance.sample(self.known, 4)
        return kind, list(_headers(chance, known)), chance.choice(SPOIL)(chance, post.body)


def test_a_hundred_thousand_bodies_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_door(tmp_path) as door:
        stranger, chance = Stranger(door), random.Random(2026)
        for kind in ("mailgun", "resend", "sendgrid", "ses"):  # what was kept before can be said again
            assert door.tell(kind, stranger.posts[kind]) == 200
        before, kept, position = door.outcomes(), door.kept(), door.position()

        async def attack() -> Counter[int]:
            statuses: Counter[int] = Counter()
            for _ in range(BODIES // AT_ONCE):
                attempts = [stranger.attempt(chance) for _ in range(AT_ONCE)]
                asked = (door.ask(f"/hooks/{kind}", headers, body) for kind, headers, body in attempts)
                statuses.update(await asyncio.gather(*asked))
            return statuses

        statuses = door.run(attack())
        outcomes = door.outcomes() - before
        assert set(statuses) <= {200, 401, 503}
        assert statuses[503] == outcomes["ses", "unavailable"]  # a certificate that there might be, but cannot be had
        assert statuses[401] > BODIES * 0.97
        assert statuses[200] == sum(number for (_, outcome), number in outcomes.items() if outcome == "duplicate")
        assert sum(outcomes.values()) == BODIES
        assert {outcome for _, outcome in outcomes} <= REASONS
        assert (door.kept(), door.position()) == (kept, position)
    assert caplog.messages == []  # no verifier stumbled


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=8,
)
NAMES = (
    *("authorization", "content-type", "svix-id", "svix-timestamp", "svix-signature", "webhook-id"),
    *("x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp", "x-amz-sns-message-type"),
)
MAILGUN = st.fixed_dictionaries(
    {"signature": st.dictionaries(st.sampled_from(["timestamp", "token", "signature"]), JSON)}
)
SNS = st.dictionaries(
    st.sampled_from(
        ["Type", "MessageId", "TopicArn", "Message", "Timestamp", "Signature", "SigningCertURL", "SignatureVersion"]
    ),
    JSON,
)


def test_whatever_hypothesis_finds_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    documents = (JSON | MAILGUN | SNS).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    headers = st.lists(st.tuples(st.sampled_from(NAMES).map(str.encode), st.binary(max_size=40)), max_size=5)

    with open_door(tmp_path) as door:

        @settings(max_examples=400, deadline=None)
        @given(st.sampled_from(KINDS), headers, st.lists(st.binary(max_size=60) | documents, min_size=1, max_size=3))
        def refused(kind: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> None:
            assert door.knock(f"/hooks/{kind}", headers, *chunks) == 401

        refused()
        assert (door.kept(), door.position()) == (0, 0)
    assert caplog.messages == []


ODD: Sequence[object] = (
    None,
    True,
    -1,
    10**3000,
    float("nan"),
    "",
    "\0",
    "x" * 5000,
    [],
    {},
    [[{"a": None}]],
    "\u202e\x1b[2J",
)


def _odd_versions(document: Any) -> Iterator[Any]:
    """The document with one value at a time replaced."""
    if not isinstance(document, (dict, list)):
        return
    for place, value in document.items() if isinstance(document, dict) else enumerate(document):
        for odd in (*ODD, *_odd_versions(value)):
            copy = document.copy()
            copy[place] = odd
            yield copy


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "smtp"])
@pytest.mark.parametrize("word", ["delivered", "bounced"])
def test_no_value_is_too_odd_to_be_translated(
    tmp_path: Path, kind: str, word: Word, caplog: pytest.LogCaptureFixture
) -> None:
    teller = TELLERS[kind]
    with open_door(tmp_path) as door:
        letter = door.sent(kind)
        versions = list(_odd_versions(json.loads(teller.event(word, letter, ADA, door.now))))
        chosen = random.Random(kind).sample(versions, min(len(versions), 300))
        posts = [
            teller.sign(json.dumps(version).encode("utf-8", "surrogatepass"), door.now, str(number))
            for number, version in enumerate(chosen)
        ]

        async def told() -> list[int]:
            return await asyncio.gather(*(door.ask(f"/hooks/{kind}", raw(post.headers), post.body) for post in posts))

        assert set(door.run(told())) == {200}
        door.translate()
        assert {entry.state for entry in door.entries()} <= {"done", "unmatched"}
        assert set(door.reports(letter)) <= {
            f"email.recipient_{done}" for done in ("delivered", "delivery_failed", "suppressed")
        }
    assert caplog.messages == []
