"""`POST /emails`, every 202 durable, against a no-op endpoint of the same stack."""

import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import load
from benchmarks.result import Result
from benchmarks.servers import API_KEY, durable_postgres, free_port, process, service, wait_for_http

CONNECTIONS = 64


def measure(quick: bool) -> list[Result]:
    count, runs = (4_000, 1) if quick else (20_000, 5)
    with durable_postgres() as postgres, TemporaryDirectory() as home:
        noop = free_port()
        with service("api", postgres.fresh_database(), Path(home)) as port, process("-m", "benchmarks.noop", str(noop)):
            wait_for_http(f"http://127.0.0.1:{noop}/readyz")
            for warm in (noop, port):
                load.run(warm, 2_000, CONNECTIONS, _request, b"HTTP/1.1 202")
            floors, ours = [], []
            for _ in range(runs):
                floors.append(load.run(noop, count, CONNECTIONS, _request, b"HTTP/1.1 202"))
                ours.append(load.run(port, count, CONNECTIONS, _request, b"HTTP/1.1 202"))
    p50, p99 = (median(one.percentile(share) for one in ours) * 1000 for share in (0.5, 0.99))
    return [
        Result(
            f"POST /emails, {CONNECTIONS} connections, one process",
            "requests/s",
            median(one.rate for one in ours),
            median(one.rate for one in floors),
            "ratio >= 0.5",
        ),
        Result("POST /emails, p99", "ms", p99, aim="<= 60", note=f"p50 {p50:.1f} ms"),
    ]


def _request(number: int) -> bytes:
    body = json.dumps(
        {
            "from": "Billing <billing@example.org>",
            "to": [f"customer{number}@example.com"],
            "subject": f"Your invoice {number}",
            "html": "<p>Dear customer,</p><p>your invoice is ready.</p>" * 4,
            "text": "Dear customer, your invoice is ready. " * 4,
            "tags": [{"name": "kind", "value": "invoice"}],
        }
    ).encode()
    head = (
        "POST /emails HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {API_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
