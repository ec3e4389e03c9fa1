"""Which URL makes which provider: the one table of all there are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from application.ports import Clock, EmailProvider
from infrastructure.providers.sandbox import SandboxProvider
from infrastructure.providers.smtp import SmtpProvider, SmtpSettings

Factory = Callable[[str, str, Clock], EmailProvider]  # name, URL, clock


def _sandbox(name: str, url: str, clock: Clock) -> EmailProvider:
    directory = parse_qs(urlsplit(url).query).get("dir", ["var/sandbox"])[0]
    return SandboxProvider(name, Path(directory), clock)


def _smtp(name: str, url: str, clock: Clock) -> EmailProvider:
    return SmtpProvider(name, SmtpSettings.from_url(url), clock)


PROVIDERS: Mapping[str, Factory] = {
    "sandbox": _sandbox,
    "smtp": _smtp,
    "smtps": _smtp,
}


def make_provider(name: str, url: str, clock: Clock) -> EmailProvider:
    """Raises ValueError or OSError for a URL that makes none, naming what is wrong and never the URL."""
    scheme = url.partition("://")[0]
    if scheme not in PROVIDERS:
        raise ValueError(f"has a URL of an unknown kind; known are {', '.join(f'{s}://' for s in PROVIDERS)}")
    return PROVIDERS[scheme](name, url, clock)
