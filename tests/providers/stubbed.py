"""One provider against one stub, for as long as a test uses them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from application.ports import EmailProvider
from tests.providers.http_stub import HttpStub, Reaction

P = TypeVar("P", bound=EmailProvider)
T = TypeVar("T")


def stubbed(make: Callable[[str], P], reaction: Reaction, use: Callable[[HttpStub, P], Awaitable[T]]) -> T:
    """Run `use` with a stub that reacts so, and the provider that `make` makes for its host and port."""

    async def run() -> T:
        async with HttpStub(reaction) as stub:
            provider = make(stub.host)
            try:
                return await use(stub, provider)
            finally:
                await provider.close()

    return asyncio.run(run())
