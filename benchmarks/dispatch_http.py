"""Dispatch over a provider's HTTP API, all events and read models durable, against a bare aiohttp client."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aiohttp
import uvloop

from application.ports import OutgoingMessage
from benchmarks.result import Result
from benchmarks.servers import durable_postgres, free_port, process, wait_for_http
from benchmarks.worker import queued_emails, through_a_worker
from domain.email import Email
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.bootstrap import tune_garbage_collection
from infrastructure.providers.http import Request
from infrastructure.providers.postmark import PostmarkSettings, build
from tests.samples import content, stamp

CONNECTIONS = 64  # as many as the provider's own client has


def measure(quick: bool) -> list[Result]:
    count, runs = (500, 1) if quick else (4_000, 3)
    tune_garbage_collection()
    port = free_port()
    postmark = f"postmark://TOKEN@127.0.0.1:{port}?tls=off"
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.http_sink", str(port)):
        wait_for_http(f"http://127.0.0.1:{port}/")
        floors, ours = [], []
        for _ in range(runs):
            floors.append(uvloop.run(_bare(PostmarkSettings.from_url(postmark), count)))
            ours.append(through_a_worker(postmark, postgres.fresh_database(), Path(home), count))
    name = "HTTP dispatch, one worker, events and read models durable"
    return [Result(name, "emails/s", median(ours), median(floors), "ratio >= 0.4")]


async def _bare(settings: PostmarkSettings, count: int) -> float:
    """Emails per second over 64 connections. The requests are made beforehand."""
    requests = iter([_request(email, settings) for email in queued_emails(count)])
    headers = {"X-Postmark-Server-Token": settings.token, "Accept": "application/json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(settings.base_url, headers=headers, connector=connector) as session:

        async def send() -> None:
            for request in requests:
                async with session.post(request.path, data=request.body, headers=request.headers) as response:
                    assert response.status == 200
                    await response.read()

        started = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
        return count / (time.perf_counter() - started)


def _request(email: Email, settings: PostmarkSettings) -> Request:
    email.start_delivery("bare", "", timedelta(seconds=60), stamp())
    message = OutgoingMessage(email.queued, email.attempts[1], content(), email.first_due, FilesystemBlobs(Path()))
    return build(message, settings)
