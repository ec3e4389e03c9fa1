"""`postledger config`: the settings in force, fit to be shown to somebody else."""

import json
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import click
from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from infrastructure.cli import display
from infrastructure.settings import Settings, load_settings, variable

_MASK = "***"
_URLS = frozenset({"database_url", "blob_url"})  # secrets with a part to show; of any other, nothing is shown
_DATA = frozenset({"retries", "routes", "tenants"})
_HARMLESS = frozenset({"dir", "domain", "endpoint", "host", "port", "region", "sslmode", "tls"})  # URL parameters


@click.command("config")
def config_command() -> None:
    """Show every setting, where it comes from, and no secret."""
    settings = load_settings()
    if not display.for_people():
        display.document({variable(name): shown(settings, name) for name in Settings.model_fields})
        return
    rows = ([variable(n), shown(settings, n), _origin(settings, n)] for n in Settings.model_fields)
    display.console().print(display.table(("setting", "value", "from"), rows))


def shown(settings: Settings, name: str) -> str:
    """A setting's value as text, its secrets masked."""
    value = getattr(settings, name)
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value()) if name in _URLS else _MASK * bool(value)
    if name in _DATA:
        return _json(value)
    if isinstance(value, dict):
        return ",".join(f"{key}={masked(url.get_secret_value())}" for key, url in value.items())
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_defaults=True)
    if isinstance(value, timedelta):
        return str(to_jsonable_python(value))  # as it may be set: PT15M
    return str(value)


def _json(value: object) -> str:
    """As it may be set."""
    return json.dumps(to_jsonable_python(value, by_alias=True, exclude_none=True)) if value else ""


def masked(url: str) -> str:
    """A URL without user, password, and what its parameters may hide."""
    parts = urlsplit(url)
    who, at, where = parts.netloc.rpartition("@")
    query = "&".join(f"{k}={v if k in _HARMLESS else _MASK}" for k, v in parse_qsl(parts.query, keep_blank_values=True))
    start = f"{parts.scheme}:" if parts.scheme else ""
    slashes = "//" if "://" in url else ""
    return f"{start}{slashes}{_MASK if who else ''}{at}{where}{parts.path}{'?' if query else ''}{query}"


def _origin(settings: Settings, name: str) -> str:
    return "set" if name in settings.model_fields_set else "default"
