"""What goes wrong when, decided by a seed before anything begins."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.chaos.sinks import Mood

LEASE = 2.0  # seconds: what the workers' claims hold
_COMING_UP = 5.0  # seconds that a process is left alone after a kill: one that is not yet there has nothing to lose
_MOODS = [mood for mood in Mood if mood is not Mood.WELL]


@dataclass(frozen=True, slots=True)
class Act:
    """`kill`, `pause` or `go_on` a process, `mood` of a provider, `crash` or `resume` PostgreSQL, at a second."""

    at: float
    what: str
    whom: str = ""
    mood: Mood = Mood.WELL


@dataclass(frozen=True, slots=True)
class Weights:
    """How often each kind of thing goes wrong, beside the others."""

    kills: int = 3
    pauses: int = 3
    moods: int = 4


def script(seed: int, seconds: float, workers: int, restarts: int, weights: Weights) -> list[Act]:
    """Everything in order of time."""
    chance = Random(seed)
    acts = list(_acts(chance, seconds, workers, weights))
    for number in range(restarts):
        at = seconds * (number + chance.uniform(0.3, 0.7)) / restarts
        acts += [Act(at, "crash"), Act(at + chance.uniform(0.1, 2.0), "resume")]
    return sorted(acts, key=lambda act: act.at)


def _acts(chance: Random, seconds: float, workers: int, weights: Weights) -> Iterator[Act]:
    kinds = ["kill"] * weights.kills + ["pause"] * weights.pauses + ["mood"] * weights.moods
    processes = [*(f"worker{number}" for number in range(workers) for _ in range(3)), "api"]
    at, killed = 1.0, dict[str, float]()
    while at < seconds:
        what = chance.choice(kinds)
        there = [whom for whom in processes if killed.get(whom, -_COMING_UP) + _COMING_UP <= at]
        if what == "mood" or not there:
            mood = chance.choice([*_MOODS, Mood.WELL, Mood.WELL, Mood.WELL])
            yield Act(at, "mood", chance.choice(["main", "main", "backup"]), mood)
        else:
            whom = chance.choice(there)
            yield Act(at, what, whom)
            if what == "pause":
                yield Act(at + _standstill(chance), "go_on", whom)
            else:
                killed[whom] = at
        at += chance.uniform(0.1, 1.2)


def _standstill(chance: Random) -> float:
    """Every other time longer than the lease holds."""
    return chance.choice([chance.uniform(0.05, 1.0), chance.uniform(LEASE + 0.2, LEASE + 2.5)])
