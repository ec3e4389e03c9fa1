"""Live tables are compared, or exchanged for others, one at a time.

A comparison may take minutes. Whoever exchanges tables waits for it here, and not for the tables themselves: all who
read them would have to wait behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

_LOCK = 0x706C_6578  # "plex"


@contextmanager
def comparing(connection: Connection) -> Iterator[None]:
    """Nobody exchanges tables meanwhile. Takes a transaction before the block, and one after it."""
    if connection.dialect.name != "postgresql":
        yield  # there a transaction sees one state of the file, names of tables included
        return
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_lock_shared(:lock)"), {"lock": _LOCK})
    yield
    with connection.begin():  # whatever was raised ends the connection, and so the lock
        connection.execute(text("SELECT pg_advisory_unlock_shared(:lock)"), {"lock": _LOCK})


def exchange(connection: Connection) -> None:
    """From here to the end of the transaction nobody compares. To be asked for before anything others wait for."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
