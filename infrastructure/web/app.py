"""Builds the ASGI application from the route table."""

from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from infrastructure.web.callers import ApiKeys
from infrastructure.web.documentation import Documentation
from infrastructure.web.operation import Operation, Resource
from infrastructure.web.routes import ROUTES
from infrastructure.web.service import Service

# Starlette's own pattern for a variable stops at a slash, which a local part may contain.
_PATTERNS = {"{address}": "{address:path}"}


def create_app(service: Service) -> Starlette:
    """The API over a service. Nothing is opened or started here."""
    keys = ApiKeys(service.api_keys)
    app = Starlette(routes=list(_routes(service, keys)))
    app.router.default = Resource(service, keys)  # what no route knows is a problem as well
    app.router.redirect_slashes = False  # a redirect would lose a body or a key; the answer is 404
    app.state.documentation = Documentation.of(ROUTES)
    return app


def _routes(service: Service, keys: ApiKeys) -> Iterator[BaseRoute]:
    by_path: dict[str, list[Operation]] = {}
    for operation in ROUTES:
        by_path.setdefault(operation.path, []).append(operation)
    for path, operations in by_path.items():
        for variable, pattern in _PATTERNS.items():
            path = path.replace(variable, pattern)
        yield Route(path, Resource(service, keys, operations), methods=None)
