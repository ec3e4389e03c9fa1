"""One leader among many processes, held as a PostgreSQL session lock: it vanishes with its holder."""

import time

import psycopg

from infrastructure.database.engines import Database, libpq_url

_SURE = 1.0  # seconds between two questions to the database


class Leadership:
    """On SQLite, which is one process, everybody leads."""

    def __init__(self, database: Database, key: int) -> None:
        self._url = libpq_url(database.url) if database.kind == "postgresql" else None
        self._key = key
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._leading = False
        self._asked_at = 0.0

    @property
    def sure(self) -> bool:
        """Whether we led a moment ago. Should that be wrong by now, the positions still are a fence."""
        return self._leading and time.monotonic() < self._asked_at + _SURE

    def hold(self) -> bool:
        """Whether we lead: take the lock when it is free, make sure that its connection lives when we have it."""
        if self._url is None:
            return True
        self._asked_at = time.monotonic()
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            question = "SELECT true" if self._leading else f"SELECT pg_try_advisory_lock({self._key})"
            self._leading = self._connection.execute(question.encode()).fetchone() == (True,)
        except psycopg.OperationalError:
            self.give_up()
        return self._leading

    def give_up(self) -> None:
        self._leading = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
