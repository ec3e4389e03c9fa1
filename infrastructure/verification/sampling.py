"""Streams picked evenly at random: positions are, and those that begin a stream count."""

from collections.abc import Iterator
from itertools import islice
from random import Random
from uuid import UUID

from infrastructure.verification.reader import LogReader

_AT_ONCE = 16
_TRIES = 1000  # positions looked at for each stream wanted, and then no more: streams are long there


def pick(log: LogReader, chance: Random, count: int, end: int) -> dict[UUID, int]:
    """`count` streams that begin at or before position `end`, each with where it does; fewer when there are no more."""
    found: dict[UUID, int] = {}
    positions = islice(_shuffled(chance, end), count * _TRIES)
    while len(found) < count and (some := list(islice(positions, _AT_ONCE))):
        for id, position in zip(log.begun(some), some, strict=True):
            if id is not None and len(found) < count:
                found[id] = position
    return found


def _shuffled(chance: Random, end: int) -> Iterator[int]:
    """The numbers from 1 to `end` in a random order, of which only as many are made as are taken."""
    moved: dict[int, int] = {}
    for last in range(end, 0, -1):
        place = chance.randint(1, last)
        chosen = moved.get(place, place)
        moved[place] = moved.pop(last, last)
        yield chosen
