"""Puts the service together. The only place that names concrete adapters."""

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import make_url

from application.alert_rules import Thresholds
from application.alerts import AlertChannel, AlertWatch, WatchPace
from application.attachment_links import AttachmentLinks
from application.breaker import BreakerPolicy
from application.change_email import ChangeEmailHandler
from application.concessions import Conceding
from application.delivery import Delivery, Tools
from application.dispatcher import Dispatcher, Pace
from application.feedback import RecordFeedback
from application.feeding import TOPICS, SuppressionFeeder
from application.health import HealthChecks
from application.inbox import HookDoor, TranslateInbox
from application.limits import Admission, Quotas
from application.policies import Policies
from application.ports import BlobStore, EmailProvider, FeedbackSource, Limits, LimitSource
from application.provider_lists import FollowProviderLists
from application.provider_watch import ProviderWatch
from application.providers import Providers
from application.routes import Route, with_default
from application.routing import Router
from application.send_email import SendEmailHandler
from application.suppressions import Suppressions
from domain.address import parse_mailbox
from domain.errors import InvalidAddress
from domain.events import Priority
from domain.provider import Rest
from infrastructure.alerts.email import EmailAlerts
from infrastructure.alerts.log import LogAlerts
from infrastructure.alerts.webhook import WebhookAlerts
from infrastructure.audit.keeper import ChainKeeper
from infrastructure.audit.signing import Signer, read_private
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.builder import Builder
from infrastructure.database.engines import Database
from infrastructure.database.leadership import Leadership
from infrastructure.database.notifications import Wakeups
from infrastructure.dispatch_queue import SqlDispatchQueue
from infrastructure.follower import Follower
from infrastructure.gauges import Gauges
from infrastructure.inbox import SqlInbox
from infrastructure.incidents import SqlIncidents
from infrastructure.ledger.ledger import EventLedger
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.ledger.store import EventStore
from infrastructure.limits import SqlLimits
from infrastructure.message_templates import MessageTemplates, pinned
from infrastructure.metrics import Metrics
from infrastructure.outbound import LEADS_INSIDE, Outbound, Refused, check_url
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.provider_states import SqlProviderStates
from infrastructure.provider_table import make_poller, make_provider
from infrastructure.providers.drilled import Drilled
from infrastructure.providers.measured import Measured
from infrastructure.sent_messages import SqlSentMessages
from infrastructure.settings import PREFIX, Settings, SettingsError, variable
from infrastructure.verification.verify import build_check
from infrastructure.vitals import SqlVitals
from infrastructure.web.service import Service
from infrastructure.workers import Loop, fetching, learning, watching
from projections import (
    activity,
    audit,
    dead_letters,
    dispatch_queue,
    emails,
    provider_messages,
    recipients,
    statistics,
    suppressions,
    unconfirmed,
)
from projections import providers as provider_rows
from projections.projection import Projection

PROJECTIONS: Sequence[Projection] = (
    emails.PROJECTION,
    recipients.PROJECTION,
    activity.PROJECTION,
    dispatch_queue.PROJECTION,
    provider_messages.PROJECTION,
    suppressions.PROJECTION,
    dead_letters.PROJECTION,
    unconfirmed.PROJECTION,
    provider_rows.PROJECTION,
    audit.PROJECTION,
    statistics.PROJECTION,
)

