"""How the providers stand, from the read model of the same name."""

from collections.abc import Mapping

from sqlalchemy import Connection

from domain.provider_state import ProviderState
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from projections.providers import everyone


class SqlProviderStates:
    """Implements the port KnownStates."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def all(self) -> Mapping[str, ProviderState]:
        return await self._database.ask(_states)

    async def wait(self, timeout: float) -> None:
        await self._wakeups.projections.wait(timeout)


def _states(connection: Connection) -> Mapping[str, ProviderState]:
    return {name: row.state for name, row in everyone(connection).items()}
