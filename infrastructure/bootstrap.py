"""Puts the service together, from parts made as `configured` and from adapters that every service has."""

import asyncio
import gc
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from application.alerts import AlertChannel, AlertWatch, WatchPace
from application.change_email import ChangeEmailHandler
from application.concessions import Conceding
from application.delivery import Delivery, Tools
from application.dispatcher import Dispatcher, Pace
from application.feedback import RecordFeedback
from application.feeding import TOPICS, SuppressionFeeder
from application.health import HealthChecks
from application.inbox import HookDoor, TranslateInbox
from application.limits import Admission
from application.policies import Policies
from application.ports import BlobStore, EmailProvider, FeedbackSource, Limits
from application.provider_lists import FollowProviderLists
from application.provider_watch import ProviderWatch
from application.providers import Providers
from application.routing import Router
from application.send_email import SendEmailHandler
from application.suppressions import Suppressions
from domain.events import Priority
from infrastructure import configured
from infrastructure.audit.keeper import ChainKeeper
from infrastructure.audit.signing import Signer
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
from infrastructure.limits import SqlLimits
from infrastructure.metrics import Metrics
from infrastructure.outbound import Outbound
from infrastructure.projection_runner import ProjectionRunner
from infrastructure.provider_states import SqlProviderStates
from infrastructure.providers.drilled import Drilled
from infrastructure.providers.measured import Measured
from infrastructure.sent_messages import SqlSentMessages
from infrastructure.settings import Settings
from infrastructure.verification.verify import build_check
from infrastructure.vitals import SqlVitals
from infrastructure.web.service import Service
from infrastructure.workers import Loop, learning, watching
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
    database = configured.database(url)
    wakeups = Wakeups(url)
    ledger = EventLedger(configured.event_store(url, database), wakeups.events)
    blobs = configured.blobs(settings.blob_url.get_secret_value())
    providers = configured.providers(settings, now)
    runner = ProjectionRunner(ledger, database, PROJECTIONS, wakeups, now, processes=settings.projection_processes)
    suppression_list = Suppressions(ledger, now)
    links = configured.links(settings)
    templates = configured.templates(settings)
    router = Router(configured.routes(settings, providers, templates), providers)
    limits, streams = SqlLimits(database), Providers(ledger)
    states = ProviderWatch(providers, SqlProviderStates(database, wakeups), streams, configured.breaker(settings), now)
    quotas = configured.quotas(settings, providers)
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
    alerts = list(configured.alert_channels(settings, send_email, outbound, now))
    pace = WatchPace(settings.alert_every, settings.alert_calm)
    watch = AlertWatch(vitals, states, list(providers), incidents, alerts, configured.thresholds(settings), pace, now)
    lead = Leadership(database, _WATCHING, lease=3 * settings.alert_every.total_seconds())
    health = HealthChecks(providers, states, settings.health_interval, now, random.random)
    checks = Leadership(database, _CHECKING, lease=2 * settings.health_interval.total_seconds())
    loops: list[Loop] = [translate.run, feeding.run, states.run, watching(watch, lead), watching(health, checks)]
    loops.append(learning(configured.limit_sources(settings, providers), quotas.learn))
    signer = configured.signer(settings)
    chain = ChainKeeper(ledger, database, now, signer, settings.audit_every)
    loops.append(watching(chain, Leadership(database, _CHAINING)))
    builder = Builder(ledger, database, PROJECTIONS, wakeups, now, check=build_check(ledger, database))
    loops.append(watching(builder, Leadership(database, _BUILDING)))
    loops += configured.feedback_loops(settings, sources, inbox, metrics, now)
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
