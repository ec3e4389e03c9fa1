"""Routes, policies and failover in a whole Postledger, from the settings to the history of an email."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import Postledger, in_process
from tests.smtp_server import SmtpSink

ROUTES: list[dict[str, Any]] = [
    {
        "name": "newsletters",
        "when": {"stream": "newsletters"},
        "providers": [{"name": "second"}],
        "in_doubt": "at_most_once",
        "max_attempts": 3,
    }
]


async def gone(mail: Postledger, id: str) -> list[Any]:
    async def dispatched() -> bool:
        return bool(await mail.events(id, "email.dispatched"))

    await mail.until(dispatched)
    return await mail.events(id)


def test_the_settings_decide_who_sends_what(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTLEDGER_ROUTES", json.dumps(ROUTES))
    monkeypatch.setenv("POSTLEDGER_TENANTS", '{"default": {"max_attempts": 7, "give_up_after": "PT24H"}}')

    async def scenario() -> None:
        async with SmtpSink({"MAIL": ["451 4.3.2 Not now"] * 9}) as main, SmtpSink() as second:
            urls = f"{main.url},second={second.url}"
            async with in_process(tmp_path, "main", urls, database_url) as mail, mail.working():
                routed = await mail.send("ada@example.com", stream="newsletters")
                usual = await mail.send("bob@example.com", delivery_policy={"max_attempts": 2})
                first, other = await gone(mail, routed), await gone(mail, usual)
        policy = first[0]["data"]["policy"]
        assert (policy["in_doubt"], policy["max_attempts"], policy["give_up_after"]) == ("at_most_once", 3, "P1D")
        assert first[1]["data"]["route"] == "route newsletters: the only provider"
        assert other[0]["data"]["policy"]["max_attempts"] == 2
        begun = [each["data"] for each in other if each["type"].startswith("email.delivery_started")]
        assert [each["provider"] for each in begun] == ["main", "second"]
        assert begun[1]["route"].startswith("route default: second (priority 2), because main failed at ")
        assert (len(main.messages), len(second.messages)) == (0, 2)

    asyncio.run(scenario())
