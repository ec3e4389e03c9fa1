"""Puts the service together. The only place that names concrete adapters."""

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from sqlalchemy.engine import make_url

from application.change_email import ChangeEmailHandler
from application.delivery import Delivery, Tools
from application.dispatcher import Dispatcher, Pace
from application.ports import BlobStore, EmailProvider
from application.routing import Router
from application.send_email import SendEmailHandler
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.database.engines import Database
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.ledger.store import EventStore
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.providers.sandbox import SandboxProvider
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings
from infrastructure.settings import PREFIX, Settings, SettingsError
from infrastructure.web.service import Service
from projections import activity, dispatch_queue, emails, recipients
from projections.projection import Projection

PROJECTIONS: Sequence[Projection] = (
    emails.PROJECTION,
    recipients.PROJECTION,
    activity.PROJECTION,
    dispatch_queue.PROJECTION,
)

_READY_WITHIN = 2.0  # seconds; whoever asks whether we are ready wants to know now

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class System:
    """One process's worth of Postledger, wired but not running."""

    settings: Settings
    ledger: EventLedger
    database: Database
    wakeups: Wakeups
    blobs: BlobStore
    providers: Mapping[str, EmailProvider]
    runner: ProjectionRunner
    dispatcher: Dispatcher
    service: Service

    async def close(self) -> None:
        await self.wakeups.stop()
        for provider in self.providers.values():
            await provider.close()
        await self.ledger.close()
        self.database.close()


def bootstrap(settings: Settings) -> System:
    """Wire everything up; connects to nothing yet. Raises SettingsError for a URL that names nothing we have."""
    url = settings.database_url.get_secret_value()
    database = _checked("DATABASE_URL", lambda: Database.open(url))
    wakeups = Wakeups(url)
    ledger = EventLedger(_event_store(url, database), wakeups.events)
    blobs = _blobs(settings.blob_url.get_secret_value())
    providers = {name: _provider(name, url.get_secret_value()) for name, url in settings.providers.items()}
    runner = ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now)
    tools = Tools(ledger, ledger, blobs, providers, Router(list(providers)), now, random.random, settings.lease)
    pace = Pace(settings.worker_concurrency, settings.lease, settings.poll, settings.drain)
    queue = SqlDispatchQueue(database, wakeups)
    service = Service(
        send_email=SendEmailHandler(ledger, blobs, now, settings.policy),
        change_email=ChangeEmailHandler(ledger, now),
        ledger=ledger,
        contents=ledger,
        database=database,
        wait_for=runner.wait_for,
        api_keys=settings.api_keys(),
        clock=now,
        max_body_bytes=settings.max_body_bytes,
        ready=_readiness(ledger, runner),
    )
    dispatcher = Dispatcher(_worker_name(), queue, Delivery(tools), now, pace)
    return System(settings, ledger, database, wakeups, blobs, providers, runner, dispatcher, service)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def tune_garbage_collection() -> None:
    """Decoding pages of events makes many small objects that live as long as the page; the default thresholds walk
    the whole heap for them again and again, which costs about half the speed (docs/adr/0006)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _event_store(url: str, database: Database) -> EventStore:
    if database.kind == "sqlite":
        return SqliteEventStore(Path(make_url(url).database or ""), database.turn)
    return PostgresEventStore(url)


def _blobs(url: str) -> BlobStore:
    scheme, _, path = url.partition(":")
    if scheme != "file" or not path:
        raise SettingsError(f"{PREFIX}BLOB_URL: must be file:PATH, such as file:var/blobs or file:///srv/blobs")
    return FilesystemBlobs(Path("/" + path.lstrip("/") if path.startswith("/") else path))


def _sandbox(name: str, url: str) -> EmailProvider:
    directory = parse_qs(urlsplit(url).query).get("dir", ["var/sandbox"])[0]
    return SandboxProvider(name, Path(directory), now)


def _smtp(name: str, url: str) -> EmailProvider:
    return SmtpProvider(name, SmtpSettings.from_url(url), now)


PROVIDERS: Mapping[str, Callable[[str, str], EmailProvider]] = {
    "sandbox": _sandbox,
    "smtp": _smtp,
    "smtps": _smtp,
}


def _provider(name: str, url: str) -> EmailProvider:
    scheme = url.partition("://")[0]
    if scheme not in PROVIDERS:
        known = ", ".join(f"{scheme}://" for scheme in PROVIDERS)
        raise SettingsError(f"{PREFIX}PROVIDERS: {name!r} has a URL of an unknown kind; known are {known}")
    return _checked(f"PROVIDERS: {name!r}", lambda: PROVIDERS[scheme](name, url))


def _checked(variable: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{PREFIX}{variable}: {reason}") from None


def _readiness(ledger: EventLedger, runner: ProjectionRunner) -> Callable[[], Awaitable[Mapping[str, str | None]]]:
    async def ready() -> Mapping[str, str | None]:
        return {"ledger": await _trouble(ledger.position()), "read_models": await _trouble(runner.positions())}

    return ready


async def _trouble(check: Awaitable[object]) -> str | None:
    try:
        async with asyncio.timeout(_READY_WITHIN):
            await check
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is not ready, and this names it
        return type(error).__name__
    return None


def _worker_name() -> str:
    """Unique for ever: a restarted worker must not inherit the leases of its former self."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
