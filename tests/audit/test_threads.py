"""From a webhook to the command that it goes back to, and from the command to all that came of it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from domain import events as e
from infrastructure.cli.audit_thread import Node, Thread, follow_thread
from projections.audit_log import AuditFilter, AuditPage, page
from tests.in_process import Postledger, in_process
from tests.providers.tellers import TELLERS
from tests.providers.tellers.teller import Letter

ADA = "ada@example.com"


def types(nodes: list[Node]) -> list[object]:
    """A type, or what it led to beside it; None stands for a delivery."""
    return [(_type(node), types(node.effects)) if node.effects else _type(node) for node in nodes]


def _type(node: Node) -> str | None:
    return node.entry.type if node.entry else None


async def bounce(postledger: Postledger) -> UUID:
    """An email that bounced, whose address is on the suppression list by now. The id of the delivery that said so."""
    id = await postledger.send(ADA)
    await postledger.until(lambda: has(postledger, id, "email.dispatched"))
    (queued, *_) = [recorded.event for recorded in await postledger.system.ledger.load(UUID(id))]
    assert isinstance(queued, e.EmailQueued)
    (dispatched,) = await postledger.events(id, "email.dispatched")
    message_id = dispatched["data"]["messages"][0]["message_id"]
    letter = Letter(id, str(queued.recipients[0].id), (ADA,), message_id)
    teller, now = TELLERS["sendgrid"], datetime.now(UTC)
    assert await postledger.tell(teller.sign(teller.event("bounced", letter, ADA, now), now, "told")) == 200
    await postledger.until(lambda: listed(postledger))
    (failed,) = await postledger.events(id, "email.recipient_delivery_failed")
    return UUID(failed["data"]["raw"])


async def has(postledger: Postledger, id: str, type: str) -> bool:
    return bool(await postledger.events(id, type))


async def listed(postledger: Postledger) -> bool:
    return bool((await found(postledger, "suppression.added")).rows)


async def found(postledger: Postledger, type: str) -> AuditPage:
    return await postledger.system.database.ask(page, AuditFilter(type=type))


async def thread(postledger: Postledger, id: UUID) -> Thread:
    told = await follow_thread(postledger.system, id)
    assert told is not None
    return told


def test_the_thread_runs_from_the_webhook_to_the_command_and_back(tmp_path: Path) -> None:
    async def play() -> None:
        teller = TELLERS["sendgrid"]
        async with teller.office(5.0) as office, in_process(tmp_path, "main", office.url) as postledger:
            async with postledger.working():
                delivery = await bounce(postledger)
            (suppressed,) = (await found(postledger, "suppression.added")).rows
            told = await thread(postledger, suppressed.event_id)
            heard = [(None, [("email.recipient_delivery_failed", ["suppression.added"])])]
            assert types(told.roots) == heard
            assert (told.roots[0].delivery, told.roots[0].provider) == (delivery, "main")
            assert told.begun_by is not None
            assert (told.begun_by.type, told.begun_by.actor[:4]) == ("email.queued", "api:")
            assert types((await thread(postledger, delivery)).roots) == heard
            sent = [("email.queued", [("email.delivery_started", ["email.dispatched"])])]
            request, email = told.begun_by.correlation_id, told.begun_by.stream_id
            assert types((await thread(postledger, email)).roots) == sent + heard
            assert types((await thread(postledger, request)).roots) == sent + heard
            assert types((await thread(postledger, suppressed.stream_id)).roots) == heard

    asyncio.run(play())
