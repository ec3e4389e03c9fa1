"""Bounces from a Maildir: kept once, put away, and left alone while the store is away."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from application.errors import StoreUnavailable
from application.ports import Hook
from infrastructure.providers import verp
from infrastructure.providers.maildir import Keep, MaildirFeedback
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import EMAIL_ID, NOW

URL = "smtp://127.0.0.1:1?bounce=bounces@bounces.example.com&verp_key=secret"
TOKEN = verp.make(b"secret", EMAIL_ID, 0)
GENUINE = f"To: bounces+{TOKEN}@bounces.example.com\n\nno such user\n".encode()
FORGED = GENUINE.replace(TOKEN.encode(), verp.make(b"guessed", EMAIL_ID, 0).encode())


class Box:
    """A Maildir and what a poller did with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[str] = []
        self.kept: list[tuple[bytes, str]] = []
        for name in ("new", "cur", "tmp"):
            (path / name).mkdir()

    def put(self, name: str, body: bytes = GENUINE) -> None:
        (self.path / "new" / name).write_bytes(body)

    def names(self, folder: str) -> list[str]:
        return sorted(os.listdir(self.path / folder))

    async def keep(self, hook: Hook, key: str) -> None:
        self.kept.append((hook.body, key))

    def poller(self, url: str = URL) -> MaildirFeedback:
        source = SmtpProvider("relay", SmtpSettings.from_url(url), lambda: NOW)
        return MaildirFeedback(self.path, source, lambda: NOW, self.refused.append, poll=0.01)

    def run(self, until: Callable[[], bool], keep: Keep | None = None, url: str = URL) -> None:
        """Poll until it is so, or for five seconds."""

        async def scenario() -> None:
            stop = asyncio.Event()
            polling = asyncio.create_task(self.poller(url).run(keep or self.keep, stop))
            async with asyncio.timeout(5):
                while not until() and not polling.done():
                    await asyncio.sleep(0.005)
            stop.set()
            await polling

        asyncio.run(scenario())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_mail_is_kept_in_order_and_put_away(box: Box) -> None:
    for number in (2, 1, 3):
        box.put(f"{number}.x", GENUINE + b"%d" % number)
    box.run(lambda: not box.names("new"))
    assert [body[-1:] for body, _ in box.kept] == [b"1", b"2", b"3"]
    assert len({key for _, key in box.kept}) == 3
    assert box.names("cur") == ["1.x:2,S", "2.x:2,S", "3.x:2,S"]
    assert box.refused == []


@pytest.mark.parametrize(
    ("body", "url", "reason"),
    [
        (FORGED, URL, "bad_signature"),
        (b"To: ada@example.com\n\nhello", URL, "missing_token"),
        (b"", URL, "missing_token"),
        (GENUINE, "smtp://127.0.0.1:1", "no_key"),
    ],
)
def test_what_is_not_to_be_trusted_is_flagged_and_counted(box: Box, body: bytes, url: str, reason: str) -> None:
    box.put("1.x", body)
    box.run(lambda: not box.names("new"), url=url)
    assert (box.kept, box.refused, box.names("cur")) == ([], [reason], ["1.x:2,F"])


def test_mail_waits_while_the_store_is_away(box: Box) -> None:
    tries = 0

    async def keep(hook: Hook, key: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            assert box.names("new") == ["1.x", "2.x"]
            raise StoreUnavailable
        await box.keep(hook, key)

    box.put("1.x")
    box.put("2.x")
    box.run(lambda: not box.names("new"), keep)
    assert (tries, len(box.kept)) == (4, 2)


def test_a_crash_before_it_was_put_away_keeps_it_again_under_the_same_key(box: Box) -> None:
    async def crash(hook: Hook, key: str) -> None:
        await box.keep(hook, key)
        raise KeyError("crash")

    box.put("1.x")
    with pytest.raises(KeyError):
        box.run(lambda: False, crash)
    assert box.names("new") == ["1.x"]
    box.run(lambda: not box.names("new"))
    assert len(box.kept) == 2
    assert len({key for _, key in box.kept}) == 1


def test_only_the_beginning_of_a_huge_mail_is_read(box: Box) -> None:
    box.put("1.x", GENUINE + b"x" * 6_000_000)
    box.run(lambda: not box.names("new"))
    assert [len(body) for body, _ in box.kept] == [5 * 1024 * 1024]


def test_what_is_no_file_is_left_alone(box: Box, tmp_path: Path) -> None:
    new = tmp_path / "new"
    (new / "0.directory").mkdir()
    (new / "0.link").symlink_to("/etc/hostname")
    os.mkfifo(new / "0.pipe")
    box.put(".hidden")
    box.put("1.x")
    box.run(lambda: bool(box.names("cur")))
    assert box.names("new") == [".hidden", "0.directory", "0.link", "0.pipe"]
    assert len(box.kept) == 1


def test_a_maildir_may_come_later(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for name in ("new", "cur"):
        (tmp_path / name).rmdir()
    looks = 0

    def until() -> bool:
        nonlocal looks
        looks += 1
        if looks == 5:
            (tmp_path / "new").mkdir()
            box.put("1.x")
        return bool(box.kept) and not box.names("new")

    box.run(until)
    assert box.names("cur") == ["1.x:2,S"]


def test_mail_that_another_reader_took_is_passed_over(box: Box) -> None:
    async def keep(hook: Hook, key: str) -> None:
        await box.keep(hook, key)
        for name in box.names("new"):
            (box.path / "new" / name).unlink()

    box.put("1.x")
    box.put("2.x")
    box.run(lambda: not box.names("new"), keep)
    assert (len(box.kept), box.names("cur")) == (1, [])


def test_it_stops_between_two_mails(box: Box) -> None:
    async def scenario() -> None:
        stop = asyncio.Event()

        async def keep(hook: Hook, key: str) -> None:
            await box.keep(hook, key)
            stop.set()

        await box.poller().run(keep, stop)

    box.put("1.x")
    box.put("2.x")
    asyncio.run(scenario())
    assert (box.names("new"), box.names("cur")) == (["2.x"], ["1.x:2,S"])
