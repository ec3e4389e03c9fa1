"""Waiting for whatever comes first."""

import asyncio
from collections.abc import Awaitable


async def first(*waits: Awaitable[object]) -> None:
    """Until one of them is over; the others are given up."""
    futures = [asyncio.ensure_future(wait) for wait in waits]
    _, pending = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future in pending:
        future.cancel()
