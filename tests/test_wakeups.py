"""Nobody sleeps through a wake-up."""

import asyncio
import threading

import psycopg

from infrastructure.database.notifications import PROJECTIONS, Wakeups
from infrastructure.database.signal import Signal


def test_a_notification_from_another_thread_wakes_everybody() -> None:
    signal = Signal()

    async def scenario() -> None:
        waits = [asyncio.create_task(signal.wait(60)) for _ in range(50)]
        await asyncio.sleep(0)
        threading.Thread(target=signal.notify).start()
        await asyncio.gather(*waits)

    asyncio.run(scenario())


def test_a_notification_between_the_look_and_the_wait_is_not_lost() -> None:
    signal = Signal()
    seen = signal.mark()
    signal.notify()
    asyncio.run(signal.wait_since(seen, 60))


def test_a_wait_ends_after_its_timeout() -> None:
    asyncio.run(Signal().wait(0.001))


def test_a_waiter_whose_loop_is_gone_does_no_harm() -> None:
    signal = Signal()

    async def leave() -> None:
        waiting = asyncio.create_task(signal.wait(60))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    signal.notify()


def test_another_process_is_heard_and_again_after_the_connection_was_lost(postgres_url: str) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(postgres_url)
        wakeups.start()
        await wakeups.projections.wait_since(0, 60)  # it rings when it begins to listen
        await _hears(wakeups.projections, f"NOTIFY {PROJECTIONS}")
        await _hears(wakeups.projections, _CUT_THE_LISTENER)
        await _hears(wakeups.projections, f"NOTIFY {PROJECTIONS}")
        await wakeups.stop()

    async def _hears(signal: Signal, statement: str) -> None:
        seen = signal.mark()
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
            await connection.execute(statement.encode())
        await signal.wait_since(seen, 60)
        assert signal.mark() > seen

    asyncio.run(scenario())


_CUT_THE_LISTENER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'LISTEN%'
"""


def test_a_file_database_needs_no_listener(sqlite_url: str) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(sqlite_url)
        wakeups.start()
        await wakeups.stop()

    asyncio.run(scenario())
