"""An HTTP API that takes every call, under one message id after another."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.providers.http_stub import Answered, Broken, HttpStub, Received
from tests.providers.tellers.teller import Letter, Office


@dataclass(frozen=True, slots=True)
class HttpOffice:
    stub: HttpStub
    url: str
    read: Callable[[Received, int], Letter]
    silences: deque[Broken] = field(default_factory=deque)  # for letters: a health check is answered

    @property
    def letters(self) -> list[Letter]:
        posts = [request for request in self.stub.requests if request.method == "POST"]
        return [self.read(post, number) for number, post in enumerate(posts, 1)]

    def fall_silent(self) -> None:
        self.silences.append(Broken.SILENCE)


@asynccontextmanager
async def http_office(
    url: Callable[[str], str], taken: Callable[[int], Answered], read: Callable[[Received, int], Letter]
) -> AsyncIterator[Office]:
    """`taken` and `read` are given the call's number, from 1."""
    async with HttpStub() as stub:

        def accept(request: Received) -> Answered | Broken:
            if request.method == "POST" and office.silences:
                return office.silences.popleft()
            return taken(len(office.letters))

        stub.default = accept
        office = HttpOffice(stub, url(stub.host), read)
        yield office
