"""What deliveries need, of the plainest kind, with what matters to a test given by it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from application.delivery import Tools
from application.limits import Quotas
from application.ports import EmailProvider, Ledger
from application.routes import Route, RouteProvider
from application.routing import Router
from tests.fakes import FakeStates, FakeSuppressions, FreeLimits
from tests.providers_fake import MemoryBlobs


def through(*providers: str) -> Router:
    """All email through these, the first one preferred."""
    order = tuple(RouteProvider(name=name, priority=place) for place, name in enumerate(providers, 1))
    return Router([Route(providers=order)])


def tools(ledger: Ledger, *providers: EmailProvider, **given: Any) -> Tools:
    """Tools over a ledger that is its own content store, and providers that are preferred in this order."""
    plain: dict[str, Any] = {
        "contents": ledger,
        "blobs": MemoryBlobs(),
        "providers": {provider.name: provider for provider in providers},
        "router": through(*(provider.name for provider in providers)),
        "quotas": Quotas(),
        "limits": FreeLimits(),
        "states": FakeStates(),
        "suppressions": FakeSuppressions(),
        "clock": lambda: datetime.now(UTC),
        "chance": lambda: 0.0,
        "lease": timedelta(seconds=60),
    }
    return Tools(ledger=ledger, **{**plain, **given})
