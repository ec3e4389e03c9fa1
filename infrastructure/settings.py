"""Settings: read once from the environment and an optional `postledger.toml`, into one frozen model."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import TomlConfigSettingsSource

from domain.delivery import DeliveryPolicy, InDoubt

PREFIX = "POSTLEDGER_"


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
    providers: Annotated[dict[str, SecretStr], NoDecode] = {"sandbox": SecretStr("sandbox://default?dir=var/sandbox")}

    worker_concurrency: int = Field(default=64, ge=1, le=1000, description="Emails in flight to providers at once.")
    lease: timedelta = Field(default=timedelta(seconds=60), description="How long a claim holds without a heartbeat.")
    poll: timedelta = Field(default=timedelta(seconds=1), description="Safety net where a wake-up gets lost.")
    drain: timedelta = Field(default=timedelta(seconds=30), description="How long a graceful stop waits for providers.")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, description="Of one HTTP request.")
    log_level: str = "info"

    in_doubt: InDoubt = "at_least_once"
    max_attempts: int = Field(default=12, ge=1, le=100)
    give_up_after: timedelta = timedelta(hours=72)
    settle_after: timedelta = timedelta(minutes=15)
    first_retry: timedelta = timedelta(minutes=1)
    longest_retry: timedelta = timedelta(hours=4)

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
            if "://" not in url:
                raise ValueError("each provider is NAME=URL, such as main=smtp://host:587")
            if name in named:
                raise ValueError(f"two providers are called {name!r}; give each its own name")
            named[name] = url
        if not named:
            raise ValueError("at least one provider is needed")
        return named

    @field_validator("lease", "poll", "drain", "give_up_after", "settle_after", "first_retry", "longest_retry")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("must be longer than nothing")
        return value

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
        )

    def api_keys(self) -> dict[str, str]:
        """Key to tenant. Makes and keeps a key (mode 600) where none is configured."""
        text = self.api_key.get_secret_value() if self.api_key else _kept_key(self.api_key_file)
        keys: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            tenant, equals, key = part.partition("=")
            keys[key if equals else part] = tenant if equals else "default"
        if not keys:
            raise SettingsError(f"{PREFIX}API_KEY: is empty")
        return keys

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
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = [f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(lines)) from None


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
