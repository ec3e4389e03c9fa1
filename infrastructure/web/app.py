"""Builds the ASGI application from the route table."""

from collections.abc import Iterator, Sequence

from starlette.routing import BaseRoute, Route, Router

from infrastructure.web.callers import ApiKeys
from infrastructure.web.documentation import Documentation
from infrastructure.web.operation import Operation, Resource
from infrastructure.web.routes import ROUTES
from infrastructure.web.service import Service

_PROBES = ("/healthz", "/readyz", "/metrics")
# Starlette's own pattern for a variable stops at a slash, which a local part may contain.
_PATTERNS = {"{address}": "{address:path}"}


class Api(Router):
    """Starlette's router alone: each Resource answers its own errors, so its middleware would have nothing to do."""

    def __init__(self, service: Service, operations: Sequence[Operation] = ROUTES) -> None:
        keys = ApiKeys(service.api_keys)
        unknown = Resource(service, keys)  # what no route knows is a problem as well
        # A redirect would lose a body or a key; an address with a slash too many is a 404.
        super().__init__(list(_routes(service, keys, operations)), redirect_slashes=False, default=unknown)
        self.documentation = Documentation.of(operations)


def create_app(service: Service) -> Api:
    """The API over a service. Nothing is opened or started here."""
    return Api(service)


def create_probes(service: Service) -> Api:
    """What a worker answers: whether it is alive and ready, and its metrics."""
    return Api(service, [operation for operation in ROUTES if operation.path in _PROBES])


def _routes(service: Service, keys: ApiKeys, operations: Sequence[Operation]) -> Iterator[BaseRoute]:
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    for path, operations in by_path.items():
        for variable, pattern in _PATTERNS.items():
            path = path.replace(variable, pattern)
        yield Route(path, Resource(service, keys, operations), methods=None)
