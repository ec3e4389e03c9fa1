"""The API behind a real uvicorn on a port of its own, in a thread."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

import uvicorn

from infrastructure.web.app import create_app
from tests.web.world import World

T = TypeVar("T")
_PATIENCE = 20  # seconds; far more than anything here takes


class Server:
    """Runs while its `with` block does."""

    def __init__(self, make_world: Callable[[], World]) -> None:
        self._make_world = make_world
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="server")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.world: World

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def stop(self) -> None:
        """As the service itself stops: the streams are told first."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self.world = self._make_world()
        config = uvicorn.Config(create_app(self.world.service), lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        self._loop.call_soon(self._started.set)  # the socket listens already; clients wait in its backlog
        await self._stopping.wait()
        self.world.service.stopping.set()
        server.should_exit = True
        await serving
        await self.world.close()
