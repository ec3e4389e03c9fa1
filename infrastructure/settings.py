"""Settings: read once from the environment and an optional `postledger.toml`, into one frozen model."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError
from pydantic_settings.sources import TomlConfigSettingsSource

from application.limits import LimitSettings
from application.policies import PolicyWishes
from application.routes import Name, Route, mistakes
from domain.delivery import MOVES_ON, DeliveryPolicy, ErrorClass, InDoubt, RetryPlan

PREFIX = "POSTLEDGER_"
_UNSAFE = "POSTGRES_ENABLE_DB_FUNCTIONS"  # of the eventsourcing library, which also reads it with a prefix
_WHY_UNSAFE = (
    "must not be set: it makes the event store write without its table lock, and readers then lose events for ever. "
    "Unset it and start again"
)
_TRUE = frozenset({"y", "yes", "t", "true", "on", "1"})  # what the library takes for yes
_SHORTEST_KEY = 16  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of a provider or a tenant
_WORDS: Mapping[str, str] = {  # for what pydantic says in a programmer's words
    "time_delta_parsing": "must be a duration, written as ISO 8601 such as PT15M (fifteen minutes) or P3D",
    "missing": "is missing",
    "too_short": "must name at least one",
    "extra_forbidden": "is not a setting; remove it or check its spelling",
    "tuple_type": "must be a list, in [ ]",
    "model_type": 'must be a table of settings, such as { name = "main" }',
    "dict_type": "must be a table of settings",
}


class SettingsError(Exception):
    """The settings are not usable; the message names each variable."""


class Settings(BaseSettings):
    """Everything that can be configured. The first run needs none of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file="postledger.toml", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8025, ge=0, le=65535)
    database_url: SecretStr = SecretStr("sqlite:///var/postledger.db")
    blob_url: SecretStr = SecretStr("file:var/blobs")
    api_key: SecretStr | None = Field(
        default=None, description="One key, or several as `tenant=key,tenant=key`. Made on the first run when missing."
    )
    api_key_file: Path = Path("var/api-key")
    public_url: str | None = Field(
        default=None, description="Where people reach this service, such as https://mail.example.com: for links."
    )
    link_key: SecretStr | None = Field(
        default=None, description="Signs links; of several, parted by commas, the first. Made when missing."
    )
    link_key_file: Path = Path("var/link-key")
    link_ttl: timedelta = Field(
        default=timedelta(days=30), le=timedelta(days=3650), description="How long a link to an attachment is good."
    )
    audit_key: SecretStr | None = Field(
        default=None, description="Signs checkpoints and exports: an Ed25519 private key, PEM or base64."
    )
    audit_key_file: Path | None = Field(default=None, description="Or the file it is in.")
    audit_every: timedelta = Field(default=timedelta(hours=1), description="How often a checkpoint is made.")
    template_dir: Path | None = Field(default=None, description="Where the templates of routes' concessions are.")
    providers: Annotated[dict[str, SecretStr], NoDecode] = {"sandbox": SecretStr("sandbox://default?dir=var/sandbox")}

    worker_concurrency: int = Field(default=64, ge=1, le=1000, description="Emails in flight to providers at once.")
    critical_concurrency: int = Field(default=16, ge=1, le=1000, description="The same for critical ones, beside it.")
    lease: timedelta = Field(default=timedelta(seconds=8), description="How long a claim holds without a heartbeat.")
    poll: timedelta = Field(default=timedelta(seconds=1), description="Safety net where a wake-up gets lost.")
    drain: timedelta = Field(default=timedelta(seconds=30), description="How long a graceful stop waits for providers.")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, description="Of one HTTP request.")
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row that open a provider's circuit.")
    breaker_rate: float = Field(default=0.5, gt=0, le=1, description="Or this share of its calls in the window …")
    breaker_calls: int = Field(default=20, ge=1, description="… of at least so many.")
    breaker_window: timedelta = Field(default=timedelta(seconds=60), description="The window of the two above.")
    breaker_open: timedelta = Field(
        default=timedelta(seconds=30), description="How long it stays open; twice as long after each failed probe."
    )
    breaker_longest: timedelta = Field(default=timedelta(minutes=5), description="But no longer than this.")
    health_interval: timedelta = Field(default=timedelta(seconds=30), description="Between two checks of a provider.")
    inbox_keep: timedelta = Field(
        default=timedelta(days=90), description="How long what providers delivered is kept as it came."
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="Rates and quotas; see docs/routing.md.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    worker_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Where a process with the role worker answers /metrics and the probes.",
    )

    projection_processes: int = Field(
        default=1, ge=1, le=64, description="How many processes fold read models at most; others stand by."
    )
    alert_every: timedelta = Field(default=timedelta(seconds=15), description="How often the rules are looked through.")
    alert_calm: timedelta = Field(default=timedelta(minutes=2), description="How long all is well before it is over.")
    alert_dead_letters: int = Field(default=20, ge=1, le=9000, description="More than these within the window.")
    alert_dead_letters_window: timedelta = timedelta(minutes=15)
    alert_queue_age: timedelta = Field(default=timedelta(minutes=5), description="Due for longer, and nobody began.")
    alert_in_doubt: int = Field(default=50, ge=1, le=9000, description="More emails than these in doubt at once.")
    alert_in_doubt_age: timedelta = Field(default=timedelta(hours=1), description="One of them in doubt for longer.")
    alert_lag: int = Field(default=10_000, ge=1, description="Events that read models or the chain may be behind.")
    alert_webhook: SecretStr | None = Field(default=None, description="A URL that alerts are posted to.")
    alert_webhook_secret: SecretStr | None = Field(default=None, description="Signs them; may begin with whsec_.")
    alert_webhook_internal: bool = Field(default=False, description="Whether it may be an address inside.")
    alert_email_to: str = Field(default="", description="Who gets alerts by email; several are parted by commas.")
    alert_email_from: str = Field(default="", description="The sender of these emails.")

    in_doubt: InDoubt = "at_least_once"
    max_attempts: int = Field(default=12, ge=1, le=100)
    give_up_after: timedelta = timedelta(hours=72)
    settle_after: timedelta = timedelta(minutes=15)
    first_retry: timedelta = timedelta(minutes=1)
    longest_retry: timedelta = timedelta(hours=4)
    retries: dict[ErrorClass, RetryPlan] = Field(default={}, description="Other waits after some kinds of trouble.")
    tenants: dict[Name, PolicyWishes] = Field(default={}, description="Other policies for some tenants.")
    routes: tuple[Route, ...] = Field(default=(), description="Which emails go how; see docs/routing.md.")

    @field_validator("providers", mode="before")
    @classmethod
    def _named_urls(cls, value: object) -> object:
        """`main=smtp://…,backup=…`; a bare URL is called by its scheme."""
        if not isinstance(value, str):
            return value
        named: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in value.split(","))):
            name, equals, url = part.partition("=")
            if not equals or "://" in name:
                name, url = part.partition("://")[0], part
            if not _NAME.fullmatch(name) or "://" not in url:
                raise ValueError("each provider is NAME=URL, such as main=smtp://host:587; a comma in a URL is %2C")
            _check_url(url)
            if name in named:
                raise ValueError(f"two providers are called {name!r}; give each its own name")
            named[name] = url
        if not named:
            raise ValueError("at least one provider is needed")
        return named

    @field_validator("public_url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        """Without a slash at its end."""
        if value is None:
            return None
        _check_url(value)
        parts = urlsplit(value)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or "@" in value:
            raise ValueError("must be a URL such as https://mail.example.com, without a user, `?` or `#`")
        return value.rstrip("/")

    @field_validator("link_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key.strip()) < _SHORTEST_KEY for key in value.get_secret_value().split(",")):
            raise ValueError(f"must have at least {_SHORTEST_KEY} characters, each of several keys")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        scheme, _, path = url.partition("://")
        if scheme == "sqlite" and path.startswith("/") and path != "/":
            return value
        if scheme not in ("postgresql", "postgresql+psycopg"):
            raise ValueError("must be sqlite:///PATH or postgresql://user:password@host/database")
        _check_url(url)
        return value

    @field_validator(
        *("lease", "poll", "drain", "inbox_keep", "give_up_after", "settle_after", "first_retry", "longest_retry"),
        *("breaker_window", "breaker_open", "breaker_longest", "health_interval", "link_ttl", "audit_every"),
        *("alert_every", "alert_calm", "alert_dead_letters_window", "alert_queue_age", "alert_in_doubt_age"),
    )
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("must be longer than nothing")
        return value

    @field_validator("retries")
    @classmethod
    def _tried_again(cls, value: dict[ErrorClass, RetryPlan]) -> dict[ErrorClass, RetryPlan]:
        for error_class, plan in value.items():
            if error_class not in MOVES_ON:
                known = ", ".join(sorted(MOVES_ON))
                raise ValueError(f"has waits after {error_class}, which is not tried again; these are: {known}")
            if plan.longest < plan.first:
                raise ValueError(f"has a longest wait after {error_class} that is shorter than the first")
        return value

    @model_validator(mode="after")
    def _lead_somewhere(self) -> Self:
        found = [
            InitErrorDetails(
                type=PydanticCustomError("route", "{said}", {"said": said}), loc=("routes", *place), input=None
            )
            for place, said in mistakes(self.routes, self.providers)
        ]
        if found:
            raise ValidationError.from_exception_data("Settings", found, hide_input=True)
        return self

    @property
    def policy(self) -> DeliveryPolicy:
        """The delivery policy of emails that bring none of their own."""
        return DeliveryPolicy(
            in_doubt=self.in_doubt,
            max_attempts=self.max_attempts,
            give_up_after=self.give_up_after,
            settle_after=self.settle_after,
            first_retry=self.first_retry,
            longest_retry=self.longest_retry,
            retries=self.retries,
        )

    def api_keys(self) -> dict[str, str]:
        """Key to tenant. Makes and keeps a key (mode 600) where none is configured."""
        try:
            text = self.api_key.get_secret_value() if self.api_key else _kept_key(self.api_key_file)
        except OSError as error:
            raise SettingsError(f"{PREFIX}API_KEY_FILE: {self.api_key_file}: {error.strerror}") from None
        keys: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            tenant, _, key = part.partition("=")
            named = bool(key.strip("=") and _NAME.fullmatch(tenant))  # base64 keys end in `=` and are not tenants
            keys[key if named else part] = tenant if named else "default"
        if not keys:
            raise SettingsError(f"{PREFIX}API_KEY: there is no key in it, nor in {self.api_key_file}")
        return keys

    def link_keys(self) -> list[bytes]:
        """What links are signed and verified with. Makes and keeps a key (mode 600) where none is configured."""
        try:
            text = self.link_key.get_secret_value() if self.link_key else _kept_key(self.link_key_file)
        except OSError as error:
            raise SettingsError(f"{PREFIX}LINK_KEY_FILE: {self.link_key_file}: {error.strerror}") from None
        keys = [key.strip().encode() for key in text.split(",")]
        if min(map(len, keys)) < _SHORTEST_KEY:
            raise SettingsError(f"{PREFIX}LINK_KEY_FILE: there is no key of {_SHORTEST_KEY} characters in the file")
        return keys

    def audit_key_text(self) -> str | None:
        """The private key that checkpoints are signed with, if there is one."""
        if self.audit_key or self.audit_key_file is None:
            return self.audit_key.get_secret_value() if self.audit_key else None
        try:
            return self.audit_key_file.read_text()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is no text"
            raise SettingsError(f"{PREFIX}AUDIT_KEY_FILE: {self.audit_key_file}: {reason}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**overrides: object) -> Settings:
    """Read the settings. Raises SettingsError, naming the variable and what is wrong with it, never its value."""
    unsafe = [f"{name}: {_WHY_UNSAFE}." for name, value in os.environ.items() if _is_unsafe(name, value)]
    if unsafe:
        raise SettingsError("\n".join(unsafe))
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None
    except SourceError as error:
        raise SettingsError(f"{_unread(error)}: must be JSON, or be set in postledger.toml") from None
    except ValueError as error:  # the TOML parser's, whose message may quote the file
        place = re.search(r"line \d+, column \d+", str(error))
        raise SettingsError(f"postledger.toml: is not a TOML file{f'; see {place[0]}' if place else ''}") from None


def variable(*place: object) -> str:
    """The environment variable of a setting, and the place in it."""
    name, *inside = map(str, place)
    return ".".join((f"{PREFIX}{name.upper()}", *inside))


def unknown_variables() -> Iterator[str]:
    """Variables with our prefix that no setting reads: misspelt, most likely."""
    known = {variable(name) for name in Settings.model_fields}
    return (name for name in os.environ if name.startswith(PREFIX) and name not in known)


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of ours that is to run with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, **{variable(name): value for name, value in values.items()}}


def _unread(error: SourceError) -> str:
    found = re.search(r'field "(\w+)"', str(error))
    return variable(found[1]) if found else f"one of {PREFIX}*"


def _lines(error: ValidationError) -> Iterator[str]:
    """Each mistake, without those that only follow from others: a list whose entries are wrong is not too short."""
    places = [each["loc"] for each in error.errors()]
    for each in error.errors():
        loc = each["loc"]
        if each["type"] == "too_short" and any(loc == place[: len(loc)] and loc != place for place in places):
            continue
        yield f"{variable(*loc)}: {_WORDS.get(each['type']) or _said(each['msg'])}"


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")  # how pydantic begins the message of a ValueError


def _is_unsafe(name: str, value: str) -> bool:
    return name.upper().endswith(_UNSAFE) and value.strip().lower() in _TRUE


def _check_url(url: str) -> None:
    """Later, an unreadable URL would be quoted in an exception, its password included."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        message = "has a URL that cannot be read: write @, :, / and # in a user or password as %40, %3A, %2F and %23"
        raise ValueError(message) from None


def _kept_key(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(f"pl_{secrets.token_urlsafe(32)}\n")
        try:
            path.hardlink_to(fresh)  # atomic: the first of two processes wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()
