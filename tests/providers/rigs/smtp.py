"""A rig for SMTP: the scripted server of the other tests."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from application.ports import EmailProvider
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import NOW
from tests.providers.contract import Behaviour, Rig
from tests.smtp_server import HANG_UP, SILENCE, SLOW, Rudeness, SmtpSink

_SAYS: Mapping[Behaviour, tuple[str, str | Rudeness | None]] = {
    Behaviour.ACCEPT: ("MAIL", None),
    Behaviour.PERMANENT: ("RCPT", "550 5.1.1 User unknown"),
    Behaviour.RATE_LIMIT: ("END", "454 Throttling failure: Maximum sending rate exceeded"),
    Behaviour.QUOTA: ("END", "454 Throttling failure: Daily message quota exceeded"),
    Behaviour.TRANSIENT: ("RCPT", "421 4.3.2 shutting down"),
    Behaviour.CONFIG: ("MAIL", "550 5.7.1 Sender address rejected"),
    Behaviour.MALFORMED: ("TAKEN", "what?"),
    Behaviour.GARBAGE: ("BANNER", "what?"),
    Behaviour.SLOW: ("TAKEN", SLOW),
    Behaviour.SILENCE: ("TAKEN", SILENCE),
    Behaviour.RESET_EARLY: ("BODY", HANG_UP),
    Behaviour.RESET_LATE: ("TAKEN", HANG_UP),
}


class SmtpRig:
    def __init__(self) -> None:
        self._next: dict[str, str | Rudeness | None] = {}
        self.sink = SmtpSink({point: self._reactions(point) for point, _ in _SAYS.values()})
        self.provider: EmailProvider

    def will(self, behaviour: Behaviour) -> bool:
        if behaviour is Behaviour.UNREACHABLE:
            self.sink._server.close()
            return True
        if behaviour not in _SAYS:
            return False
        point, reaction = _SAYS[behaviour]
        self._next[point] = reaction
        return True

    @property
    def taken(self) -> int:
        return len(self.sink.messages)

    @property
    def received(self) -> list[bytes]:
        return [message.raw for message in self.sink.messages]

    def _reactions(self, point: str) -> Iterator[str | Rudeness | None]:
        while True:
            yield self._next.pop(point, None)


@asynccontextmanager
async def smtp() -> AsyncIterator[Rig]:
    rig = SmtpRig()
    async with rig.sink:
        url = f"{rig.sink.url}?helo=client.test&timeout=0.5&connect_timeout=0.5&data_timeout=0.5"
        rig.provider = SmtpProvider("relay", SmtpSettings.from_url(url), lambda: NOW)
        try:
            yield rig
        finally:
            await rig.provider.close()
