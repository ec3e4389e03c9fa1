"""What providers say of their rates: when everybody has to wait, and what an account is granted."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from application.errors import ProviderTrouble
from application.ports import LimitSource, Rate
from domain.answer import Answer
from infrastructure.providers import mailgun, postmark, resend, sendgrid
from infrastructure.providers.each import combine
from infrastructure.providers.http import Reply
from infrastructure.providers.pauses import LONGEST
from infrastructure.providers.ses import SesProvider, SesSettings, granted
from infrastructure.providers.smtp_replies import classify
from infrastructure.providers.smtp_transaction import nothing_known
from tests.mail import NOW, outgoing
from tests.providers.http_stub import HttpStub, json_answer

SOON = str(int(NOW.timestamp()) + 42)
DATE = "Sun, 01 Mar 2026 12:00:42 GMT"
Parse = Callable[[Reply], Answer]


def by_resend(reply: Reply) -> Answer:
    return resend.parse(outgoing(), reply, "main", NOW)


def by_sendgrid(reply: Reply) -> Answer:
    return sendgrid.parse(outgoing(), reply, NOW)


def by_mailgun(reply: Reply) -> Answer:
    return mailgun.parse(outgoing().recipients[0], reply, NOW)


def by_postmark(reply: Reply) -> Answer:
    return postmark.parse(outgoing(), reply, "main", NOW)


@pytest.mark.parametrize(
    ("parse", "status", "headers", "body", "pause"),
    [
        (by_resend, 200, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, b'{"id": "m"}', 1),
        (by_resend, 200, {"ratelimit-remaining": "1", "ratelimit-reset": "1"}, b'{"id": "m"}', None),
        (by_resend, 200, {"x-resend-daily-quota": "0", "ratelimit-reset": "1"}, b'{"id": "m"}', None),
        (by_resend, 429, {"retry-after": "3"}, b'{"name": "rate_limit_exceeded"}', 3),
        (by_resend, 429, {"ratelimit-reset": "2"}, b'{"name": "rate_limit_exceeded"}', 2),
        (by_resend, 429, {"retry-after": "9"}, b'{"name": "daily_quota_exceeded"}', 9),
        (by_resend, 409, {"retry-after": "9"}, b'{"name": "concurrent_idempotent_requests"}', None),
        (by_resend, 503, {"retry-after": "9"}, b"", None),
        (by_sendgrid, 202, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": SOON}, b"", 42),
        (by_sendgrid, 202, {"x-ratelimit-remaining": "9", "x-ratelimit-reset": SOON}, b"", None),
        (by_sendgrid, 202, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"}, b"", None),
        (by_sendgrid, 429, {"x-ratelimit-reset": SOON}, b"", 42),
        (by_sendgrid, 429, {"retry-after": "7"}, b"", 7),
        (by_sendgrid, 429, {"retry-after": "86400"}, b"", LONGEST.total_seconds()),
        (by_sendgrid, 500, {"retry-after": "7"}, b"", None),
        (by_mailgun, 200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": SOON}, b'{"id": "<m>"}', 42),
        (by_mailgun, 200, {"x-ratelimit-remaining": "5", "x-ratelimit-reset": SOON}, b'{"id": "<m>"}', None),
        (by_mailgun, 429, {}, b'{"message": "limit exceeded, try again after Sun, 01 Mar 2026 12:00:42 UTC"}', 42),
        (by_mailgun, 503, {"retry-after": "7"}, b"{}", None),
        (by_postmark, 429, {"retry-after": "7"}, b"{}", 7),
        (by_postmark, 429, {"retry-after": DATE}, b"{}", 42),
        (by_postmark, 429, {"retry-after": "whenever"}, b"{}", None),
        (by_postmark, 429, {"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, b"{}", None),
        (by_postmark, 422, {"retry-after": "7"}, b"{}", None),
    ],
)
def test_only_a_word_about_the_accounts_rate_is_a_pause_for_everybody(
    parse: Parse, status: int, headers: Mapping[str, str], body: bytes, pause: float | None
) -> None:
    answer = parse(Reply(status, headers, body))
    assert answer.pause == (None if pause is None else timedelta(seconds=pause))


@pytest.mark.parametrize(
    ("words", "paused"),
    [
        ("4.7.0 too many messages from you", True),
        ("4.3.2 shutting down", False),
        ("4.7.0 greylisted, come back", False),
    ],
)
def test_a_relay_pauses_where_it_says_that_we_are_too_fast(words: str, paused: bool) -> None:
    assert (nothing_known(classify("mail_from", 421, words), words).pause is not None) == paused


def test_a_pause_that_came_with_one_of_several_calls_is_the_whole_answers() -> None:
    message = outgoing(["ada@example.com", "bob@example.com"])
    ada, bob = message.recipients
    said = [(ada, Answer(pause=timedelta(seconds=5))), (bob, Answer(pause=timedelta(seconds=2)))]
    assert combine(message, said, "main", NOW).pause == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("quota", "rates"),
    [
        ({"MaxSendRate": 14.0, "Max24HourSend": 50_000.0, "SentLast24Hours": 49_990.5}, ["14/s", "9/m"]),
        ({"MaxSendRate": 1.0, "Max24HourSend": 200.0, "SentLast24Hours": 201.0}, ["1/s", "0/m"]),
        ({"MaxSendRate": 0.5, "Max24HourSend": -1.0, "SentLast24Hours": 7.0}, ["1/s"]),  # below one, SES itself says no
        ({"MaxSendRate": "fast", "Max24HourSend": None}, []),
        (None, []),
    ],
)
def test_what_ses_grants_is_a_rate_and_what_is_left_of_the_day(quota: Any, rates: list[str]) -> None:
    units = {"s": timedelta(seconds=1), "m": timedelta(minutes=1)}
    expected = [Rate(int(count), units[unit]) for count, _, unit in (rate.partition("/") for rate in rates)]
    assert list(granted({"SendQuota": quota})) == expected


def test_ses_is_asked_for_its_grants_once_a_minute() -> None:
    now = NOW

    async def run() -> None:
        nonlocal now
        answer = json_answer({"SendQuota": {"MaxSendRate": 14, "Max24HourSend": -1, "SentLast24Hours": 3}})
        async with HttpStub(answer) as stub:
            provider = SesProvider(
                "ses", SesSettings.from_url(f"ses://K:S@{stub.host}?region=eu-west-1&tls=off"), lambda: now
            )
            assert isinstance(provider, LimitSource)
            for _ in range(3):
                assert await provider.limits() == [Rate(14, timedelta(seconds=1))]
            assert [call.path for call in stub.requests] == ["/v2/email/account"]
            now += timedelta(seconds=60)
            stub.answers.append(json_answer({"message": "no"}, 403))
            with pytest.raises(ProviderTrouble):
                await provider.limits()
            await provider.close()

    asyncio.run(run())
