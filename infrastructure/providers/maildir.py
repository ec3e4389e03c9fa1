"""Bounces that a mail server delivers into a Maildir: each is verified, stored and put away.

A file in `new/` is stored first and moved to `cur/` afterwards. A crash in between stores it once more, under the same
key. The standard library's `mailbox` is not used: it parses a message whole before it moves it.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from application.errors import StoreUnavailable, Untrusted, VerificationUnavailable
from application.ports import Clock, FeedbackSource, Hook

_LONGEST = 5 * 1024 * 1024  # bytes; a report stands in front of the message that it returns
_SEEN, _FLAGGED = "S", "F"

Keep = Callable[[Hook, str], Awaitable[None]]  # stores durably under the key; raises StoreUnavailable


class MaildirFeedback:
    """Reads one Maildir for one provider, `poll` seconds apart.

    What is not to be trusted stays in `cur/`, flagged, and is told to `on_refused` by its reason. A mail that cannot be
    read, or a Maildir that is not there, is tried again at the next look.
    """

    def __init__(
        self,
        path: Path,
        source: FeedbackSource,
        clock: Clock,
        on_refused: Callable[[str], None],
        *,
        poll: float = 5.0,
    ) -> None:
        self._new, self._cur = path / "new", path / "cur"
        self._source = source
        self._clock = clock
        self._on_refused = on_refused
        self._poll = poll

    async def run(self, keep: Keep, stop: asyncio.Event) -> None:
        """Until `stop` is set, which the mail in hand does not stop for."""
        while not stop.is_set():
            with suppress(StoreUnavailable, VerificationUnavailable):  # then at the next look
                await self._look(keep, stop)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._poll)

    async def close(self) -> None:
        """Nothing is open."""

    async def _look(self, keep: Keep, stop: asyncio.Event) -> None:
        for name in await asyncio.to_thread(self._names):
            if stop.is_set():
                return
            body = await asyncio.to_thread(self._read, name)
            if body is not None:
                flag = await self._take(Hook({}, body, self._clock()), keep)
                await asyncio.to_thread(self._put_away, name, flag)

    async def _take(self, hook: Hook, keep: Keep) -> str:
        try:
            key = await self._source.verify(hook)
        except Untrusted as untrusted:
            self._on_refused(untrusted.reason)
            return _FLAGGED
        await keep(hook, key)
        return _SEEN

    def _names(self) -> list[str]:
        """What has come in, the oldest first: the names begin with the time."""
        try:
            return sorted(name for name in os.listdir(self._new) if not name.startswith("."))
        except OSError:
            return []

    def _read(self, name: str) -> bytes | None:
        """The beginning of a mail; None for what is no file, or cannot be read now. No link is followed."""
        with suppress(OSError):
            descriptor = os.open(self._new / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    with open(descriptor, "rb", closefd=False) as file:
                        return file.read(_LONGEST)
            finally:
                os.close(descriptor)
        return None

    def _put_away(self, name: str, flag: str) -> None:
        with suppress(OSError):  # it is taken again at the next look, which is harmless
            self._cur.mkdir(exist_ok=True)
            os.rename(self._new / name, self._cur / f"{name.partition(':')[0]}:2,{flag}")
