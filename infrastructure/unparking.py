"""Folds parked streams once more, from where they were left, in order."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from application.ports import Clock, Log, Recorded
from domain.errors import UnreadableEvent
from infrastructure.database.engines import Database
from infrastructure.database.parked import Parked, unpark
from infrastructure.database.positions import hold
from infrastructure.folding import ReadModel, fold
from projections.projection import Projection


class Unparking:
    """Runners may go on meanwhile: for the moment of one stream they wait."""

    def __init__(self, ledger: Log, database: Database, clock: Clock) -> None:
        self._ledger = ledger
        self._database = database
        self._clock = clock

    async def retry(self, projection: Projection, parked: Parked) -> str | None:
        """Why the stream stays parked, or None if the read model follows it again. Raises StoreUnavailable."""
        try:
            left = await self._database.tell(self._retry, projection, parked, asyncio.get_running_loop())
        except UnreadableEvent as error:
            return str(error)
        return left[0].error if left else None

    def _retry(
        self, connection: Connection, projection: Projection, parked: Parked, loop: asyncio.AbstractEventLoop
    ) -> Sequence[Parked]:
        position = hold(connection, projection) or 0
        history = asyncio.run_coroutine_threadsafe(self._ledger.load(parked.stream_id), loop).result()
        missed: list[Recorded] = [each for each in history if parked.position <= each.position <= position]
        unpark(connection, projection.name, projection.version, "", [parked.stream_id])
        return fold(connection, ReadModel.of(projection), missed, self._clock(), careful=True)
