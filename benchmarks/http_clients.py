"""HTTP clients against a server that does nothing: which one should call the providers (docs/adr/0010)?

Measures those of aiohttp, httpx, httpx2, niquests and our own HttpClient that are installed.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import uvloop

from benchmarks.result import Result
from benchmarks.servers import free_port, process, wait_for_http

CONNECTIONS = 64
_TEXT = "Dear customer, your invoice is ready. "
_SMALL = json.dumps({"From": "billing@example.org", "To": "customer@example.com", "TextBody": _TEXT * 105}).encode()
_CHUNK, _CHUNKS = b"x" * 65_536, 16
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "X-Token": "a-token-of-some-length"}
_LARGE = {**_HEADERS, "Content-Length": str(len(_CHUNK) * _CHUNKS)}

Post = Callable[[bool], Awaitable[int]]  # whether the body is the streamed one -> status


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one client came to."""

    rate: float  # requests per second
    cpu: float  # microseconds of the client's processor time for each request


class _Stream:
    """A body of chunks that says its length, which is where niquests looks for it."""

    def __len__(self) -> int:
        return len(_CHUNK) * _CHUNKS

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(_CHUNKS):
            yield _CHUNK


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Post]:
    aiohttp = import_module("aiohttp")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def post(streamed: bool) -> int:
            data, headers = (_Stream(), _LARGE) if streamed else (_SMALL, _HEADERS)
            async with session.post(url, data=data, headers=headers) as response:
                await response.read()
                return int(response.status)

        yield post


def _httpx_of(module: str) -> Callable[[str], AbstractAsyncContextManager[Post]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Post]:
        httpx = import_module(module)
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

            async def post(streamed: bool) -> int:
                content, headers = (_Stream(), _LARGE) if streamed else (_SMALL, _HEADERS)
                return int((await client.post(url, content=content, headers=headers)).status_code)

            yield post

    return opened


@asynccontextmanager
async def _niquests(url: str) -> AsyncIterator[Post]:
    niquests = import_module("niquests")
    async with niquests.AsyncSession(pool_connections=1, pool_maxsize=CONNECTIONS) as session:
        session.trust_env = False

        async def post(streamed: bool) -> int:
            data, headers = (_Stream(), _LARGE) if streamed else (_SMALL, _HEADERS)
            return int((await session.post(url, data=data, headers=headers)).status_code)

        yield post


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Post]:
    http = import_module("infrastructure.providers.http")
    client = http.HttpClient(url.removesuffix("/email"), _HEADERS, connections=CONNECTIONS)

    async def post(streamed: bool) -> int:
        body: Any = {"body": _Stream(), "length": len(_Stream())} if streamed else {"body": _SMALL}
        return int((await client.call(http.Request("POST", "/email", **body))).status)

    yield post
    await client.close()


CLIENTS: Mapping[str, tuple[str, Callable[[str], AbstractAsyncContextManager[Post]]]] = {
    "HttpClient (ours, on aiohttp)": ("infrastructure", _ours),
    "aiohttp": ("aiohttp", _aiohttp),
    "httpx2": ("httpx2", _httpx_of("httpx2")),
    "httpx": ("httpx", _httpx_of("httpx")),
    "niquests": ("niquests", _niquests),
}


def measure(quick: bool) -> list[Result]:
    seconds, rounds = (0.5, 1) if quick else (5.0, 3)
    names = [name for name, (module, _) in CLIENTS.items() if find_spec(module)]
    port = free_port()
    with process("-m", "benchmarks.http_sink", str(port)):
        wait_for_http(f"http://127.0.0.1:{port}/")
        results: list[Result] = []
        for kind in ("4 KB", "1 MB streamed"):
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    runs[name].append(_in_a_process(name, port, kind, seconds))
            results += _results(kind, runs)
    return results


def _results(kind: str, runs: Mapping[str, list[Run]]) -> list[Result]:
    rates = {name: median(run.rate for run in of) for name, of in runs.items()}
    cpu = {name: median(run.cpu for run in of) for name, of in runs.items()}
    fastest = max(rates.values())
    return [
        Result(f"POST of {kind}: {name}", "requests/s", rate, fastest, note=f"{cpu[name]:,.0f} µs of CPU each")
        for name, rate in rates.items()
    ]


def _in_a_process(name: str, port: int, kind: str, seconds: float) -> Run:
    arguments = [sys.executable, "-m", "benchmarks.http_clients", name, str(port), kind, str(seconds)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, timeout=seconds + 60)
    return Run(**json.loads(done.stdout))


async def _run(name: str, port: str, kind: str, seconds: float) -> dict[str, float]:
    streamed = kind != "4 KB"
    done = 0

    async def caller(post: Post, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            assert await post(streamed) == 200
            done += 1

    async with CLIENTS[name][1](f"http://127.0.0.1:{port}/email") as post:
        await asyncio.gather(*(caller(post, 0.3 + time.perf_counter()) for _ in range(CONNECTIONS)))  # warm
        done, started, cpu = 0, time.perf_counter(), _cpu()
        await asyncio.gather(*(caller(post, started + seconds) for _ in range(CONNECTIONS)))
        elapsed, cpu = time.perf_counter() - started, _cpu() - cpu
    return {"rate": done / elapsed, "cpu": cpu / done * 1e6}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    _, which, at, what, how_long = sys.argv
    print(json.dumps(uvloop.run(_run(which, at, what, float(how_long)))))
