"""Sending through an SmtpProvider to a scripted server, in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from application.ports import OutgoingMessage
from domain.answer import Answer
from domain.content import Content
from domain.ids import recipient_id
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from tests.mail import EMAIL_ID, NOW, outgoing
from tests.smtp_server import Rudeness, SmtpSink

_T = TypeVar("_T")
MESSAGE_ID = f"{EMAIL_ID}@sender.example"
ADA, BOB, EVE = (recipient_id(EMAIL_ID, index) for index in range(3))
ALL_THREE = ("ada@example.com", "bob@example.com", "eve@example.com")


def with_provider(sink: SmtpSink, use: Callable[[SmtpProvider], Awaitable[_T]], options: str = "") -> _T:
    async def scenario() -> _T:
        async with sink:
            url = f"{sink.url}?helo=client.test{options}"
            provider = SmtpProvider("relay", SmtpSettings.from_url(url), lambda: NOW)
            try:
                return await use(provider)
            finally:
                await provider.close()

    return asyncio.run(scenario())


def sent(sink: SmtpSink, message: OutgoingMessage | None = None, options: str = "") -> Answer:
    return with_provider(sink, lambda provider: provider.send(message or outgoing()), options)


def scripted(**script: Iterable[str | Rudeness | None]) -> SmtpSink:
    return SmtpSink(script)


def large() -> OutgoingMessage:
    """More than a block, and more than the socket's buffers take unread."""
    return outgoing(content=Content(text="All work and no play makes Jack a dull boy.\n" * 200_000))
