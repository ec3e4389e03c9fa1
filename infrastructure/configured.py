"""Single parts as the settings describe them. What cannot be made so is a SettingsError that names the variable."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import make_url

from application.alert_rules import Thresholds
from application.alerts import AlertChannel
from application.attachment_links import AttachmentLinks
from application.breaker import BreakerPolicy
from application.limits import Quotas
from application.ports import BlobStore, Clock, EmailProvider, FeedbackSource, LimitSource
from application.routes import Route, with_default
from application.send_email import SendEmailHandler
from domain.address import parse_mailbox
from domain.errors import InvalidAddress
from domain.provider import Rest
from infrastructure.alerts.email import EmailAlerts
from infrastructure.alerts.log import LogAlerts
from infrastructure.alerts.webhook import WebhookAlerts
from infrastructure.audit.signing import Signer, read_private
from infrastructure.blobs.filesystem import FilesystemBlobs
from infrastructure.database.engines import Database
from infrastructure.inbox import SqlInbox
from infrastructure.ledger.postgres import PostgresEventStore
from infrastructure.ledger.sqlite import SqliteEventStore
from infrastructure.ledger.store import EventStore
from infrastructure.message_templates import MessageTemplates, pinned
from infrastructure.metrics import Metrics
from infrastructure.outbound import LEADS_INSIDE, Outbound, Refused, check_url
from infrastructure.provider_table import make_poller, make_provider
from infrastructure.settings import PREFIX, Settings, SettingsError, variable
from infrastructure.workers import Loop, fetching

_T = TypeVar("_T")


def breaker(settings: Settings) -> BreakerPolicy:
    rest = Rest(settings.breaker_open, settings.breaker_longest)
    limits = (settings.breaker_failures, settings.breaker_rate, settings.breaker_calls, settings.breaker_window)
    return BreakerPolicy(*limits, rest)


def database(url: str) -> Database:
    return _checked("DATABASE_URL", lambda: Database.open(url))


def event_store(url: str, database: Database) -> EventStore:
    if database.kind == "sqlite":
        return SqliteEventStore(Path(make_url(url).database or ""), database.turn)
    return PostgresEventStore(url)


def blobs(url: str) -> BlobStore:
    scheme, _, path = url.partition(":")
    if scheme != "file" or not path:
        raise SettingsError(f"{PREFIX}BLOB_URL: must be file:PATH, such as file:var/blobs or file:///srv/blobs")
    return FilesystemBlobs(Path("/" + path.lstrip("/") if path.startswith("/") else path))


def providers(settings: Settings, clock: Clock) -> dict[str, EmailProvider]:
    return {name: _provider(name, url.get_secret_value(), clock) for name, url in settings.providers.items()}


def _provider(name: str, url: str, clock: Clock) -> EmailProvider:
    return _checked(f"PROVIDERS: {name!r}", lambda: make_provider(name, url, clock))


def quotas(settings: Settings, providers: Mapping[str, EmailProvider]) -> Quotas:
    known = ", ".join(providers)
    for name in settings.limits.providers:
        if name not in providers:
            raise SettingsError(
                f"{variable('limits', 'providers', name)}: no provider is called {name!r}; these are: {known}"
            )
    return Quotas(settings.limits, [name for name, provider in providers.items() if provider.separate])


def links(settings: Settings) -> AttachmentLinks | None:
    url = settings.public_url
    return AttachmentLinks(url, settings.link_keys(), settings.link_ttl) if url else None


def signer(settings: Settings) -> Signer | None:
    name = "AUDIT_KEY" if settings.audit_key else "AUDIT_KEY_FILE"
    key = settings.audit_key_text()
    return _checked(name, lambda: read_private(key)) if key is not None else None


def templates(settings: Settings) -> MessageTemplates:
    return _checked("TEMPLATE_DIR", lambda: MessageTemplates(settings.template_dir))


def routes(settings: Settings, providers: Mapping[str, EmailProvider], templates: MessageTemplates) -> list[Route]:
    """As configured, once everything they give up of messages can be given up."""
    routes = with_default(settings.routes, list(providers))
    for route in routes:
        for concessions in filter(None, (provider.concessions for provider in route.providers)):
            if concessions.link_attachments_over is not None and settings.public_url is None:
                wanted = f"the links of route {route.name!r} to attachments"
                raise SettingsError(f"{variable('public_url')}: must be set for {wanted}: https://mail.example.com")
    return _checked("TEMPLATE_DIR", lambda: pinned(routes, templates))


def limit_sources(settings: Settings, providers: Mapping[str, EmailProvider]) -> Mapping[str, LimitSource]:
    """Those whose rate nobody has configured."""
    told = {name for name, limits in settings.limits.providers.items() if limits.rate}
    return {name: each for name, each in providers.items() if isinstance(each, LimitSource) and name not in told}


def feedback_loops(
    settings: Settings, sources: Mapping[str, FeedbackSource], inbox: SqlInbox, metrics: Metrics, clock: Clock
) -> Iterator[Loop]:
    """What fetches from the providers whose feedback has to be fetched."""
    for name, source in sources.items():
        refused = partial(metrics.hook, name)
        if poller := make_poller(settings.providers[name].get_secret_value(), source, clock, refused):
            yield fetching(poller, name, inbox, metrics.hook)


def alert_channels(
    settings: Settings, send: SendEmailHandler, outbound: Outbound, clock: Clock
) -> Iterator[AlertChannel]:
    yield LogAlerts()
    if settings.alert_webhook:
        url, secret = settings.alert_webhook.get_secret_value(), settings.alert_webhook_secret
        try:
            check_url(url, internal=settings.alert_webhook_internal)
        except Refused as refused:
            advice = f" If it should, set {PREFIX}ALERT_WEBHOOK_INTERNAL=true." if str(refused) == LEADS_INSIDE else ""
            raise SettingsError(f"{PREFIX}ALERT_WEBHOOK: {refused}{advice}") from None
        key = secret.get_secret_value() if secret else None
        yield _checked("ALERT_WEBHOOK_SECRET", lambda: WebhookAlerts(url, outbound, clock, key))
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


def thresholds(settings: Settings) -> Thresholds:
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
