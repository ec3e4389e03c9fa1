"""The example of docs/adding-a-provider.md: Pigeon passes the contract suite, and does what the page says of it."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.errors import ProviderTrouble, Untrusted
from application.ports import EmailProvider, FeedbackSource, Hook, ListedSuppression, SuppressionSource
from domain.answer import Answer
from domain.feedback import Kind
from tests.docs_pigeon import FEEDBACK, PigeonProvider, PigeonSettings, translate
from tests.mail import EMAIL_ID, NOW, attach, outgoing
from tests.providers import test_contract
from tests.providers.contract import RETRY_AFTER, Behaviour, HttpRig, Rig, closing
from tests.providers.http_stub import Answered, HttpStub, Reaction, Received, json_answer

# -- the rig


def accepted(number: int = 0) -> Answered:
    return json_answer({"id": f"coo-{number}"}, 201)


def refused(status: int, error: str, headers: Mapping[str, str] | None = None) -> Answered:
    return json_answer({"error": error, "message": "No."}, status, headers)


SAYS: Mapping[Behaviour, Reaction] = {
    Behaviour.ACCEPT: accepted(),
    Behaviour.SUPPRESS: refused(422, "suppressed"),
    Behaviour.PERMANENT: refused(422, "invalid_message"),
    Behaviour.RATE_LIMIT: refused(429, "slow_down", {"Retry-After": str(RETRY_AFTER)}),
    Behaviour.QUOTA: refused(429, "monthly_limit"),
    Behaviour.TRANSIENT: refused(503, "maintenance"),
    Behaviour.CONFIG: refused(403, "sender_not_verified"),
    Behaviour.MALFORMED: json_answer({"message": "Coo."}, 201),
}


def provider_at(host: str, options: str = "") -> PigeonProvider:
    url = f"pigeon://s3cret@{host}?tls=off&timeout=0.5{options}"
    return PigeonProvider("pigeon", PigeonSettings.from_url(url), lambda: NOW)


@asynccontextmanager
async def pigeon() -> AsyncIterator[Rig]:
    numbers = count(1)

    def accept(_: Received) -> Answered:
        return accepted(next(numbers))  # every call gets an id of its own

    async with HttpStub() as stub:
        rig = HttpRig(provider_at(stub.host), stub, SAYS)
        stub.default = accept
        async with closing(rig) as closed_in_the_end:
            yield closed_in_the_end


# -- the contract suite


@pytest.mark.parametrize("behaviour", Behaviour)
def test_an_answer_is_classified(behaviour: Behaviour) -> None:
    test_contract.test_an_answer_is_classified(pigeon, behaviour)


@pytest.mark.parametrize("behaviour", [Behaviour.SILENCE, Behaviour.RESET_LATE, Behaviour.TRANSIENT])
def test_nothing_is_sent_twice_by_itself(behaviour: Behaviour) -> None:
    test_contract.test_nothing_is_sent_twice_by_itself(pigeon, behaviour)


def test_every_recipient_is_accounted_for() -> None:
    test_contract.test_every_recipient_is_accounted_for(pigeon)


@pytest.mark.parametrize("behaviour", [Behaviour.SILENCE, Behaviour.TRANSIENT, Behaviour.PERMANENT])
def test_trouble_with_the_first_recipient_is_not_trouble_with_all(behaviour: Behaviour) -> None:
    test_contract.test_trouble_with_the_first_recipient_is_not_trouble_with_all(pigeon, behaviour)


# -- webhooks

SECRET = "pigeonhole"  # noqa: S105 - of this test
DELIVERED = json.dumps(
    {
        "id": "evt-1",
        "event": "delivered",
        "at": "2026-03-01T12:00:00Z",
        "message_id": "coo-1",
        "recipient": "ada@example.com",
        "reference": {"pl_email_id": str(EMAIL_ID)},
    }
).encode()


def signed(body: bytes, key: str = SECRET, at: int = int(NOW.timestamp())) -> Hook:
    signature = hmac.digest(key.encode(), f"{at}.".encode() + body, "sha256").hex()
    return Hook({"pigeon-timestamp": str(at), "pigeon-signature": signature}, body, NOW)


def verified(hook: Hook, options: str = "&webhook_key=next&webhook_key=pigeonhole") -> str:
    return asyncio.run(provider_at("127.0.0.1:9", options).verify(hook))


def test_a_repetition_has_the_same_key() -> None:
    assert verified(signed(DELIVERED)) == verified(signed(DELIVERED, at=int(NOW.timestamp()) + 60))
    assert verified(signed(DELIVERED)) == verified(signed(DELIVERED, key="next"))
    assert verified(signed(DELIVERED)) != verified(signed(DELIVERED + b" "))


UNSIGNED = Hook({}, DELIVERED, NOW)
UNTRUSTED: Mapping[str, tuple[Hook, str]] = {
    "bad_signature": (signed(DELIVERED, key="wrong"), "&webhook_key=pigeonhole"),
    "malformed": (replace(UNSIGNED, headers={"pigeon-timestamp": "now", "pigeon-signature": "é"}), "&webhook_key=k"),
    "missing_header": (UNSIGNED, "&webhook_key=pigeonhole"),
    "no_key": (signed(DELIVERED), ""),
    "stale": (signed(DELIVERED, at=int(NOW.timestamp()) - 301), "&webhook_key=pigeonhole"),
}


@pytest.mark.parametrize("reason", UNTRUSTED)
def test_what_is_not_proven_is_refused(reason: str) -> None:
    with pytest.raises(Untrusted) as refusal:
        verified(*UNTRUSTED[reason])
    assert refusal.value.reason == reason


@pytest.mark.parametrize("word", FEEDBACK)
def test_every_word_is_translated(word: str) -> None:
    event, _, cause = word.partition("/")
    (said,) = translate(Hook({}, json.dumps({"event": event, "cause": cause, "id": "evt-1"}).encode(), NOW))
    assert (said.kind, said.reason, said.provider_type) == (FEEDBACK[word].kind, FEEDBACK[word].reason, word)


def test_what_a_delivery_brings_is_read() -> None:
    (said,) = translate(Hook({}, DELIVERED, NOW))
    assert (said.email_id, said.recipient, said.provider_message_id) == (EMAIL_ID, "ada@example.com", "coo-1")
    assert (said.occurred_at, said.keys) == (NOW, ("evt-1",))


_FIELDS = ("id", "event", "cause", "at", "reference", "recipient", "message_id", "smtp_status", "words", "url")
_ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.just({"pl_email_id": []}) | st.just("delivered")
)


@given(st.binary() | st.dictionaries(st.sampled_from(_FIELDS), _ANYTHING).map(lambda said: json.dumps(said).encode()))
def test_anything_at_all_is_translated(body: bytes) -> None:
    assert all(isinstance(said.kind, Kind) for said in translate(Hook({}, body, NOW)))


# -- look-ups, the health check, the suppression list


def asked(*answers: Answered, attempt: int = 1, age: timedelta = timedelta(minutes=15)) -> Answer | None:
    message = outgoing(attempt=attempt)
    message = replace(message, attempt=message.attempt.model_copy(update={"occurred_at": NOW - age}))

    async def run() -> Answer | None:
        async with HttpStub() as stub:
            stub.answers.extend(answers)
            provider = provider_at(stub.host)
            try:
                return await provider.look_up(message)
            finally:
                await provider.close()

    return asyncio.run(run())


def listed(minutes_ago: int) -> Answered:
    at = (NOW - timedelta(minutes=minutes_ago)).isoformat()
    return json_answer({"messages": [{"id": "coo-7", "created_at": at}]})


def test_a_message_that_is_there_settles_the_doubt() -> None:
    found = asked(listed(14))
    assert found is not None
    assert [message.message_id for message in found.messages] == ["coo-7"]


def test_nothing_there_is_an_empty_answer() -> None:
    assert asked(json_answer({"messages": []})) == Answer()


def test_a_later_attempt_is_not_proved_by_an_earlier_ones_message() -> None:
    assert asked(listed(60), attempt=2) == Answer()


@pytest.mark.parametrize("answer", [Answered(500), json_answer({"error": "unknown_key"}, 401), json_answer([])])
def test_no_telling_is_no_answer(answer: Answered) -> None:
    assert asked(answer) is None


def test_what_is_too_old_to_be_searched_is_not_asked_for() -> None:
    assert asked(json_answer({"messages": []}), age=timedelta(days=31)) is None


def test_attachments_are_sent_as_base64() -> None:
    async def run() -> Any:
        async with HttpStub(accepted()) as stub:
            provider = provider_at(stub.host)
            await provider.send(outgoing(attachments=[attach(b"coo", "coo.txt", "text/plain")]))
            await provider.close()
            return stub.requests[0].json()

    assert asyncio.run(run())["attachments"] == [{"name": "coo.txt", "type": "text/plain", "content": "Y29v"}]


def checked(answer: Reaction) -> str | None:
    async def run() -> str | None:
        async with HttpStub(answer) as stub:
            provider = provider_at(stub.host)
            try:
                return await provider.check()
            finally:
                await provider.close()

    return asyncio.run(run())


def test_a_check_says_what_is_wrong() -> None:
    assert checked(json_answer({})) is None
    assert checked(refused(401, "unknown_key")) == "Pigeon answers 401 when asked for the account."


def suppressions(*answers: Answered) -> list[ListedSuppression]:
    async def run() -> list[ListedSuppression]:
        async with HttpStub(Answered(500)) as stub:
            stub.answers.extend(answers)
            provider = provider_at(stub.host)
            try:
                return [each async for each in provider.suppressions()]
            finally:
                await provider.close()

    return asyncio.run(run())


def test_the_suppression_list_is_read_page_by_page() -> None:
    first = {"suppressions": [{"address": "ada@example.com", "cause": "bounce"}], "next": "/v1/suppressions?page=2"}
    second = {"suppressions": [{"address": "bob@example.com", "cause": "whim"}]}
    found = suppressions(json_answer(first), json_answer(second))
    assert [(each.address, each.cause) for each in found] == [
        ("ada@example.com", "bounce"),
        ("bob@example.com", "manual"),
    ]
    with pytest.raises(ProviderTrouble):
        suppressions(json_answer(first))


def test_it_plays_all_three_roles() -> None:
    provider: EmailProvider = provider_at("127.0.0.1:9")
    assert isinstance(provider, FeedbackSource)
    assert isinstance(provider, SuppressionSource)
