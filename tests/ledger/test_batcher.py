"""Group commit itself: who waits gets an answer, whatever happens to the others."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from infrastructure.ledger.batcher import Batcher


class Press:
    """Fulfils wishes when it is told to, and remembers each batch."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.batches: list[Sequence[int]] = []

    def __call__(self, wishes: Sequence[int]) -> list[int | Exception]:
        self.begun.release()
        self.go.wait()
        self.batches.append(list(wishes))
        if -1 in wishes:
            raise LookupError("all of you")
        return [wish * 10 if wish % 2 else ValueError(wish) for wish in wishes]


async def started(press: Press) -> None:
    await asyncio.to_thread(press.begun.acquire)


def test_what_comes_while_a_batch_is_under_way_goes_together_into_the_next() -> None:
    async def scenario() -> None:
        press = Press()
        batcher = Batcher(press, "test", most=3)
        first = asyncio.create_task(batcher.submit(1))
        await started(press)
        rest = [asyncio.create_task(batcher.submit(wish)) for wish in (3, 5, 7, 9)]
        await asyncio.sleep(0)
        press.go.set()
        assert await asyncio.gather(first, *rest) == [10, 30, 50, 70, 90]
        assert press.batches == [[1], [3, 5, 7], [9]]
        await batcher.close()

    asyncio.run(scenario())


def test_an_exception_for_one_wish_reaches_only_who_made_it() -> None:
    async def scenario() -> None:
        press = Press()
        press.go.set()
        batcher = Batcher(press, "test", most=10)
        results = await asyncio.gather(*(batcher.submit(wish) for wish in (1, 2, 3)), return_exceptions=True)
        assert [results[0], type(results[1]), results[2]] == [10, ValueError, 30]
        await batcher.close()

    asyncio.run(scenario())


def test_an_exception_for_the_whole_batch_reaches_everyone_in_it_and_the_next_batch_works() -> None:
    async def scenario() -> None:
        press = Press()
        press.go.set()
        batcher = Batcher(press, "test", most=10)
        results = await asyncio.gather(*(batcher.submit(wish) for wish in (1, -1)), return_exceptions=True)
        assert [type(result) for result in results] == [LookupError, LookupError]
        assert await batcher.submit(3) == 30
        await batcher.close()

    asyncio.run(scenario())


def test_a_caller_that_gives_up_disturbs_nobody_and_its_wish_is_fulfilled_all_the_same() -> None:
    async def scenario() -> None:
        press = Press()
        batcher = Batcher(press, "test", most=10)
        blocker = asyncio.create_task(batcher.submit(1))
        await started(press)
        quitter, stayer = asyncio.create_task(batcher.submit(3)), asyncio.create_task(batcher.submit(5))
        await asyncio.sleep(0)
        quitter.cancel()
        press.go.set()
        assert [await blocker, await stayer] == [10, 50]
        assert [list(batch) for batch in press.batches] == [[1], [3, 5]]
        await batcher.close()

    asyncio.run(scenario())


def test_closing_finishes_what_is_waiting_first() -> None:
    async def scenario() -> None:
        press = Press()
        batcher = Batcher(press, "test", most=1)
        tasks = [asyncio.create_task(batcher.submit(wish)) for wish in (1, 3)]
        await started(press)
        closing = asyncio.create_task(batcher.close())
        press.go.set()
        await closing
        assert [task.result() for task in tasks] == [10, 30]

    asyncio.run(scenario())


def test_a_loop_that_is_torn_down_leaves_nobody_waiting_and_another_loop_can_go_on() -> None:
    press = Press()
    batcher = Batcher(press, "test", most=1)

    async def torn_down() -> None:
        futures = [asyncio.create_task(batcher.submit(wish)) for wish in (1, 3)]
        await started(press)
        for task in asyncio.all_tasks() - {asyncio.current_task(), *futures}:
            task.cancel()  # what asyncio.run does when it ends, here to the batcher's own task alone
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        press.go.set()

    async def goes_on() -> None:
        assert await batcher.submit(5) == 50
        await batcher.close()

    asyncio.run(torn_down())
    asyncio.run(goes_on())


def test_a_closed_batcher_refuses_instead_of_hanging() -> None:
    async def scenario() -> None:
        batcher = Batcher(Press(), "test", most=1)
        await batcher.close()
        with pytest.raises(RuntimeError):
            await batcher.submit(1)

    asyncio.run(scenario())
