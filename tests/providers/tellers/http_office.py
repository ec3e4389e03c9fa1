"""An HTTP API that takes every call, under one message id after another."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.providers.http_stub import Answered, Broken, HttpStub, Received
from tests.providers.tellers.teller import Letter, Office


@dataclass(frozen=True, slots=True)
class HttpOffice:
    stub: HttpStub
    url: str
    read: Callable[[Received, int], Letter]

    @property
    def letters(self) -> list[Letter]:
        posts = [request for request in self.stub.requests if request.method == "POST"]
        return [self.read(post, number) for number, post in enumerate(posts, 1)]

    def fall_silent(self) -> None:
        self.stub.answers.append(Broken.SILENCE)


@asynccontextmanager
async def http_office(
    url: Callable[[str], str], taken: Callable[[int], Answered], read: Callable[[Received, int], Letter]
) -> AsyncIterator[Office]:
    """`taken` and `read` are given the call's number, from 1."""
    async with HttpStub() as stub:

        def accept(_: Received) -> Answered:
            return taken(len(office.letters))

        stub.default = accept
        office = HttpOffice(stub, url(stub.host), read)
        yield office
