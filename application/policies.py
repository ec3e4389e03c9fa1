"""How hard to try for an email: what it asks for itself, before what its route, its tenant and the service say."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from domain.delivery import DeliveryPolicy, InDoubt
from domain.draft import Draft


class PolicyWishes(BaseModel):
    """The part of a delivery policy that somebody cares about; what is left out is for others to say."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    in_doubt: InDoubt | None = Field(
        default=None, description="When a provider's answer was lost and no evidence came: send again, or wait."
    )
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    give_up_after: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=14))] | None = None
    settle_after: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=7))] | None = None

    def wishes(self) -> dict[str, Any]:
        """Those there are."""
        values = {name: getattr(self, name) for name in PolicyWishes.model_fields}
        return {name: value for name, value in values.items() if value is not None}


RouteOf = Callable[[str, Draft], PolicyWishes]


def _no_wishes(tenant: str, draft: Draft) -> PolicyWishes:
    return PolicyWishes()


class Policies:
    """Finds an email's delivery policy when it is accepted, to travel with it."""

    def __init__(
        self,
        everybody: DeliveryPolicy,
        tenants: Mapping[str, PolicyWishes] | None = None,
        route_of: RouteOf = _no_wishes,
    ) -> None:
        self._everybody = everybody
        self._tenants = tenants or {}
        self._route_of = route_of

    def of(self, tenant: str, draft: Draft, own: PolicyWishes | None = None) -> DeliveryPolicy:
        """Point by point: the email's own wish, its route's, its tenant's, or what holds for everybody."""
        wishes = (self._tenants.get(tenant), self._route_of(tenant, draft), own)
        found: dict[str, Any] = {}
        for wish in filter(None, wishes):
            found |= wish.wishes()
        return self._everybody.model_copy(update=found) if found else self._everybody
