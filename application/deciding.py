"""Load, ask, append: how every decision about an existing email is made."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from application.errors import Contended, EmailNotFound, StreamConflict
from application.ports import Ledger
from domain.email import Email
from domain.events import EmailQueued

_TRIES = 8


async def load(ledger: Ledger, email_id: UUID, tenant: str | None = None) -> tuple[Email, int]:
    """The email as it stands and the position of its last event. Raises EmailNotFound, for other tenants' too."""
    history = await ledger.load(email_id)
    if not history or not isinstance(history[0].event, EmailQueued):
        raise EmailNotFound  # there are other streams than emails'
    email = Email.of(recorded.event for recorded in history)
    if email is None or (tenant is not None and email.tenant != tenant):
        raise EmailNotFound
    return email, history[-1].position


async def decide(
    ledger: Ledger,
    email_id: UUID,
    ask: Callable[[Email], None],
    tenant: str | None = None,
    known: tuple[Email, int] | None = None,
) -> tuple[Email, int]:
    """Let `ask` record events on the email and commit them; returns it and the position to read up to.

    When somebody else wrote in between, the question is asked again of the email as it then stands, so the answer is
    true at the moment of the commit. `known` is what an earlier decision returned; it saves the first look, and must
    not be used again. Raises what `ask` raises, EmailNotFound, Contended, StoreUnavailable.
    """
    for _ in range(_TRIES):
        email, position = known or await load(ledger, email_id, tenant)
        known = None
        ask(email)
        events = email.collect_events()
        if not events:
            return email, position
        try:
            return email, await ledger.append(events)
        except StreamConflict:
            await asyncio.sleep(0)
    raise Contended
