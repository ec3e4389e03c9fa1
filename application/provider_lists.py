"""Follows what providers say about their own suppression lists, where no email of ours is the reason."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from application.ports import Clock
from application.suppressions import Suppressions
from domain.events import Stamp
from domain.feedback import Feedback, Kind
from domain.suppression import EVERYTHING, Entry, Suppression

_OF_A_LIST = frozenset({"provider_list", "unsubscribe"})  # the rules that a provider may take back


class FollowProviderLists:
    """Implements the port ProviderLists. A list that no tenant can be told from concerns all of them."""

    def __init__(self, suppressions: Suppressions, tenants: Collection[str], clock: Clock) -> None:
        self._suppressions = suppressions
        self._tenants = tenants
        self._clock = clock

    async def changed(self, said: Feedback, provider: str, tenant: str | None, raw: UUID, at: datetime) -> None:
        if not said.recipient:
            return
        source = f"provider:{provider}"
        stamp = Stamp(now=self._clock(), actor=source, correlation_id=raw, causation_id=raw)

        def ask(suppression: Suppression) -> None:
            if said.kind is Kind.SUPPRESSION_ADDED:
                suppression.add(EVERYTHING, "provider_list", source, stamp, reason=said.reason or "", cause=raw)
            else:
                suppression.remove(None, "resubscribed", source, stamp, cause=raw, only=before)

        def before(entry: Entry) -> bool:
            return entry.source == source and entry.rule in _OF_A_LIST and entry.added_at <= at

        for each in [tenant] if tenant else sorted(self._tenants):
            await self._suppressions.decide(each, said.recipient, ask)
