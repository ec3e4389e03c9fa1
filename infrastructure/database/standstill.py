"""A process that is stopped in the middle of a transaction keeps its locks, and everybody waits for it.

The server cannot know: the connection is there, and its timeouts do not count while it reads what is to be copied.
"""

from typing import Any

import psycopg

_TOO_LONG = 4.0  # seconds; a transaction of ours takes milliseconds, and what it has to say is there when it begins
_END_BLOCKERS = """
SELECT pg_terminate_backend(stopped.pid)
FROM pg_stat_activity AS stopped
WHERE stopped.datname = current_database() AND stopped.usename = current_user
  AND stopped.wait_event = 'ClientRead'
  AND stopped.state_change < clock_timestamp() - %s * interval '1 second'
  AND stopped.pid IN (
    SELECT unnest(pg_blocking_pids(waiting.pid)) FROM pg_stat_activity AS waiting
    WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
  )
"""


def end_blockers(connection: psycopg.Connection[Any], after: float = _TOO_LONG) -> int:
    """Whoever holds up others, while the server waits for what comes next, loses the connection; returns how many did.

    What they had begun is undone. They find out when they go on, and take it for a database that went away.
    """
    return len(connection.execute(_END_BLOCKERS, (after,)).fetchall())
