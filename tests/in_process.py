"""A whole Postledger, as `bootstrap` makes it, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from application.inbox import InboxFilter
from infrastructure.bootstrap import System, bootstrap
from infrastructure.settings import load_settings
from infrastructure.web.app import create_app
from infrastructure.workers import run_worker
from tests.providers.tellers.teller import Post

_PATIENCE = 60.0  # seconds; far more than anything takes
_SOON = 0.05  # seconds; for what shows in the inbox alone
_KEY = "pl_test_0123456789abcdef"


class Postledger:
    """Asked over HTTP, without a socket. Works only inside `working`."""

    def __init__(self, system: System, client: httpx2.AsyncClient, provider: str) -> None:
        self.system = system
        self._client = client
        self._provider = provider

    async def send(self, *to: str, **more: object) -> str:
        fields = {"from": "Service <service@sender.example>", "to": to, "subject": "Hello", "text": "Hi."}
        answer = await self._client.post("/emails", json={**fields, **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def tell(self, post: Post) -> int:
        """Make the delivery; the status it was answered with."""
        answer = await self._client.post(f"/hooks/{self._provider}", content=post.body, headers=dict(post.headers))
        return answer.status_code

    async def get(self, path: str) -> httpx2.Response:
        return await self._client.get(path)

    async def email(self, id: str) -> Any:
        return (await self.get(f"/emails/{id}")).json()

    async def status(self, id: str) -> str:
        return str((await self.email(id))["status"])

    async def recipients(self, id: str) -> dict[str, str]:
        """Address to status."""
        return {each["address"]: each["status"] for each in (await self.email(id))["recipients"]}

    async def events(self, id: str, type: str = "") -> list[Any]:
        """The history, or what of it is of this type."""
        found = (await self.get(f"/emails/{id}/events")).json()["data"]
        return [event for event in found if event["type"].startswith(type)]

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Look again after each commit."""
        async with asyncio.timeout(_PATIENCE):
            position = await self.system.ledger.position()
            while not await true():
                await self.system.ledger.wait(position, _SOON)
                position = await self.system.ledger.position()

    async def digested(self) -> None:
        """Wait until every delivery was looked at."""

        async def nothing_new() -> bool:
            return not await self.system.inbox.page(InboxFilter(state="new"), None, 1)

        await self.until(nothing_new)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """With a worker."""
        stop, system = asyncio.Event(), self.system
        system.wakeups.start()
        worker = asyncio.create_task(run_worker(system.runner, system.dispatchers, system.loops, _nothing, stop))
        try:
            yield
        finally:
            stop.set()
            await worker


@asynccontextmanager
async def in_process(directory: Path, provider: str, url: str, database_url: str = "") -> AsyncIterator[Postledger]:
    """With one provider of that name; on SQLite in the directory, unless there is another database."""
    settings = load_settings(
        database_url=database_url or f"sqlite:///{directory}/postledger.db",
        blob_url=f"file://{directory}/blobs",
        api_key=_KEY,
        providers=f"{provider}={url}",
        settle_after="PT1H",
        poll="PT0.2S",
        drain="PT1S",
    )
    system = bootstrap(settings)
    transport = httpx2.ASGITransport(app=create_app(system.service))
    headers = {"Authorization": f"Bearer {_KEY}"}
    try:
        await system.prepare()
        async with httpx2.AsyncClient(transport=transport, base_url="http://postledger", headers=headers) as client:
            yield Postledger(system, client, provider)
    finally:
        await system.close()


async def _nothing() -> None:
    """No attachment is an orphan here."""
