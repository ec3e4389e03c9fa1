"""Worlds by the number: what happens in one is a script, the same for ever, and every world has mail and trouble."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from domain.delivery import DeliveryPolicy
from domain.events import Priority, Resolution
from tests.simulation.machine import Turmoil
from tests.simulation.providers import MODES
from tests.simulation.setting import PROVIDERS

Deed = tuple[str, Mapping[str, Any]]  # a rule of the machine, and what it is given
_TENANTS = ("acme", "globex", "initech")
_NEEDS = {"emails": ("cancel", "reschedule", "requeue", "resolve")} | {
    "workers": ("kill_worker", "let_worker_leave", "stop_worker", "resume_worker")
}


def script(seed: int, length: int) -> list[Deed]:
    """Mail first. Some kinds of trouble are left out of each world, so that others have room."""
    chance = Random(seed)
    kinds = {name: weight for name, (weight, _) in _DEEDS.items() if weight >= 8 or chance.random() < 0.6}
    names = chance.choices(list(kinds), list(kinds.values()), k=length)
    return [(name, _DEEDS[name][1](chance)) for name in ("flood", "provider_changes", *names)]


def live(seed: int, deeds: Sequence[Deed]) -> None:
    """Let it all happen in a new world, then heal it. Raises AssertionError for the first law that is broken."""
    logging.getLogger("application").propagate = False  # a world full of trouble has much to warn of
    machine = Turmoil()
    machine.begin(seed=seed)
    try:
        for name, given in deeds:
            if _possible(machine, name):
                getattr(machine, name)(**given)
                machine.the_laws_hold()
    except BaseException:
        machine.world.end()
        raise
    machine.teardown()


def _possible(machine: Turmoil, name: str) -> bool:
    world = machine.world
    if name == "start_worker":
        return len(world.workers) < 3
    there = {"emails": world.emails, "workers": world.workers}
    return all(there[what] for what, names in _NEEDS.items() if name in names)


def shortened(seed: int, deeds: Sequence[Deed]) -> list[Deed]:
    """As few of the deeds as still break a law."""
    left = list(deeds)
    size = len(left) // 2
    while size:
        for start in range(0, len(left), size):
            fewer = left[:start] + left[start + size :]
            if len(fewer) < len(left) and _breaks(seed, fewer):
                left = fewer
                break
        else:
            size //= 2
    return left


def _breaks(seed: int, deeds: Sequence[Deed]) -> bool:
    try:
        live(seed, deeds)
    except AssertionError:
        return True
    return False


def _policy(chance: Random) -> DeliveryPolicy:
    return DeliveryPolicy(
        in_doubt=chance.choice(("at_least_once", "at_most_once")),
        max_attempts=chance.choice((1, 2, 4, 12)),
        give_up_after=chance.choice((timedelta(minutes=30), timedelta(hours=6), timedelta(days=2))),
        settle_after=chance.choice((timedelta(seconds=30), timedelta(minutes=15))),
        first_retry=chance.choice((timedelta(seconds=5), timedelta(minutes=1))),
        longest_retry=chance.choice((timedelta(minutes=2), timedelta(hours=1))),
    )


def _accept(chance: Random) -> dict[str, Any]:
    ahead = (None, None, None, 1, 60, 1_800, 20_000)
    return {
        **_mail(chance),
        "people": chance.choice((1, 1, 2)),
        "send": chance.choice(ahead),
        "expires": chance.choice(ahead),
    }


def _flood(chance: Random) -> dict[str, Any]:
    domain = chance.choice(("example.com", "example.com", "slow.example"))
    return {**_mail(chance), "count": chance.choice((3, 12)), "domain": domain}


def _mail(chance: Random) -> dict[str, Any]:
    priority = chance.choice((Priority.CRITICAL, Priority.NORMAL, Priority.NORMAL, Priority.BULK))
    return {"tenant": chance.choice(_TENANTS), "priority": priority, "policy": _policy(chance)}


def _number(chance: Random) -> dict[str, Any]:
    return {"number": chance.randrange(1_000)}


def _changes(chance: Random) -> dict[str, Any]:
    mode = chance.choice(tuple(MODES))
    return {"provider": chance.choice(PROVIDERS), "mode": mode, "evidence": chance.random() < 0.5}


def _requeue(chance: Random) -> dict[str, Any]:
    wish = {"provider": chance.choice((None, *PROVIDERS)), "priority": chance.choice((None, *Priority))}
    return {**_number(chance), **wish}


def _resolve(chance: Random) -> dict[str, Any]:
    return {**_number(chance), "resolution": chance.choice((Resolution.NOT_ACCEPTED, Resolution.PRESUMED_LOST))}


_DEEDS: Mapping[str, tuple[int, Callable[[Random], dict[str, Any]]]] = {  # with how often they happen
    "accept": (8, _accept),
    "flood": (8, _flood),
    "time_passes": (16, lambda c: {"seconds": c.choice((0.05, 0.3, 1.0, 3.0, 9.0, 25.0, 70.0, 70.0, 200.0, 400.0))}),
    "provider_changes": (8, _changes),
    "cancel": (2, _number),
    "reschedule": (2, lambda c: {**_number(c), "seconds": c.choice((1, 300, 20_000))}),
    "requeue": (3, _requeue),
    "resolve": (2, _resolve),
    "pause": (2, lambda c: {"provider": c.choice(PROVIDERS)}),
    "resume": (3, lambda c: {"provider": c.choice(PROVIDERS)}),
    "start_worker": (5, lambda c: {}),
    "kill_worker": (3, _number),
    "let_worker_leave": (2, _number),
    "stop_worker": (2, _number),
    "resume_worker": (3, _number),
    "storm": (2, lambda c: {"seconds": c.choice((0.2, 3.0, 60.0)), "only_answers": c.random() < 0.5}),
    "read_model_lags": (1, lambda c: {"lag": c.choice((0.5, 30.0))}),
    "clock_jumps": (2, lambda c: {"by": c.choice((-0.9, -0.1, 0.5, 30.0, 4_000.0))}),
}
