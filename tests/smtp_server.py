"""A real SMTP server for tests that does what a script says, and counts what it was given.

    async with SmtpSink({"RCPT ada@example.com": ["450 4.2.0 Greylisted"], "TAKEN": [None, HANG_UP]}) as sink:
        ... sink.url, sink.messages, sink.copies["<…>"]

A script names points of the session, each with what happens there the first, second … time; then all goes as usual,
as it does for None. A point is a command (`MAIL`), a command about one address (`RCPT ada@example.com`), `BANNER`,
`BODY` (in the middle of the message), `END` (the final dot is read, nothing taken) or `TAKEN` (taken, but not yet
answered). What happens is a reply, HANG_UP or SILENCE, or SLOW for the usual reply after a while.
"""

import asyncio
import re
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult


class Rudeness(Enum):
    HANG_UP = auto()
    SILENCE = auto()
    SLOW = auto()  # only where it answers for a message


HANG_UP, SILENCE, SLOW = Rudeness.HANG_UP, Rudeness.SILENCE, Rudeness.SLOW
_DSN = re.compile(r" (?:RET|ENVID|NOTIFY|ORCPT)=\S+")
Script = Mapping[str, Iterable[str | Rudeness | None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One message that the server answered for, or was about to."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    options: tuple[str, ...]

    def parsed(self) -> EmailMessage:
        return BytesParser(policy=policy.default).parsebytes(self.raw)

    @property
    def message_id(self) -> str:
        return str(self.parsed()["Message-ID"])


class SmtpSink:
    """Listens on 127.0.0.1 while its `async with` (or, for other loops and processes, `with sink.in_thread()`) lasts.

    `dsn` offers and takes what RFC 3461 adds, to be seen in `commands`. `tls` serves STARTTLS, or TLS from the first
    byte with `implicit_tls`. `login` is the user and password AUTH takes.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        smtputf8: bool = True,
        dsn: bool = False,
        size: int = 33_554_432,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.messages: list[Received] = []
        self.commands: list[str] = []
        self.connections = 0
        self.port = 0
        self.login = login
        self.dsn = dsn
        self.sessions: set[Session] = set()
        self._script = {point: iter(reactions) for point, reactions in (script or {}).items()}
        self._implicit_tls = tls if implicit_tls else None
        self._options: dict[str, Any] = {
            "enable_SMTPUTF8": smtputf8,
            "data_size_limit": size,
            "hostname": "sink.test",
            "tls_context": None if implicit_tls else tls,
            "auth_require_tls": tls is not None and not implicit_tls,
            "authenticator": self._authenticate,
            "auth_exclude_mechanism": [] if login else ["LOGIN", "PLAIN"],
        }

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def copies(self) -> Counter[str]:
        """How often each Message-ID was taken. Every recipient of an email gets one."""
        return Counter(message.message_id for message in self.messages)

    def reaction(self, *points: str) -> str | Rudeness | None:
        """What the script has for these points now."""
        return next((said for point in points if (said := next(self._script.get(point, iter(())), None))), None)

    def hang_up_on_all(self) -> None:
        for session in tuple(self.sessions):
            session.abort()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Session(self, loop, self._options), "127.0.0.1", 0, ssl=self._implicit_tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up_on_all()
        for _round in range(3):  # aborted transports close in the loop's next rounds
            await asyncio.sleep(0)
        await self._server.wait_closed()

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        loop, begun, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with self:
                begun.set()
                await over.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        begun.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()

    def _authenticate(self, _server: object, _session: object, _envelope: object, _how: str, data: Any) -> AuthResult:
        right = (data.login.decode(), data.password.decode()) == self.login
        return AuthResult(success=right, handled=False)  # aiosmtpd is to write the reply


class _Hooks:
    """aiosmtpd looks for its hooks on an object of their own."""

    async def handle_EHLO(
        self, server: "Session", session: Any, _envelope: object, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return server.offer(responses)

    async def handle_DATA(self, server: "Session", _session: object, envelope: Any) -> str:
        return await server.take(envelope)


class Session(SMTP):
    """One client's connection."""

    def __init__(self, sink: SmtpSink, loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
        super().__init__(_Hooks(), loop=loop, **options)
        self._sink = sink
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self not in self._sink.sessions:  # STARTTLS makes it a second time
            self._sink.sessions.add(self)
            self._sink.connections += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.sessions.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        """Close without a word, through TLS or not."""
        transport = self._original_transport or self.transport
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            if await self._acted("BANNER"):
                return
        await super().push(status)

    async def smtp_EHLO(self, arg: str) -> None:
        await self._scripted("EHLO", super().smtp_EHLO, arg)

    async def smtp_STARTTLS(self, arg: str) -> None:
        await self._scripted("STARTTLS", super().smtp_STARTTLS, arg)

    async def smtp_AUTH(self, arg: str) -> None:
        await self._scripted("AUTH", super().smtp_AUTH, arg)

    async def smtp_MAIL(self, arg: str) -> None:
        await self._scripted("MAIL", lambda arg: super(Session, self).smtp_MAIL(self._without_dsn(arg)), arg)

    async def smtp_RCPT(self, arg: str) -> None:
        await self._scripted("RCPT", lambda arg: super(Session, self).smtp_RCPT(self._without_dsn(arg)), arg)

    async def smtp_DATA(self, arg: str) -> None:
        await self._scripted("DATA", super().smtp_DATA, arg)

    async def smtp_RSET(self, arg: str) -> None:
        await self._scripted("RSET", super().smtp_RSET, arg)

    async def smtp_NOOP(self, arg: str) -> None:
        await self._scripted("NOOP", super().smtp_NOOP, arg)

    async def smtp_QUIT(self, arg: str) -> None:
        await self._scripted("QUIT", super().smtp_QUIT, arg)

    def offer(self, responses: list[str]) -> list[str]:
        return [*responses[:-1], "250-DSN", responses[-1]] if self._sink.dsn else responses

    def _without_dsn(self, arg: str) -> str:
        """aiosmtpd knows no such parameters."""
        return _DSN.sub("", arg) if self._sink.dsn else arg

    async def take(self, envelope: Any) -> str:
        """The whole message has been read; the reply to it."""
        reply = self._sink.reaction("END")
        if isinstance(reply, str):
            return reply
        if reply is None:
            options = tuple(envelope.mail_options)
            received = Received(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content, options)
            self._sink.messages.append(received)
            reply = self._sink.reaction("TAKEN")
        if reply is SLOW:
            await asyncio.sleep(0.2)
        elif isinstance(reply, Rudeness):
            await self._be(reply)
        return reply if isinstance(reply, str) else f"250 2.0.0 OK queued as {len(self._sink.messages)}"

    async def _scripted(self, command: str, usual: Callable[[str], Awaitable[None]], arg: str) -> None:
        self._sink.commands.append(f"{command} {arg}" if arg else command)
        address = (arg or "").partition("<")[2].partition(">")[0]
        if command == "DATA" and (rude := self._sink.reaction("BODY")):
            await super().push("354 go on")
            await self._reader.read(100)
            await self._be(Rudeness(rude))
        if not await self._acted(f"{command} {address}", command):
            await usual(arg)

    async def _acted(self, *points: str) -> bool:
        said = self._sink.reaction(*points)
        if isinstance(said, Rudeness):
            await self._be(said)
        elif said:
            await super().push(said)
            if said.startswith("421") or points == ("BANNER",):
                self._writer.close()
            elif said[:3] in ("250", "251", "252") and points[-1] == "RCPT" and self.envelope is not None:
                self.envelope.rcpt_tos.append(points[0].partition(" ")[2])
        return bool(said)

    async def _be(self, rude: Rudeness) -> None:
        if rude is HANG_UP:
            self.abort()
        await asyncio.Event().wait()  # until the connection is lost, which cancels this


def self_signed(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody vouches for, and a server's context that uses it."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*made.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
