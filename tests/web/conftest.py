"""Ways to ask: in process (`api`), over a socket (`server`)."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from infrastructure.web.app import create_app
from tests.web.server import Server
from tests.web.world import KEY, World

T = TypeVar("T")


class Api:
    """A client inside the service's own event loop, for tests that read from top to bottom."""

    def __init__(self, world: World, runner: asyncio.Runner) -> None:
        self.world = world
        self.app = create_app(world.service)
        self._runner = runner
        transport = httpx2.ASGITransport(app=self.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://postledger", headers=headers)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("POST", path, **options)

    def send(self, **fields: Any) -> str:
        """Send an email; returns its id."""
        response = self.post("/emails", json=email(**fields))
        assert response.status_code == 202, response.text
        return str(response.json()["id"])


def email(**fields: Any) -> dict[str, Any]:
    """A good request body, with what matters to a test given by it. None leaves a field out."""
    whole = {"from": "Ada <ada@example.com>", "to": ["bob@example.com"], "subject": "Hello", "text": "Hi.", **fields}
    return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        world = World(tmp_path)
        try:
            yield Api(world, runner)
        finally:
            runner.run(world.close())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(lambda: World(tmp_path)) as running:
        yield running
