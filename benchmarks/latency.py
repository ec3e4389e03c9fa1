"""How long an idle service takes from its 202 to the provider's answer: one email at a time, PostgreSQL and SMTP."""

import asyncio
import json
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from uuid import UUID

from benchmarks.result import Result
from benchmarks.servers import API_KEY, durable_postgres, free_port, process, service
from domain.events import EmailDispatched
from infrastructure.database.signal import Signal
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore


def measure(quick: bool) -> list[Result]:
    count = 20 if quick else 200
    sink = free_port()
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.sink", str(sink)):
        url = postgres.fresh_database()
        smtp = f"smtp://127.0.0.1:{sink}?starttls=off"
        with service("all", url, Path(home), POSTLEDGER_PROVIDERS=smtp) as port:
            answered = [_send(port, number) for number in range(count + 5)][5:]  # the first few warm it up
            times = asyncio.run(_latencies(url, answered))
    p99 = quantiles(times, n=100)[98]
    return [
        Result("idle latency from 202 to dispatched, p50", "ms", median(times), aim="<= 50", note=f"p99 {p99:.1f} ms")
    ]


def _send(port: int, number: int) -> tuple[UUID, float]:
    email = {"from": "a@example.org", "to": f"customer{number}@example.com", "subject": "Hello", "text": "Hello"}
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/emails", json.dumps(email).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - our own loopback server
        answered_at = time.time()
        id = UUID(json.load(response)["id"])
    time.sleep(0.1)  # long enough for the service to be idle again
    return id, answered_at


async def _latencies(url: str, answered: list[tuple[UUID, float]]) -> list[float]:
    """Milliseconds from the client's 202 to the moment the provider's answer was there to be recorded."""
    ledger = EventLedger(PostgresEventStore(url), Signal())
    times = []
    for id, answered_at in answered:
        dispatched: datetime | None = None
        for _ in range(200):
            events = [recorded.event for recorded in await ledger.load(id)]
            dispatched = next((event.occurred_at for event in events if isinstance(event, EmailDispatched)), None)
            if dispatched:
                break
            await asyncio.sleep(0.05)
        assert dispatched, f"{id} was not dispatched"
        times.append((dispatched.timestamp() - answered_at) * 1000)
    await ledger.close()
    return times
