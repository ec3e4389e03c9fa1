"""One session with an SMTP server: opened, upgraded, authenticated, used. aiosmtplib speaks the protocol.

Its `sendmail` is not used: it takes 252 at RCPT for a refusal, has one timeout for DATA and for its end, and cannot
tell whether the final dot was written when the connection broke.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import cast

import aiosmtplib

from infrastructure.providers.smtp_replies import Stage
from infrastructure.providers.smtp_settings import SmtpSettings

_BLOCK = 64 * 1024  # bytes; the last block and the final dot go out together, all before it must be gone by then
_POLL = 0.005


class SmtpTrouble(Exception):
    """The server, or the way to it, did not play along. `code` is None where there was no reply."""

    def __init__(self, stage: Stage, code: int | None, text: str) -> None:
        super().__init__(f"{stage}: {code} {text}" if code else f"{stage}: {text}")
        self.stage = stage
        self.code = code
        self.text = text

    @property
    def ends_session(self) -> bool:
        return self.code is None or self.code == 421


class AnswerLost(Exception):
    """The final dot may have been written, and no answer to it came."""


class NotOurs(Exception):
    """We were held up for so long that somebody else may be about to do the same: the final dot was not written."""


class SmtpConnection:
    """One session. Whoever meets an exception here must not use it again."""

    def __init__(self, settings: SmtpSettings, helo: str, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._smtp = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=helo,
            use_tls=settings.tls,
            start_tls=False,
            tls_context=tls,
            timeout=settings.timeout,
        )
        self.messages = 0
        self.idle_since = 0.0
        self._in_transaction = False

    @property
    def alive(self) -> bool:
        return self._smtp.is_connected

    @property
    def offers(self) -> Mapping[str, str]:
        """The EHLO keywords in lower case, with their parameters."""
        return self._smtp.esmtp_extensions

    async def open(self) -> None:
        """Connect, STARTTLS, AUTH. Raises SmtpTrouble."""
        try:
            with _at("banner"):
                await self._smtp.connect(timeout=self._settings.connect_timeout)
            with _at("ehlo"):
                await self._smtp.ehlo()
            await self._start_tls()
            await self._log_in()
        except BaseException:
            self.close()
            raise

    async def _start_tls(self) -> None:
        wanted = self._settings.starttls
        if self._settings.tls or wanted == "off" or (wanted == "auto" and "starttls" not in self.offers):
            return
        if "starttls" not in self.offers:
            raise SmtpTrouble("starttls", 502, "STARTTLS is required and not offered")
        with _at("starttls"):
            await self._smtp.starttls()
        with _at("ehlo"):
            await self._smtp.ehlo()

    async def _log_in(self) -> None:
        if self._settings.user is None:
            return
        if not self._smtp.supported_auth_methods:
            raise SmtpTrouble("auth", 504, "no AUTH method that we know is offered")
        try:
            with _at("auth"):
                await self._smtp.login(self._settings.user, self._settings.password)
        except SmtpTrouble as trouble:
            raise SmtpTrouble("auth", trouble.code, self._settings.without_secrets(trouble.text)) from None

    async def mail(self, sender: str, options: str) -> None:
        """Begin a transaction. Raises SmtpTrouble."""
        self._in_transaction = True
        await self._expect_ok("mail_from", f"MAIL FROM:<{sender}>{options}")

    async def rcpt(self, address: str, options: str) -> None:
        """Name the recipient. Raises SmtpTrouble, for a refusal too."""
        await self._expect_ok("rcpt_to", f"RCPT TO:<{address}>{options}")

    async def data(self, message: bytes, still_ours: Callable[[], bool] = lambda: True) -> str:
        """Hand the message over; returns the server's words. Raises SmtpTrouble, or AnswerLost past the final dot.

        Right before that dot `still_ours` is asked: raises NotOurs.
        """
        reply = await self._command("data", "DATA")
        if reply.code != 354:
            raise _trouble("data", reply)
        with _at("data"):
            await self._write(message.replace(b"\r\n.", b"\r\n..") + b".\r\n", still_ours)
        reply = await self._final_reply()
        if reply.code >= 400:
            raise _trouble("data", reply)
        self._in_transaction = False  # RFC 5321 section 4.1.1.4: the server's buffers are empty again
        return reply.message

    async def _write(self, wire: bytes, still_ours: Callable[[], bool]) -> None:
        """Write it in blocks. As long as this has not returned, the final dot has not been written."""
        last = (len(wire) - 1) // _BLOCK * _BLOCK
        for start in range(0, last, _BLOCK):
            self._protocol.write(wire[start : start + _BLOCK])
            async with asyncio.timeout(self._settings.timeout):
                await self._drained()
        if not still_ours():
            raise NotOurs
        self._protocol.write(wire[last:] if last else wire)

    async def _drained(self) -> None:
        transport = cast(asyncio.WriteTransport, self._smtp.transport)
        while transport.get_write_buffer_size() and self.alive:
            await asyncio.sleep(_POLL)

    async def _final_reply(self) -> aiosmtplib.SMTPResponse:
        try:
            reply = await self._protocol.read_response(timeout=self._settings.data_timeout)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise AnswerLost(type(error).__name__) from None
        if reply.code < 200 or 300 <= reply.code < 400 or reply.code >= 600:
            raise AnswerLost(f"{reply.code}")
        return reply

    async def reset(self) -> None:
        """Leave a transaction that came to nothing."""
        if self._in_transaction:
            await self._expect_ok("mail_from", "RSET")
            self._in_transaction = False

    async def noop(self) -> None:
        """Raises SmtpTrouble."""
        await self._expect_ok("mail_from", "NOOP")

    async def quit(self) -> None:
        """Take leave. What goes wrong here concerns nobody: all is said and done."""
        with suppress(aiosmtplib.SMTPException, OSError):
            await self._smtp.quit(timeout=min(self._settings.timeout, 5.0))
        self.close()

    def close(self) -> None:
        self._smtp.close()

    @property
    def _protocol(self) -> aiosmtplib.protocol.SMTPProtocol:
        if self._smtp.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        return self._smtp.protocol

    async def _expect_ok(self, stage: Stage, line: str) -> None:
        reply = await self._command(stage, line)
        if reply.code >= 300:
            raise _trouble(stage, reply)

    async def _command(self, stage: Stage, line: str) -> aiosmtplib.SMTPResponse:
        with _at(stage):
            reply = await self._smtp.execute_command(line.encode())
        if not 200 <= reply.code < 600:
            raise SmtpTrouble(stage, None, f"a reply that makes no sense: {reply}")
        return reply


def _trouble(stage: Stage, reply: aiosmtplib.SMTPResponse) -> SmtpTrouble:
    """A reply that is not what was asked for. One that is not an error either counts as no reply."""
    return SmtpTrouble(stage, reply.code if reply.code >= 400 else None, reply.message)


@contextmanager
def _at(stage: Stage) -> Iterator[None]:
    """Whatever goes wrong inside, as SmtpTrouble at this stage."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise _trouble(stage, aiosmtplib.SMTPResponse(error.code, error.message)) from None
    except (aiosmtplib.SMTPException, OSError) as error:  # TimeoutError is an OSError
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        kind = type(cause)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        raise SmtpTrouble(stage, None, f"{name}: {cause.strerror}" if isinstance(cause, OSError) else name) from None
