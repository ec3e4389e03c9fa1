"""Removes attachments that no accepted email refers to: what a crash between blob and commit leaves behind."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from application.ports import BlobStore, Clock

GRACE = timedelta(hours=1)  # how long a command may take between storing its attachments and committing
_BATCH = 500

InUse = Callable[[Sequence[str]], Awaitable[set[str]]]


async def sweep_orphans(blobs: BlobStore, in_use: InUse, clock: Clock, grace: timedelta = GRACE) -> int:
    """Delete every blob older than `grace` that nothing refers to; returns how many."""
    deadline = clock() - grace
    removed = 0
    batch: list[str] = []
    async for sha256, put_at in blobs.list():
        if put_at < deadline:
            batch.append(sha256)
        if len(batch) == _BATCH:
            removed += await _sweep(blobs, in_use, batch, deadline)
            batch = []
    return removed + await _sweep(blobs, in_use, batch, deadline)


async def _sweep(blobs: BlobStore, in_use: InUse, batch: Sequence[str], deadline: datetime) -> int:
    used = await in_use(batch) if batch else set()
    return sum([await blobs.delete(sha256, unless_put_after=deadline) for sha256 in batch if sha256 not in used])
