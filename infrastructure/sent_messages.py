"""Finds the email behind a provider's message id, in the read model made for it."""

from collections.abc import Collection, Mapping
from uuid import UUID

from infrastructure.database.engines import Database
from projections import provider_messages


class SqlSentMessages:
    """Implements the port SentMessages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def emails(self, provider: str, message_ids: Collection[str]) -> Mapping[str, UUID]:
        return await self._database.ask(provider_messages.emails, provider, message_ids)
