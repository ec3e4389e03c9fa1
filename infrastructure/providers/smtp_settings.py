"""How to reach an SMTP server: `smtp://user:password@host:587?starttls=required&pool=10`, or `smtps://host:465`.

With `bounce=bounces@bounces.example.com&verp_key=…` bounces come to `bounces+TOKEN@bounces.example.com`, and with
`maildir=/path` they are read where the mail server for that domain puts them.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

StartTls = Literal["required", "auto", "off"]

_PORTS = {"smtp": 587, "smtps": 465}
_HOSTNAME = re.compile(r"[A-Za-z0-9.:_\[\]-]+")
_BOUNCE = re.compile(r"[A-Za-z0-9._-]{1,18}@[A-Za-z0-9.-]{1,180}")  # 64 octets of local part, less + and the token


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """One server and how to speak to it. Timeouts are in seconds (RFC 5321 section 4.5.3.2)."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False  # from the first byte, as on port 465
    starttls: StartTls = "auto"
    verify: bool = True  # the server's certificate
    ca: str | None = None  # a file of certificates to trust besides the system's
    helo: str | None = None  # how we introduce ourselves; None: this machine's full name
    pool: int = 10
    connect_timeout: float = 10.0
    timeout: float = 60.0  # for one command, or one block of the message
    data_timeout: float = 600.0  # for the answer to the whole message
    bounce: str | None = None  # where bounces go, as user@domain; None: to the sender
    verp_keys: tuple[bytes, ...] = field(default=(), repr=False)  # the first one signs, any one verifies
    maildir: Path | None = None  # where bounces come in

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raises ValueError, which names what is wrong and never the value: that may be a secret.

        STARTTLS is required when there is a password, unless the URL says otherwise: a server in the middle that hides
        it would get the password in the clear.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("an SMTP server is smtp://HOST or smtps://HOST")
        given = {"starttls": "required" if parts.username else "auto"} | _options(parts.query)
        keys = given.pop("verp_key", ())
        if bool(keys) != ("bounce" in given):
            raise ValueError("bounce and verp_key go together")
        if "maildir" in given and not keys:
            raise ValueError("maildir needs bounce and verp_key")
        return cls(
            host=parts.hostname,
            port=_port(parts),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            tls=parts.scheme == "smtps",
            verp_keys=keys,
            **given,
        )

    def without_secrets(self, text: str) -> str:
        """The text as it may be shown, should a server have quoted what it must not."""
        for secret in filter(None, (self.password, self.user)):
            text = text.replace(secret, "***")
        return text

    def tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.ca:
            context.load_verify_locations(self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _options(query: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ValueError(f"{name!r} is not an option of smtp; these are: {', '.join(_OPTIONS)}")
        read = _OPTIONS[name](name, value)
        given[name] = given.get(name, ()) + read if isinstance(read, tuple) else read  # a tuple is repeatable
    return given


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:  # whose text quotes what stands where the port should be: perhaps half a password
        raise ValueError(
            "the port must be a number up to 65535; write %40, %2F and %3A for @, / and : in a password"
        ) from None


def _one_of(*choices: str) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}")
        return value

    return read


def _yes_or_no(name: str, value: str) -> bool:
    return _one_of("yes", "no")(name, value) == "yes"


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ValueError(f"{name} must be a number of seconds up to 3600")
    return seconds


def _connections(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1000:
        raise ValueError(f"{name} must be a number from 1 to 1000")
    return int(value)


def _hostname(name: str, value: str) -> str:
    if not _HOSTNAME.fullmatch(value):
        raise ValueError(f"{name} must be a host name")
    return value


def _file(name: str, value: str) -> str:
    if not Path(value).is_file():
        raise ValueError(f"{name} must be a file that exists")
    return value


def _bounce(name: str, value: str) -> str:
    if not _BOUNCE.fullmatch(value):
        raise ValueError(f"{name} must be an address whose local part has at most 18 letters, digits, dots and dashes")
    return value


def _keys(name: str, value: str) -> tuple[bytes, ...]:
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    return (value.encode(),)


def _directory(name: str, value: str) -> Path:
    if not value.startswith("/"):
        raise ValueError(f"{name} must be an absolute path")
    return Path(value)  # not looked for: a process that only sends need not have it


_OPTIONS: Mapping[str, Callable[[str, str], Any]] = {
    "starttls": _one_of("required", "auto", "off"),
    "verify": _yes_or_no,
    "ca": _file,
    "helo": _hostname,
    "pool": _connections,
    "connect_timeout": _seconds,
    "timeout": _seconds,
    "data_timeout": _seconds,
    "bounce": _bounce,
    "verp_key": _keys,
    "maildir": _directory,
}
