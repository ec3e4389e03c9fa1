"""How the simulated world is set up: its providers, limits and breaker."""

from datetime import timedelta

from application.breaker import BreakerPolicy
from application.limits import LimitSettings
from domain.provider import Rest

LEASE = timedelta(seconds=20)
PROVIDERS = ("main", "backup")
BREAKER = BreakerPolicy(5, 0.5, 10, timedelta(minutes=1), Rest(timedelta(seconds=30), timedelta(minutes=10)))
LIMITS = LimitSettings.model_validate(
    {
        "providers": {"main": {"rate": "30/minute", "concurrency": 5}, "backup": {"concurrency": 8}},
        "tenants": {"initech": {"rate": "8/10m"}},
        "domains": {"slow.example": {"rate": "3/minute"}},
    }
)
