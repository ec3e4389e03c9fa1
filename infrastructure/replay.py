"""Events of the past, told once more: to a file or a URL that somebody chose, and to nobody else.

Nothing here, and nothing it imports, can reach a provider; an import contract holds it to that.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from io import BufferedRandom
from pathlib import Path
from typing import Protocol

from application.ports import Clock, Ledger, Recorded
from infrastructure.outbound import Outbound, OutboundTrouble, Unanswered
from infrastructure.standard_webhooks import signed

Encode = Callable[[Recorded], str]  # one event as one JSON object
Progress = Callable[[int, int], None]  # (position reached, position to reach)
Pause = Callable[[float], Awaitable[None]]

_PAGE = 500
_TRIES = 7
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds between tries
_PIECE = 65_536  # bytes read at a time, backwards
_SKEW = timedelta(hours=1)  # clocks of several machines: how far times may be from the order of positions


class NotTaken(OutboundTrouble):
    """The receiver answered with something other than 2xx."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")
        self.passing = status in (408, 425, 429) or status >= 500


class Broken(Exception):
    """The file is none that a replay has written."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which events: after one position up to another, of some types, times and one tenant."""

    after: int
    up_to: int
    types: tuple[str, ...] = ()
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before
    tenant: str | None = None

    def has(self, recorded: Recorded) -> bool:
        event = recorded.event
        return (
            recorded.position <= self.up_to
            and (self.tenant is None or event.tenant == self.tenant)
            and (self.since is None or event.occurred_at >= self.since)
            and (self.until is None or event.occurred_at < self.until)
        )


class Outlet(Protocol):
    """Where events go."""

    async def reached(self) -> int:
        """The position of the last event it has got, 0 when there is none."""
        ...

    async def put(self, events: Sequence[Recorded]) -> None:
        """Returns once they are safe there."""
        ...


async def replay(
    ledger: Ledger,
    wanted: Range,
    outlet: Outlet,
    progress: Progress,
    *,
    rate: float | None = None,
    pause: Pause = asyncio.sleep,
) -> int:
    """Tell these events in order, from where the outlet stands; `rate` in events/s. Returns how many were told."""
    told, loop = 0, asyncio.get_running_loop()
    begun = loop.time()
    async for page, position in _pages(ledger, wanted, await outlet.reached(), _page(rate)):
        if page:
            await outlet.put(page)
            told += len(page)
        progress(position, wanted.up_to)
        if rate and (early := begun + told / rate - loop.time()) > 0:
            await pause(early)
    return told


async def around(ledger: Ledger, moment: datetime) -> int:
    """A position before which nothing is of that time or later, clocks of several machines considered. A bisection."""
    low, high, sought = 0, await ledger.position(), moment - _SKEW
    while low < high:
        middle = (low + high) // 2
        found = await ledger.read(middle, 1)
        if found and found[0].event.occurred_at < sought:
            low = found[0].position
        else:
            high = middle
    return low


def _page(rate: float | None) -> int:
    """A second's worth at most, so that a rate is kept evenly."""
    return _PAGE if rate is None else max(1, min(_PAGE, int(rate)))


async def _pages(
    ledger: Ledger, wanted: Range, reached: int, size: int
) -> AsyncIterator[tuple[Sequence[Recorded], int]]:
    position = max(wanted.after, reached)
    while position < wanted.up_to and (page := await ledger.read(position, size, wanted.types)):
        position = page[-1].position
        yield [recorded for recorded in page if wanted.has(recorded)], min(position, wanted.up_to)
    yield [], wanted.up_to


class FileOutlet:
    """A file of one JSON object a line. Its own last line says where to go on; half a line is cut off."""

    def __init__(self, path: Path, encode: Encode) -> None:
        self._path = path
        self._encode = encode

    async def reached(self) -> int:
        """Raises Broken, OSError."""
        return await asyncio.to_thread(self._reached)

    async def put(self, events: Sequence[Recorded]) -> None:
        lines = "".join(f"{self._encode(recorded)}\n" for recorded in events)
        await asyncio.to_thread(self._append, lines.encode())

    def _append(self, lines: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _reached(self) -> int:
        if not self._path.exists():
            self._path.touch(mode=0o600)
            return 0
        with self._path.open("r+b") as file:
            end = _newline_before(file, file.seek(0, os.SEEK_END)) + 1
            file.truncate(end)
            if not end:
                return 0
            file.seek(_newline_before(file, end - 1) + 1)
            return _position(file.read())


def _newline_before(file: BufferedRandom, end: int) -> int:
    """Where the last line break before `end` is; -1 when there is none."""
    while end:
        start = max(0, end - _PIECE)
        file.seek(start)
        if (place := file.read(end - start).rfind(b"\n")) >= 0:
            return start + place
        end = start
    return -1


def _position(line: bytes) -> int:
    with suppress(ValueError, KeyError, TypeError):
        return int(json.loads(line)["position"])
    raise Broken("Its last line is no event.")


class UrlOutlet:
    """A URL that takes batches of CloudEvents, at least once each, in order; how far it got is kept by `Marks`."""

    def __init__(
        self,
        url: str,
        outbound: Outbound,
        marks: "Marks",
        key: str,
        encode: Encode,
        clock: Clock,
        secret: bytes | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._url = url
        self._outbound = outbound
        self._marks = marks
        self._key = key
        self._encode = encode
        self._clock = clock
        self._secret = secret
        self._pause = pause

    async def reached(self) -> int:
        return await self._marks.read(self._key)

    async def put(self, events: Sequence[Recorded]) -> None:
        """Raises Refused, Unanswered, NotTaken after several tries."""
        body = f"[{','.join(map(self._encode, events))}]".encode()
        wait = _FIRST_WAIT
        for left in reversed(range(_TRIES)):
            try:
                await self._post(f"{self._key[:16]}-{events[-1].position}", body)
                break
            except (Unanswered, NotTaken) as trouble:
                if not left or (isinstance(trouble, NotTaken) and not trouble.passing):
                    raise
                await self._pause(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
        await self._marks.write(self._key, events[-1].position)

    async def _post(self, id: str, body: bytes) -> None:
        headers = {
            "Content-Type": "application/cloudevents-batch+json",
            **signed(self._secret, id, self._clock(), body),
        }
        status = await self._outbound.post(self._url, body, headers)
        if not 200 <= status < 300:
            raise NotTaken(status)


class Marks(Protocol):
    """How far each replay has got, kept durably."""

    async def read(self, key: str) -> int: ...

    async def write(self, key: str, position: int) -> None: ...


def replay_key(target: str, wanted: Range) -> str:
    """The same for the same target and the same wish, and telling neither."""
    wish = (target, wanted.after, wanted.types, str(wanted.since), str(wanted.until), wanted.tenant)
    return sha256(repr(wish).encode()).hexdigest()
