"""Templates for the HTML of messages: files of one directory, read once, each known by its name and content."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from application.errors import ConcessionLost
from application.routes import Route, RouteProvider

VARIABLES = ("subject", "text", "sender_name")
_ALSO = frozenset({"range"})
_ELSEWHERE = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
_VERSION = 12  # hexadecimal digits of the sha256
_MOST = 1 << 20  # bytes of one file

_log = logging.getLogger(__name__)


class MessageTemplates:
    """What was in the directory when we started.

    Every file is kept, wanted or not: an earlier version that lies there under another name serves look-ups about
    attempts that were made with it.
    """

    def __init__(self, directory: Path | None) -> None:
        """Raises OSError."""
        self._directory = directory
        self._environment = _environment()
        self._versions: dict[str, str] = {}  # by name
        self._sources: dict[str, str] = {}  # by version
        self._ready: dict[str, Template] = {}
        for path in sorted(directory.iterdir()) if directory else ():
            if path.is_file() and path.stat().st_size <= _MOST:
                data = path.read_bytes()
                version = hashlib.sha256(data).hexdigest()[:_VERSION]
                self._versions[path.name] = version
                self._sources[version] = data.decode("utf-8", "replace")

    def pinned(self, template: str) -> str:
        """`NAME` as `NAME@VERSION`, tried out. Raises ValueError, naming the file and, where there is one, the line."""
        name, _, version = template.partition("@")
        if self._directory is None:
            raise ValueError(f"must be the directory that has {name}, which a route wants")
        if name not in self._versions:
            raise ValueError(f"there is no file {name} of at most 1 MB in {self._directory}, and a route wants it")
        if version not in ("", self._versions[name]):
            raise ValueError(f"{name} is of version {self._versions[name]}, and a route wants {version}")
        self._try(name)
        return f"{name}@{self._versions[name]}"

    def render(self, template: str, variables: Mapping[str, str]) -> str:
        version = template.rpartition("@")[2]
        if version not in self._sources:
            raise ConcessionLost
        try:
            return self._template(version).render(variables)
        except _FAILURES as error:
            _log.warning("The template %s failed%s: %s", template, _line_of(error), type(error).__name__)
            raise ConcessionLost from None

    def _try(self, name: str) -> None:
        version = self._versions[name]
        try:
            for line, word, wrong in _foreign(self._environment.parse(self._sources[version])):
                raise ValueError(f"{name}, line {line}: {word!r} {wrong}")
            for text in ("", "Words, and\n\nmore <words>."):
                self._template(version).render(dict.fromkeys(VARIABLES, text))
        except TemplateSyntaxError as error:
            raise ValueError(f"{name}, line {error.lineno}: {error.message}") from None
        except _FAILURES as error:
            said = "" if str(error).startswith(name) else f"{name}{_line_of(error)}: "
            raise ValueError(f"{said}{error}") from None

    def _template(self, version: str) -> Template:
        if version not in self._ready:
            self._ready[version] = self._environment.from_string(self._sources[version])
        return self._ready[version]


def pinned(routes: Iterable[Route], templates: MessageTemplates) -> list[Route]:
    """The routes, each template they want pinned to what it is now. Raises ValueError, as `MessageTemplates.pinned`."""

    def with_version(given: RouteProvider) -> RouteProvider:
        concessions = given.concessions
        if concessions is None or concessions.template is None:
            return given
        version = templates.pinned(concessions.template)
        return given.model_copy(update={"concessions": concessions.model_copy(update={"template": version})})

    return [route.model_copy(update={"providers": tuple(map(with_version, route.providers))}) for route in routes]


def _environment() -> ImmutableSandboxedEnvironment:
    """Without what would make another document each time."""
    environment = ImmutableSandboxedEnvironment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals = {name: environment.globals[name] for name in _ALSO}
    del environment.filters["random"]
    return environment


def _foreign(document: nodes.Template) -> Iterator[tuple[int, str, str]]:
    """Whatever a version would not hold in itself, each with its line."""
    for node in document.find_all(_ELSEWHERE):
        yield node.lineno, type(node).__name__.lower(), "is not possible: a template stands in one file"
    known = ", ".join(VARIABLES)
    for name in sorted(meta.find_undeclared_variables(document) - {*VARIABLES, *_ALSO}):
        line = min(node.lineno for node in document.find_all(nodes.Name) if node.name == name)
        yield line, name, f"is not a variable of a message; these are: {known}"


def _line_of(error: Exception) -> str:
    """`, line N`, if the template's own code was reached."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
