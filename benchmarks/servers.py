"""Real servers for the benchmarks: PostgreSQL with its usual durability, and our own processes."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.postgres import PostgresServer

API_KEY = "benchmark-key"


@contextmanager
def durable_postgres() -> Iterator[PostgresServer]:
    """The test suite's server with fsync switched on again: a benchmark must pay for its commits."""
    server = PostgresServer()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for name in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM RESET {name}")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of this environment; ended at the end of the block."""
    running = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environment})
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(40)
        except subprocess.TimeoutExpired:
            running.kill()


@contextmanager
def service(role: str, database_url: str, home: Path, **environment: str) -> Iterator[int]:
    """`postledger serve` with this role; yields its port once it answers (role worker: at once)."""
    port = free_port()
    settings = {
        "POSTLEDGER_DATABASE_URL": database_url,
        "POSTLEDGER_BLOB_URL": f"file:{home}/blobs",
        "POSTLEDGER_API_KEY": API_KEY,
        "POSTLEDGER_PROVIDERS": f"sandbox://default?dir={home}/sandbox",
        "POSTLEDGER_LOG_LEVEL": "warning",
        **environment,
    }
    arguments = ("-m", "infrastructure.cli", "serve", "--role", role, "--port", str(port))
    with process(*arguments, **settings):
        if role != "worker":
            wait_for_http(f"http://127.0.0.1:{port}/readyz")
        yield port


def wait_for_http(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own loopback server
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
