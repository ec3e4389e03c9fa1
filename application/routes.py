"""Routes as data: which emails go through which providers, when they may, and how hard to try."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from application.concessions import Concessions
from application.fields import Size, one_or_many
from application.policies import PolicyWishes
from application.quiet_hours import QuietHours
from domain.address import normalise
from domain.draft import Draft
from domain.errors import InvalidAddress
from domain.events import EmailQueued, Priority

DEFAULT = "default"
_DATA = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_LABEL = r"[A-Za-z0-9_-]+"
_T = TypeVar("_T")


def _shaped(pattern: str, wanted: str) -> AfterValidator:
    shape = re.compile(pattern)

    def check(value: str) -> str:
        if not shape.fullmatch(value):
            raise ValueError(f"must be {wanted}")
        return value

    return AfterValidator(check)


def _domain(value: str) -> str:
    """As addresses are stored: in lower case, and not in A-labels."""
    start = "*." if value.startswith("*.") else ""
    try:
        return start + normalise(f"x@{value.removeprefix(start)}")[2:]
    except InvalidAddress:
        raise ValueError("must be a domain such as gmail.com, or *.example.org for those below it") from None


Name = Annotated[
    str, _shaped(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a name: letters, digits, `_`, `.` and `-`, not one of these first")
]
Stream = Annotated[str, _shaped(_LABEL, "of letters, digits, `_` and `-`, as the streams of emails are")]
TagPattern = Annotated[str, _shaped(rf"{_LABEL}(:{_LABEL})?", "a tag's name, or its name and value as `kind:receipt`")]
Domain = Annotated[str, AfterValidator(_domain)]
Some = Annotated[tuple[_T, ...], BeforeValidator(one_or_many), Field(min_length=1)]


class When(BaseModel):
    """The conditions of a route: all that are set have to hold, each by any of its values."""

    model_config = _DATA

    tenant: Some[Name] | None = None
    stream: Some[Stream] | None = None
    tag: Some[TagPattern] | None = None
    recipient_domain: Some[Domain] | None = Field(default=None, description="Of every recipient, copies included.")
    priority: Some[Priority] | None = None
    min_size: Size | None = Field(default=None, description="Of bodies and attachments together, before encoding.")
    max_size: Size | None = None
    attachments: bool | None = Field(default=None, description="Whether it has any.")

    @model_validator(mode="after")
    def _possible(self) -> "When":
        if not self.model_dump(exclude_none=True):
            raise ValueError("has no conditions; leave it out for a route that takes everything")
        if None not in (self.min_size, self.max_size) and (self.min_size or 0) > (self.max_size or 0):
            raise ValueError("has a min_size above its max_size, which nothing fits")
        return self

    def fits(self, tenant: str, mail: Draft | EmailQueued) -> bool:
        """Whether such an email meets all conditions."""
        return all(met(self, tenant, mail) for met in _CONDITIONS)


def _tags(when: When, mail: Draft | EmailQueued) -> bool:
    if when.tag is None:
        return True
    return any(tag.name in when.tag or f"{tag.name}:{tag.value}" in when.tag for tag in mail.tags)


def _domains(when: When, mail: Draft | EmailQueued) -> bool:
    if when.recipient_domain is None:
        return True
    addressed = {recipient.address.rpartition("@")[2].lower() for recipient in mail.recipients}
    return all(any(_covers(wanted, domain) for wanted in when.recipient_domain) for domain in addressed)


def _covers(wanted: str, domain: str) -> bool:
    return domain.endswith(wanted[1:]) if wanted.startswith("*.") else domain == wanted


def _size(when: When, mail: Draft | EmailQueued) -> bool:
    if when.min_size is None and when.max_size is None:
        return True
    size = mail.content.size + sum(attachment.size for attachment in mail.attachments)
    return (when.min_size or 0) <= size and (when.max_size is None or size <= when.max_size)


_CONDITIONS: Sequence[Callable[[When, str, Draft | EmailQueued], bool]] = (
    lambda when, tenant, mail: when.tenant is None or tenant in when.tenant,
    lambda when, tenant, mail: when.stream is None or mail.stream in when.stream,
    lambda when, tenant, mail: when.priority is None or mail.priority in when.priority,
    lambda when, tenant, mail: when.attachments in (None, bool(mail.attachments)),
    lambda when, tenant, mail: _tags(when, mail),
    lambda when, tenant, mail: _domains(when, mail),
    lambda when, tenant, mail: _size(when, mail),
)


class RouteProvider(BaseModel):
    """One provider of a route."""

    model_config = _DATA

    name: str
    weight: int = Field(default=1, ge=1, le=1000, description="Its share among those of the same priority.")
    priority: int = Field(default=1, ge=1, le=100, description="Lower numbers are tried first.")
    concessions: Concessions | None = Field(default=None, description="What it gives up of a message.")


class Route(PolicyWishes):
    """Which emails go through which providers."""

    name: Name = DEFAULT
    when: When | None = Field(default=None, description="Nothing: it takes everything.")
    providers: tuple[RouteProvider, ...] = Field(min_length=1)
    quiet_hours: QuietHours | None = None

    def fits(self, tenant: str, mail: Draft | EmailQueued) -> bool:
        return self.when is None or self.when.fits(tenant, mail)


Mistake = tuple[tuple[str | int, ...], str]  # where, and what is wrong there


def with_default(routes: Sequence[Route], providers: Sequence[str]) -> Sequence[Route]:
    """The routes, and one behind them for what fits none: through all providers, in their order."""
    if any(route.name == DEFAULT for route in routes):
        return routes
    order = tuple(RouteProvider(name=name, priority=min(place, 100)) for place, name in enumerate(providers, 1))
    return [*routes, Route(providers=order)]


def mistakes(routes: Sequence[Route], providers: Collection[str]) -> Iterator[Mistake]:
    """What no route's own form can show: names that lead nowhere or twice, and routes that nothing reaches."""
    for place, route in enumerate(routes):
        earlier = routes[:place]
        if any(route.name == other.name for other in earlier):
            yield (place, "name"), f"is the second route called {route.name!r}; give it another name"
        if any(other.when is None for other in earlier):
            yield (place,), "is never reached: a route before it has no conditions; put that one last"
        if route.name == DEFAULT and route.when is not None:
            yield (place, "when"), f"must not be set: {DEFAULT!r} is for what fits no other route; use another name"
        yield from (((place, *where), said) for where, said in _wrong_providers(route, providers))


def _wrong_providers(route: Route, known: Collection[str]) -> Iterator[Mistake]:
    names = [provider.name for provider in route.providers]
    for place, name in enumerate(names):
        if name not in known:
            yield ("providers", place, "name"), f"is not a configured provider; these are: {', '.join(known)}"
        elif name in names[:place]:
            yield ("providers", place, "name"), "is in this route twice; give it once, with all its weight"
