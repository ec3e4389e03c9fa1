"""A provider as one URL: `sendgrid://KEY@default?webhook_key=…&webhook_key=…`.

`default` is the product's own API; a real host, with `tls=off` for plain HTTP, is a stand-in or a proxy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class ProviderUrl:
    """The parts of a provider's URL, every option a list. Nothing of it is ever shown."""

    key: str = field(repr=False)  # what stands before the @
    host: str | None  # with its port; None: the default
    tls: bool
    options: Mapping[str, Sequence[str]] = field(repr=False)

    @classmethod
    def parse(cls, url: str, known: Sequence[str], *, key: str | None = "an API key") -> Self:
        """Raises ValueError, which names what is wrong and never the value. `key` None: none is needed."""
        parts = urlsplit(url)
        example = f"{parts.scheme}://{'KEY@' if key else ''}default"
        if not parts.hostname:
            raise ValueError(f"a provider of this kind is {example}")
        if key and not parts.username:
            raise ValueError(f"{key} is missing: {example}")
        options: dict[str, list[str]] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in (*known, "tls"):
                raise ValueError(
                    f"{name!r} is not an option of {parts.scheme}; these are: {', '.join((*known, 'tls'))}"
                )
            options.setdefault(name, []).append(value)
        default = parts.hostname == "default"
        host = None if default else parts.netloc.rpartition("@")[2]
        made = cls(unquote(parts.username or ""), host, tls=True, options=options)
        return cls(made.key, host, tls=made.switch("tls", default=True), options=options)

    def base_url(self, default: str) -> str:
        """Where the API is; `default` is a host name."""
        return f"{'https' if self.tls else 'http'}://{self.host or default}"

    def one(self, name: str) -> str | None:
        """The option's value. Raises ValueError when it is given twice."""
        values = self.options.get(name, ())
        if len(values) > 1:
            raise ValueError(f"{name} must be given only once")
        return values[0] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a repeatable option."""
        return tuple(self.options.get(name, ()))

    def choice(self, name: str, *choices: str, default: str) -> str:
        value = self.one(name) or default
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}")
        return value

    def switch(self, name: str, *, default: bool = False) -> bool:
        value = self.one(name)
        if value is None:
            return default
        if value not in ("on", "yes", "off", "no"):
            raise ValueError(f"{name} must be on or off")
        return value in ("on", "yes")

    def seconds(self, name: str, default: float) -> float:
        try:
            seconds = float(self.one(name) or default)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= 86_400:
            raise ValueError(f"{name} must be a number of seconds up to 86400")
        return seconds
