"""What the API needs of the rest of the service. `bootstrap` fills it in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from application.attachment_links import AttachmentLinks
from application.change_email import ChangeEmailHandler
from application.inbox import HookDoor
from application.ports import BlobStore, Clock, ContentStore, Ledger
from application.send_email import SendEmailHandler
from application.suppressions import Suppressions
from domain.provider_state import ProviderState
from infrastructure.database.engines import Database
from infrastructure.database.positions import ProjectionPosition
from infrastructure.metrics import Metrics

Checks = Mapping[str, str | None]  # by name; None means fine, else what is wrong


async def no_gauges() -> bytes:
    """Nothing, in Prometheus's text format."""
    return b""


async def no_positions() -> Sequence[ProjectionPosition]:
    """Nothing is folded."""
    return ()


@dataclass(frozen=True, slots=True)
class Service:
    """Handlers for commands, stores and read models for queries, and who may ask."""

    send_email: SendEmailHandler
    change_email: ChangeEmailHandler
    hooks: HookDoor
    suppressions: Suppressions
    ledger: Ledger
    contents: ContentStore
    database: Database
    wait_for: Callable[[int, float], Awaitable[bool]]  # position, seconds -> whether the read models got there
    api_keys: Mapping[str, str] = field(repr=False)  # key -> tenant
    clock: Clock
    max_body_bytes: int
    ready: Callable[[], Awaitable[Checks]]
    blobs: BlobStore
    links: AttachmentLinks | None = None  # None: no message of ours has any
    metrics: Metrics = field(default_factory=Metrics)
    gauges: Callable[[], Awaitable[bytes]] = no_gauges  # how the service is doing, in Prometheus's text format
    provider_states: Callable[[], Sequence[ProviderState]] = tuple  # of all that are configured
    positions: Callable[[], Awaitable[Sequence[ProjectionPosition]]] = no_positions  # of all read models
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # set before the server stops, to end the streams
