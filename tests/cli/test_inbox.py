"""inbox list, show and replay: what a provider delivered, and translating it again."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from click.testing import CliRunner

from infrastructure.cli import main
from infrastructure.settings import child_environment
from tests.in_process import Postledger, in_process
from tests.providers.tellers import smtp
from tests.providers.tellers.teller import Letter, Post, Word
from tests.service import run

T = TypeVar("T")
ADA = "ada@example.com"
NOBODYS = "0195f3a0-0000-7000-8000-000000000001"
# What a terminal would act on: clear the screen, set the title, ring, and CSI as one character.
ACTED_ON = ("\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\r")
ODD = f"Subject: odd\r\n\r\n{''.join(ACTED_ON)}the end".encode()


@dataclass
class Relay:
    """A service that has sent one email through a mail server, and has no worker any more: deliveries wait."""

    directory: Path
    url: str
    letter: Letter

    @property
    def settings(self) -> dict[str, str]:
        stores = {"database_url": f"sqlite:///{self.directory}/postledger.db", "blob_url": f"file://{self.directory}/b"}
        return {**stores, "providers": f"relay={self.url}", "api_key": "pl_test"}

    def told(self, word: Word, letter: Letter | None = None) -> None:
        mail = smtp.event(word, letter or self.letter, ADA, datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.post(smtp.sign(mail, datetime.now(UTC), ""))

    def post(self, post: Post) -> None:
        assert self._ask(lambda postledger: postledger.tell(post)) == 200

    def status(self) -> str:
        return self._ask(lambda postledger: postledger.status(self.letter.email_id))

    def _ask(self, work: Callable[[Postledger], Awaitable[T]]) -> T:
        async def asking() -> T:
            async with in_process(self.directory, "relay", self.url) as postledger:
                return await work(postledger)

        return asyncio.run(asking())

    def inbox(self, *arguments: str, code: int = 0) -> Any:
        """What `postledger inbox …` answers when its output is no terminal."""
        told = CliRunner().invoke(main, ["inbox", *arguments], env=child_environment(self.settings))
        assert told.exit_code == code, told.output
        return json.loads(told.stdout) if code == 0 else told.stderr

    def listed(self, *filters: str) -> list[Any]:
        rows: list[Any] = self.inbox("list", *filters)["data"]
        return rows

    def on_a_terminal(self, *arguments: str) -> str:
        """What somebody sees who asks at a terminal."""
        ours, theirs = pty.openpty()
        environment = child_environment(self.settings) | {"TERM": "xterm", "COLUMNS": "80"}
        command = [sys.executable, "-m", "infrastructure.cli", "inbox", *arguments]
        with subprocess.Popen(command, cwd=self.directory, env=environment, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            with suppress(OSError):  # how Linux says that the other end is closed
                while data := os.read(ours, 1 << 16):
                    seen += data
        os.close(ours)
        assert process.returncode == 0, seen
        return seen.decode()


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Relay:
    directory = tmp_path_factory.mktemp("relay")

    async def send() -> Relay:
        async with smtp.TELLER.office(30) as office, in_process(directory, "relay", office.url) as postledger:
            async with postledger.working():
                id = await postledger.send(ADA)
                await postledger.until(lambda: sent(postledger, id))
            return Relay(directory, office.url, office.letters[0])

    async def sent(postledger: Postledger, id: str) -> bool:
        return await postledger.status(id) == "dispatched"

    return asyncio.run(send())


def test_an_entry_goes_from_new_to_done_by_replaying_it_and_no_further(relay: Relay) -> None:
    relay.told("bounced")
    (new,) = relay.listed()
    assert (new["provider"], new["state"], new["kinds"], new["statements"]) == ("relay", "new", "", 0)
    assert relay.inbox("replay", new["id"]) == {"deliveries": 1, "events": 1, "unmatched": 0}
    assert relay.status() == "bounced"
    (done,) = relay.listed()
    assert done == {**new, "state": "done", "kinds": "bounced", "statements": 1, "next_try_at": None}
    assert relay.inbox("replay") == {"deliveries": 1, "events": 0, "unmatched": 0}


def test_filters_narrow_what_is_listed_and_replayed(relay: Relay) -> None:
    relay.told("delivered", Letter(NOBODYS, None, (ADA,), "m", smtp.token(NOBODYS, 0)))
    (new,) = relay.listed("--state", "new")
    assert relay.inbox("replay", "--state", "new") == {"deliveries": 1, "events": 0, "unmatched": 1}
    (unmatched,) = relay.listed("--state", "unmatched", "--kind", "delivered", "--provider", "relay")
    assert (unmatched["id"], unmatched["unmatched"]) == (new["id"], 1)
    assert unmatched["next_try_at"] > unmatched["received_at"]
    before, second = len(relay.listed()), unmatched["received_at"][:19]
    assert {row["id"] for row in relay.listed("--since", second)} >= {unmatched["id"]}
    assert unmatched["id"] not in {row["id"] for row in relay.listed("--until", second)}
    assert relay.listed("--since", "2100-01-01") == relay.listed("--provider", "nobody") == []
    assert relay.listed("--kind", "complained") == []
    assert relay.inbox("replay", "--until", "2000-01-01") == {"deliveries": 0, "events": 0, "unmatched": 0}
    page = relay.inbox("list", "--limit", "1")
    assert (page["has_more"], [row["id"] for row in page["data"]]) == (before > 0, [unmatched["id"]])


def test_one_is_shown_as_it_came(relay: Relay) -> None:
    mail = smtp.sign(ODD, datetime.now(UTC), "")
    relay.post(mail)
    shown = relay.inbox("show", relay.listed()[0]["id"])
    assert shown["body"].encode() == mail.body
    assert shown["headers"] == {"content-type": "message/rfc822", "user-agent": shown["headers"]["user-agent"]}
    assert shown["state"] == "new"


def test_a_terminal_is_given_nothing_to_act_on(relay: Relay) -> None:
    relay.post(smtp.sign(ODD + b" again", datetime.now(UTC), ""))
    id = relay.listed()[0]["id"]
    shown, listed = relay.on_a_terminal("show", id), relay.on_a_terminal("list")
    assert "the end again" in shown
    assert id in shown
    assert id in listed  # whole, to be copied
    for sequence in ACTED_ON[:3]:
        assert sequence not in shown + listed
    assert "\r" not in shown.replace("\r\n", "")  # which the terminal itself makes of a line's end
    assert "Translated 1 deliveries" in relay.on_a_terminal("replay", id)


def test_a_pipe_gets_no_escape_either(relay: Relay) -> None:
    relay.post(smtp.sign(ODD + b" once more", datetime.now(UTC), ""))
    told = run(relay.directory, "inbox", "show", relay.listed()[0]["id"], settings=relay.settings)
    assert "once more" in told.stdout
    assert "\x1b" not in told.stdout


@pytest.mark.parametrize("command", ["show", "replay"])
def test_what_is_not_there_is_not_found(relay: Relay, command: str) -> None:
    assert "inbox list" in relay.inbox(command, str(uuid4()), code=4)


@pytest.mark.parametrize(
    "arguments",
    [("show", "no-id"), ("show",), ("list", "--state", "odd"), ("list", "--kind", "odd"), ("list", "--since", "soon")],
)
def test_wrong_usage_is_told_so(relay: Relay, arguments: tuple[str, ...]) -> None:
    assert "Usage" in relay.inbox(*arguments, code=2)


def test_without_its_provider_a_delivery_waits(relay: Relay) -> None:
    relay.told("delivered", Letter(NOBODYS, None, (ADA,), "m", smtp.token(NOBODYS, 1)))
    id = relay.listed()[0]["id"]
    elsewhere = {**relay.settings, "providers": "sandbox://default?dir=var/sandbox"}
    told = run(relay.directory, "inbox", "replay", id, settings=elsewhere)
    assert json.loads(told.stdout) == {"deliveries": 1, "events": 0, "unmatched": 0}
    (failed,) = relay.listed("--state", "failed")
    assert failed["id"] == id
    assert failed["next_try_at"] is not None
    assert relay.inbox("replay", id)["unmatched"] == 1
