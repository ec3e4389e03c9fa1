"""One leader among many processes: a lease in the database, which outlives neither its holder's end nor its standstill.

Only the database's clock is asked, so those of the machines may say what they like.
"""

import os
import secrets
import socket
import threading
import time
from contextlib import suppress

import psycopg

from infrastructure.database.engines import Database, is_outage, libpq_url
from infrastructure.database.standstill import end_blockers

_SURE = 1.0  # seconds between two questions to the database
_LEASE = 4.0  # seconds; who did not ask for so long has lost it to whoever asks
_CREATING = 0x706C_6C65  # "plle": who creates the table

_IS_THERE = "SELECT to_regclass('leaders') IS NOT NULL"
_CREATE = f"""
SELECT pg_advisory_xact_lock({_CREATING});
CREATE TABLE IF NOT EXISTS leaders (key bigint PRIMARY KEY, owner text NOT NULL, until timestamptz NOT NULL)
"""
# One statement, and so one transaction that nobody can be stopped in the middle of. A lease that a crash of the server
# forgets was a short one: no disk is waited for. An end later than any lease has was written by a clock since set back.
_HOLD = """
INSERT INTO leaders AS held (key, owner, until)
SELECT %(key)s, %(owner)s, clock_timestamp() + %(lease)s * interval '1 second'
FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE held.owner = excluded.owner OR held.until < clock_timestamp()
   OR held.until > clock_timestamp() + 2 * %(lease)s * interval '1 second'
RETURNING true
"""
_GIVE_UP = "DELETE FROM leaders WHERE key = %s AND owner = %s"


class Leadership:
    """On SQLite, which is one process, everybody leads."""

    def __init__(self, database: Database, key: int, *, lease: float = _LEASE) -> None:
        """`lease` in seconds."""
        self._url = libpq_url(database.url) if database.kind == "postgresql" else None
        self._key = key
        self._lease = lease
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._one_at_a_time = threading.Lock()
        self._leading = False
        self._asked_at = 0.0

    @property
    def sure(self) -> bool:
        """Whether we led a moment ago. Should that be wrong by now, the positions still are a fence."""
        return self._leading and time.monotonic() < self._asked_at + _SURE

    def hold(self) -> bool:
        """Whether we lead: take the lease when it is free or over, renew it when it is ours."""
        if self._url is None:
            return True
        with self._one_at_a_time:
            self._asked_at = time.monotonic()
            try:
                self._leading = self._ask(self._url)
            except psycopg.Error as error:
                self._leading = False
                self._close()
                if not is_outage(error):
                    raise
        return self._leading

    def give_up(self) -> None:
        """If we lead, anybody else may from now on."""
        with self._one_at_a_time:
            if self._leading and self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.execute(_GIVE_UP, (self._key, self._owner))
            self._leading = False
            self._close()

    def _ask(self, url: str) -> bool:
        if self._connection is None:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
            if self._connection.execute(_IS_THERE).fetchone() == (False,):
                self._connection.execute(_CREATE.encode())
        end_blockers(self._connection)
        values = {"key": self._key, "owner": self._owner, "lease": self._lease}
        return self._connection.execute(_HOLD, values).fetchone() == (True,)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
