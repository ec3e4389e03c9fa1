"""Handles what clients and operators decide about an accepted email."""

from collections.abc import Callable, Collection
from datetime import datetime
from uuid import UUID

from application.commands import Caller, Receipt, Reschedule, Resolve, Retry, check_send_at
from application.deciding import decide
from application.errors import InvalidField
from application.ports import Clock, Ledger
from domain.answer import RecipientReport
from domain.email import Email
from domain.events import Stamp


class ChangeEmailHandler:
    """Reschedule, cancel, retry, resolve, report. All raise EmailNotFound and NotAllowedInThisState."""

    def __init__(self, ledger: Ledger, clock: Clock, providers: Collection[str] = ()) -> None:
        """`providers` are those an email may be sent through again."""
        self._ledger = ledger
        self._clock = clock
        self._providers = providers

    async def reschedule(self, email_id: UUID, command: Reschedule, caller: Caller) -> Receipt:
        now = self._clock()
        send_at = check_send_at(command.scheduled_at, now)
        return await self._decide(email_id, caller, lambda email, stamp: email.reschedule(send_at, stamp))

    async def cancel(self, email_id: UUID, caller: Caller) -> Receipt:
        return await self._decide(email_id, caller, lambda email, stamp: email.cancel(stamp))

    async def retry(self, email_id: UUID, command: Retry, caller: Caller) -> Receipt:
        """Raises InvalidField, too, for a provider that there is none of."""
        self.check_provider(command.provider)
        return await self._decide(
            email_id,
            caller,
            lambda email, stamp: email.requeue(command.reason, stamp, command.priority, command.provider),
        )

    def check_provider(self, name: str | None) -> None:
        """Raises InvalidField, naming those there are."""
        if name is not None and name not in self._providers:
            known = ", ".join(self._providers)
            raise InvalidField("provider", f"must be one of the configured providers: {known or 'there is none'}")

    async def resolve(self, email_id: UUID, command: Resolve, caller: Caller) -> Receipt:
        return await self._decide(
            email_id, caller, lambda email, stamp: email.resolve(command.as_resolution, command.reason, stamp)
        )

    async def record_feedback(self, email_id: UUID, report: RecipientReport, caller: Caller) -> Receipt:
        """What a provider says about one recipient, from a webhook or a DSN."""
        return await self._decide(email_id, caller, lambda email, stamp: email.report(report, stamp))

    async def _decide(self, email_id: UUID, caller: Caller, ask: Callable[[Email, Stamp], None]) -> Receipt:
        now: datetime = self._clock()
        _, position = await decide(
            self._ledger, email_id, lambda email: ask(email, caller.stamp(now)), tenant=caller.tenant
        )
        return Receipt(id=email_id, position=position)
