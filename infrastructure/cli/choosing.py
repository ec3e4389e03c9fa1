"""Read models by name, as commands are given them."""

from collections.abc import Sequence

from infrastructure.bootstrap import PROJECTIONS
from infrastructure.cli.failures import NOT_FOUND, Failure
from projections.projection import Projection


def choose(names: Sequence[str]) -> list[Projection]:
    """The read models of these names, or all. Raises Failure."""
    known = {projection.name: projection for projection in PROJECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise Failure(f"There is no read model {', '.join(unknown)}.", f"There are: {', '.join(known)}.", NOT_FOUND)
    return [known[name] for name in dict.fromkeys(names)] or list(PROJECTIONS)
