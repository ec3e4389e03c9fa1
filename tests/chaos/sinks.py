"""Two providers that fail by script, an SMTP server and SendGrid's API, and count what they took."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import Self

from tests.providers.http_stub import Answered, Broken, HttpStub, Reaction, Received, json_answer
from tests.smtp_server import HANG_UP, SILENCE, SLOW, Rudeness, Session, SmtpSink

Copy = tuple[str, str]  # Message-ID and recipient


class Mood(StrEnum):
    """How a provider is; whatever is wrong with it is wrong with most calls."""

    WELL = "well"
    GONE = "gone"  # nobody listens
    BUSY = "busy"  # 451 and 500
    LIMITED = "limited"  # 421 and 429
    CUT = "cut"  # hangs up in the middle of a message
    HANGING = "hanging"  # takes it and never answers
    DROPPING = "dropping"  # takes it and hangs up
    SLOW = "slow"


_OFTEN = 0.8
_SMTP: dict[Mood, tuple[str, str | Rudeness]] = {
    Mood.BUSY: ("MAIL", "451 4.3.0 Try again later"),
    Mood.LIMITED: ("MAIL", "421 4.7.0 Too much mail"),
    Mood.CUT: ("BODY", HANG_UP),
    Mood.HANGING: ("TAKEN", SILENCE),
    Mood.DROPPING: ("TAKEN", HANG_UP),
    Mood.SLOW: ("TAKEN", SLOW),
}
_YES = Answered(202, {"X-Message-Id": "taken"})
_HTTP: dict[Mood, Reaction] = {
    Mood.BUSY: Answered(500),
    Mood.LIMITED: Answered(429),
    Mood.CUT: Broken.RESET_IN_BODY,
    Mood.HANGING: Broken.SILENCE,
    Mood.DROPPING: Broken.RESET_AFTER_REQUEST,
    Mood.SLOW: Answered(202, {"X-Message-Id": "taken"}, delay=0.2),
}
_SCOPES = json_answer({"scopes": ["mail.send"]})
_TAKEN = (_YES, _HTTP[Mood.HANGING], _HTTP[Mood.DROPPING], _HTTP[Mood.SLOW])


class Smtp(SmtpSink):
    """What the session's script says depends on the mood."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.mood = Mood.WELL
        self._chance = chance

    def reaction(self, *points: str) -> str | Rudeness | None:
        point, said = _SMTP.get(self.mood, ("", None))
        return said if point in points and self._chance.random() < _OFTEN else None

    async def be(self, mood: Mood) -> None:
        if mood is Mood.GONE:
            self._server.close()
        elif self.mood is Mood.GONE:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: Session(self, loop, self._options), "127.0.0.1", self.port)
        if mood in (Mood.GONE, Mood.WELL):
            self.hang_up_on_all()
        self.mood = mood

    def taken(self) -> Counter[Copy]:
        return Counter((each.message_id, address) for each in self.messages for address in each.recipients)


class SendGrid(HttpStub):
    def __init__(self, chance: Random) -> None:
        super().__init__(_YES)
        self.mood = Mood.WELL
        self._chance = chance
        self._taken: Counter[Copy] = Counter()

    async def be(self, mood: Mood) -> None:
        if mood is Mood.GONE:
            self._server.close()
        elif self.mood is Mood.GONE:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 26)
        if mood in (Mood.GONE, Mood.WELL):
            self.hang_up()
        self.mood = mood

    def _next(self) -> Reaction:
        return _HTTP.get(self.mood, _YES) if self._chance.random() < _OFTEN else _YES

    async def _react(
        self, reaction: Reaction, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if request.path == "/v3/scopes" and reaction in _TAKEN:  # a check
            return await super()._react(_SCOPES, request, reader, writer)
        if request.path != "/v3/mail/send":  # a look-up, which needs an add-on that this account has not got
            return await super()._react(Answered(403), request, reader, writer)
        if reaction in _TAKEN:
            self._taken.update(_copies(request))
        return await super()._react(reaction, request, reader, writer)

    def taken(self) -> Counter[Copy]:
        return Counter(self._taken)


def _copies(request: Received) -> Iterator[Copy]:
    document = request.json()
    for personalization in document["personalizations"]:
        for recipient in personalization["to"]:
            yield document["headers"]["Message-ID"], recipient["email"]


class Sinks:
    """Both, in a thread of their own while the `with` lasts."""

    def __init__(self, seed: int) -> None:
        self._main, self._backup = Smtp(Random(f"{seed} main")), SendGrid(Random(f"{seed} backup"))
        self._loop = asyncio.new_event_loop()
        self._begun, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)
        self._loop.close()

    @property
    def providers(self) -> str:
        """The setting."""
        smtp = f"smtp://127.0.0.1:{self._main.port}?starttls=off&timeout=1&connect_timeout=1&data_timeout=1"
        return f"main={smtp},backup=sendgrid://KEY@127.0.0.1:{self._backup.port}?tls=off&timeout=1"

    def be(self, name: str, mood: Mood) -> None:
        sink = self._main if name == "main" else self._backup
        asyncio.run_coroutine_threadsafe(sink.be(mood), self._loop).result(30)

    def taken(self) -> dict[str, Counter[Copy]]:
        """By provider."""
        return {"main": self._main.taken(), "backup": self._backup.taken()}

    async def _serve(self) -> None:
        async with self._main, self._backup:
            self._begun.set()
            await self._over.wait()
