"""Looking at places one by one, from the first that may be on a page."""

from collections.abc import Callable, Sequence
from typing import TypeVar

_Row = TypeVar("_Row")


def look(places: Sequence[int], enough: int, find: Callable[[Sequence[int]], list[_Row]]) -> list[_Row]:
    """What `find` finds at these places, in their order, until there is enough. Most often the first few are; where
    few fit, longer and longer steps keep the number of questions small.
    """
    found: list[_Row] = []
    step = enough
    while places and len(found) < enough:
        found += find(places[:step])
        places, step = places[step:], 4 * step
    return found
