"""Takes a provider's own suppression list over into ours. Nothing is ever removed."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from application.commands import Caller
from application.ports import ListedSuppression, SuppressionSource
from application.suppressions import Addition, Suppressions
from domain.address import normalise
from domain.errors import InvalidAddress
from domain.suppression import EVERYTHING

_AT_ONCE = 500  # entries decided together
_LONGEST = 1000  # characters of a reason

_RULES: Mapping[str, str] = {"unsubscribe": "unsubscribe"}  # of a cause; any other is a matter between provider and us


@dataclass(slots=True)
class Tally:
    """How many entries of the provider's list there were, and what became of them for each tenant."""

    listed: int = 0
    refused: int = 0  # no email address
    added: dict[str, int] = field(default_factory=dict)
    already: dict[str, int] = field(default_factory=dict)


async def take_over(
    source: SuppressionSource,
    provider: str,
    suppressions: Suppressions,
    callers: Sequence[Caller],
    report: Callable[[int], None],
    *,
    rehearse: bool = False,
) -> Tally:
    """Add what does not stand yet for each caller's tenant. A rehearsal only counts. Raises ProviderTrouble."""
    tenants = [caller.tenant for caller in callers]
    tally = Tally(added=dict.fromkeys(tenants, 0), already=dict.fromkeys(tenants, 0))
    async for page in _pages(source):
        wishes = [wish for listed in page if (wish := _wish(listed, f"provider:{provider}"))]
        for caller in callers:
            added, _ = await suppressions.add_all(wishes, caller, rehearse=rehearse)
            tally.added[caller.tenant] += added
            tally.already[caller.tenant] += len(wishes) - added
        tally.listed += len(page)
        tally.refused += len(page) - len(wishes)
        report(tally.listed)
    return tally


async def _pages(source: SuppressionSource) -> AsyncIterator[list[ListedSuppression]]:
    page: list[ListedSuppression] = []
    async for listed in source.suppressions():
        page.append(listed)
        if len(page) == _AT_ONCE:
            yield page
            page = []
    if page:
        yield page


def _wish(listed: ListedSuppression, source: str) -> Addition | None:
    try:
        address = normalise(listed.address.strip())
    except InvalidAddress:
        return None
    words = " ".join(listed.words.replace("\0", " ").split())
    reason = f"{listed.cause}: {words}"[:_LONGEST] if words else listed.cause
    return Addition(address, EVERYTHING, _RULES.get(listed.cause, "provider_list"), source, reason)
