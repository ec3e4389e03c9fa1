"""Who is there to share some work, by the database's clock; and who does which part of it.

Everybody deals alike, from the same list. While somebody comes or goes two may think a part theirs for a moment: what
they do must be fenced.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from infrastructure.database.engines import Database, libpq_url
from infrastructure.database.standstill import end_blockers

_SURE = 1.0  # seconds between two questions to the database
_LEASE = 4.0  # seconds; who did not ask for so long is taken for gone
_CREATING = 0x706C_6D62  # "plmb": who creates the table

_IS_THERE = "SELECT to_regclass('members') IS NOT NULL"
_CREATE = f"""
SELECT pg_advisory_xact_lock({_CREATING});
CREATE TABLE IF NOT EXISTS members (
    work text, name text, since timestamptz NOT NULL, until timestamptz NOT NULL, PRIMARY KEY (work, name)
)
"""
# One statement each, as in `leadership`; no disk is waited for. An end later than any lease has was written by a clock
# that was set back since.
_STAY = """
INSERT INTO members (work, name, since, until)
SELECT %(work)s, %(name)s, clock_timestamp(), clock_timestamp() + %(lease)s * interval '1 second'
FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (work, name) DO UPDATE SET until = excluded.until
"""
_CLEAN = """
DELETE FROM members
WHERE work = %(work)s AND (until < clock_timestamp() OR until > clock_timestamp() + 2 * %(lease)s * interval '1 second')
"""
_WHO = "SELECT name FROM members WHERE work = %(work)s AND until > clock_timestamp() ORDER BY since, name"
_LEAVE = "DELETE FROM members WHERE work = %s AND name = %s"


def deal(parts: Iterable[str], members: Sequence[str], me: str, most: int) -> set[str]:
    """Which parts are mine, when the first `most` members take turns. The longest there come first."""
    working = list(members)[:most]
    return set(sorted(parts)[working.index(me) :: len(working)]) if me in working else set()


class Membership:
    """On SQLite, which is one process, nobody else is there."""

    def __init__(self, database: Database, work: str, *, lease: float = _LEASE) -> None:
        """`lease` in seconds."""
        self._url = libpq_url(database.url) if database.kind == "postgresql" else None
        self._work = work
        self._lease = lease
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._one_at_a_time = threading.Lock()
        self._known: list[str] = []
        self._asked_at = 0.0

    @property
    def sure(self) -> bool:
        """Whether we asked a moment ago."""
        return time.monotonic() < self._asked_at + _SURE

    def members(self) -> list[str]:
        """All who are there, us included, the longest there first; as we knew a moment ago, or asked now.

        Empty when the database cannot be asked.
        """
        if self._url is None:
            return [self.name]
        with self._one_at_a_time:
            if not self.sure:
                self._asked_at = time.monotonic()
                try:
                    self._known = self._ask(self._url)
                except psycopg.OperationalError:
                    self._known = []
                    self._close()
            return self._known

    def leave(self) -> None:
        """Others take our part at once."""
        with self._one_at_a_time:
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.execute(_LEAVE, (self._work, self.name))
            self._known, self._asked_at = [], 0.0
            self._close()

    def _ask(self, url: str) -> list[str]:
        if self._connection is None:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
            if self._connection.execute(_IS_THERE).fetchone() == (False,):
                self._connection.execute(_CREATE.encode())
        end_blockers(self._connection)
        values = {"work": self._work, "name": self.name, "lease": self._lease}
        for statement in (_STAY, _CLEAN):
            self._connection.execute(statement, values)
        return [name for (name,) in self._connection.execute(_WHO, values)]

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