_FEEDING = 0x706C_7366  # "plsf": who feeds the suppression list
_WATCHING = 0x706C_616C  # "plal": who watches how the service is doing
_CHECKING = 0x706C_6863  # "plhc": who checks the providers
_CHAINING = 0x706C_6175  # "plau": who chains the log
_BUILDING = 0x706C_6275  # "plbu": who sees to the builds of read models
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
    dispatchers: Sequence[Dispatcher]
    service: Service
    inbox: SqlInbox
    translate: TranslateInbox
    suppressions: Suppressions
    feeding: Follower
    loops: Sequence[Loop]
    incidents: SqlIncidents
    alerts: Sequence[AlertChannel]
    outbound: Outbound
    limits: SqlLimits
    states: ProviderWatch
    streams: Providers
    builder: Builder
    chain: ChainKeeper
    signer: Signer | None  # None: what is made is not signed

    async def prepare(self) -> None:
        """Create what tables are missing; any number of processes may at once. Raises StoreUnavailable."""
        await self.runner.prepare()
        await self.inbox.prepare()
        await self.limits.prepare()
        await self.feeding.prepare()
        await self.incidents.prepare()
        await self.chain.prepare()

    async def close(self) -> None:
        await self.wakeups.stop()
        await self.inbox.close()
        await self.limits.close()
        await self.outbound.close()
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
    runner = ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now, processes=settings.projection_processes)
    suppression_list = Suppressions(ledger, now)
    links = _links(settings)
    templates = _checked("TEMPLATE_DIR", lambda: MessageTemplates(settings.template_dir))
    router = Router(_routes(settings, providers, templates), providers)
    limits, streams = SqlLimits(database), Providers(ledger)
    states = ProviderWatch(providers, SqlProviderStates(database, wakeups), streams, _breaker(settings), now)
    quotas = _quotas(settings, providers)
    metrics = Metrics()
    measured = {name: Measured(Drilled(provider, states, now), metrics) for name, provider in providers.items()}
    tools = Tools(
        *(ledger, ledger, blobs, measured, router, quotas, limits, states, suppression_list),
        *(now, random.random, settings.lease, Conceding(templates, links)),
    )
    queue = SqlDispatchQueue(database, wakeups)
    inbox = SqlInbox(database, wakeups)
    sources = {name: provider for name, provider in providers.items() if isinstance(provider, FeedbackSource)}
    lists = FollowProviderLists(suppression_list, set(settings.api_keys().values()), now)
    record = RecordFeedback(ledger, SqlSentMessages(database), lists, now)
    translate = TranslateInbox(inbox, sources, record, now, metrics.feedback)
    vitals = SqlVitals(database, runner.positions, settings.alert_dead_letters_window, now)
    incidents = SqlIncidents(database)
    policies = Policies(settings.policy, settings.tenants, router.route)
    send_email = SendEmailHandler(ledger, blobs, suppression_list, now, policies, Admission(quotas, limits, now))
    service = Service(
        send_email=send_email,
        change_email=ChangeEmailHandler(ledger, now, tuple(providers)),
        hooks=HookDoor(inbox, sources),
        suppressions=suppression_list,
        ledger=ledger,
        contents=ledger,
        database=database,
        wait_for=runner.wait_for,
        positions=runner.positions,
        api_keys=settings.api_keys(),
        clock=now,
        max_body_bytes=settings.max_body_bytes,
        ready=_readiness(ledger, runner),
        blobs=blobs,
        links=links,
        metrics=metrics,
        provider_states=states.all,
        gauges=Gauges(vitals, states, list(providers), incidents, metrics, now).text,
    )
    dispatchers = list(_dispatchers(settings, queue, limits, Delivery(tools)))
    feeder = SuppressionFeeder(ledger, suppression_list, now)
    feeding = Follower("suppressions", TOPICS, feeder, ledger, database, now, key=_FEEDING)
    outbound = Outbound(internal=settings.alert_webhook_internal)
    alerts = list(_alert_channels(settings, send_email, outbound))
    pace = WatchPace(settings.alert_every, settings.alert_calm)
    watch = AlertWatch(vitals, states, list(providers), incidents, alerts, _thresholds(settings), pace, now)
    lead = Leadership(database, _WATCHING, lease=3 * settings.alert_every.total_seconds())
    health = HealthChecks(providers, states, settings.health_interval, now, random.random)
    checks = Leadership(database, _CHECKING, lease=2 * settings.health_interval.total_seconds())
    loops: list[Loop] = [translate.run, feeding.run, states.run, watching(watch, lead), watching(health, checks)]
    loops.append(learning(_limit_sources(settings, providers), quotas.learn))
    signer = _signer(settings)
    chain = ChainKeeper(ledger, database, now, signer, settings.audit_every)
    loops.append(watching(chain, Leadership(database, _CHAINING)))
    builder = Builder(ledger, database, PROJECTIONS, wakeups, now, check=build_check(ledger, database))
    loops.append(watching(builder, Leadership(database, _BUILDING)))
    loops += _fetching(settings, sources, inbox, metrics)
    return System(
        *(settings, ledger, database, wakeups, blobs, providers, runner, dispatchers, service),
        *(inbox, translate, suppression_list, feeding, loops, incidents, alerts, outbound, limits),
        states=states,
        streams=streams,
        builder=builder,
        chain=chain,
        signer=signer,
    )


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def tune_garbage_collection() -> None:
    """Decoding pages of events makes many small objects that live as long as the page; the default thresholds walk
    the whole heap for them again and again, which costs about half the speed (docs/adr/0006)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


def _dispatchers(
    settings: Settings, queue: SqlDispatchQueue, limits: Limits, deliver: Delivery
) -> Iterator[Dispatcher]:
    """Two lanes: what is critical has places of its own, and never waits for one that other mail has."""
    lanes = (
        (settings.critical_concurrency, [Priority.CRITICAL]),
        (settings.worker_concurrency, [Priority.NORMAL, Priority.BULK]),
    )
    for concurrency, priorities in lanes:
        pace = Pace(concurrency, settings.lease, settings.poll, settings.drain)
        yield Dispatcher(_worker_name(), queue, limits, deliver, now, pace, priorities)


def _breaker(settings: Settings) -> BreakerPolicy:
    rest = Rest(settings.breaker_open, settings.breaker_longest)
    limits = (settings.breaker_failures, settings.breaker_rate, settings.breaker_calls, settings.breaker_window)
    return BreakerPolicy(*limits, rest)


def _event_store(url: str, database: Database) -> EventStore:
    if database.kind == "sqlite":
        return SqliteEventStore(Path(make_url(url).database or ""), database.turn)
    return PostgresEventStore(url)


def _blobs(url: str) -> BlobStore:
    scheme, _, path = url.partition(":")
    if scheme != "file" or not path:
        raise SettingsError(f"{PREFIX}BLOB_URL: must be file:PATH, such as file:var/blobs or file:///srv/blobs")
    return FilesystemBlobs(Path("/" + path.lstrip("/") if path.startswith("/") else path))


def _provider(name: str, url: str) -> EmailProvider:
    return _checked(f"PROVIDERS: {name!r}", lambda: make_provider(name, url, now))


def _quotas(settings: Settings, providers: Mapping[str, EmailProvider]) -> Quotas:
    known = ", ".join(providers)
    for name in settings.limits.providers:
        if name not in providers:
            raise SettingsError(
                f"{variable('limits', 'providers', name)}: no provider is called {name!r}; these are: {known}"
            )
    return Quotas(settings.limits, [name for name, provider in providers.items() if provider.separate])


def _links(settings: Settings) -> AttachmentLinks | None:
    url = settings.public_url
    return AttachmentLinks(url, settings.link_keys(), settings.link_ttl) if url else None


def _signer(settings: Settings) -> Signer | None:
    name = "AUDIT_KEY" if settings.audit_key else "AUDIT_KEY_FILE"
    key = settings.audit_key_text()
    return _checked(name, lambda: read_private(key)) if key is not None else None


def _routes(settings: Settings, providers: Mapping[str, EmailProvider], templates: MessageTemplates) -> list[Route]:
    """As configured, once everything they give up of messages can be given up."""
    routes = with_default(settings.routes, list(providers))
    for route in routes:
        for concessions in filter(None, (provider.concessions for provider in route.providers)):
            if concessions.link_attachments_over is not None and settings.public_url is None:
                wanted = f"the links of route {route.name!r} to attachments"
                raise SettingsError(f"{variable('public_url')}: must be set for {wanted}: https://mail.example.com")
    return _checked("TEMPLATE_DIR", lambda: pinned(routes, templates))


def _limit_sources(settings: Settings, providers: Mapping[str, EmailProvider]) -> Mapping[str, LimitSource]:
    """Those whose rate nobody has configured."""
    told = {name for name, limits in settings.limits.providers.items() if limits.rate}
    return {name: each for name, each in providers.items() if isinstance(each, LimitSource) and name not in told}


def _fetching(
    settings: Settings, sources: Mapping[str, FeedbackSource], inbox: SqlInbox, metrics: Metrics
) -> Iterator[Loop]:
    for name, source in sources.items():
        refused = partial(metrics.hook, name)
        if poller := make_poller(settings.providers[name].get_secret_value(), source, now, refused):
            yield fetching(poller, name, inbox, metrics.hook)


def _alert_channels(settings: Settings, send: SendEmailHandler, outbound: Outbound) -> Iterator[AlertChannel]:
    yield LogAlerts()
    if settings.alert_webhook:
        url, secret = settings.alert_webhook.get_secret_value(), settings.alert_webhook_secret
        try:
            check_url(url, internal=settings.alert_webhook_internal)
        except Refused as refused:
            advice = f" If it should, set {PREFIX}ALERT_WEBHOOK_INTERNAL=true." if str(refused) == LEADS_INSIDE else ""
            raise SettingsError(f"{PREFIX}ALERT_WEBHOOK: {refused}{advice}") from None
        key = secret.get_secret_value() if secret else None
        yield _checked("ALERT_WEBHOOK_SECRET", lambda: WebhookAlerts(url, outbound, now, key))
    if settings.alert_email_to:
        to = [part.strip() for part in settings.alert_email_to.split(",")]
        for variable, addresses in (("ALERT_EMAIL_TO", to), ("ALERT_EMAIL_FROM", [settings.alert_email_from])):
            _check_addresses(variable, addresses)
        yield EmailAlerts(send, settings.alert_email_from, to)


def _check_addresses(variable: str, addresses: Sequence[str]) -> None:
    try:
        for address in addresses:
            parse_mailbox(address)
    except InvalidAddress:
        raise SettingsError(f"{PREFIX}{variable}: must be an email address, such as ops@example.org") from None


def _thresholds(settings: Settings) -> Thresholds:
    return Thresholds(
        dead_letters=settings.alert_dead_letters,
        dead_letters_window=settings.alert_dead_letters_window,
        queue_age=settings.alert_queue_age,
        in_doubt=settings.alert_in_doubt,
        in_doubt_age=settings.alert_in_doubt_age,
        lag=settings.alert_lag,
    )


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
