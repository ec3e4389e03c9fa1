"""Longer runs: `python -m tests.simulation --examples 2000 [--steps 60] [--seed 7]`."""

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Turmoil


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation")
    arguments.add_argument("--examples", type=int, default=2000)
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=None, help="the same one leads to the same examples")
    arguments.add_argument("--no-shrink", action="store_true", help="show the first failure as it was found")
    given = arguments.parse_args()
    began = time.perf_counter()
    phases = [phase for phase in Phase if not (given.no_shrink and phase is Phase.shrink)]
    limits = settings(
        max_examples=given.examples,
        stateful_step_count=given.steps,
        deadline=None,
        database=None,
        phases=[phase for phase in phases if phase is not Phase.explain],
        suppress_health_check=list(HealthCheck),
    )
    machine = Turmoil if given.seed is None else seed(given.seed)(Turmoil)
    run_state_machine_as_test(machine, settings=limits)
    sys.stdout.write(f"{given.examples} worlds in {time.perf_counter() - began:.0f} s: every law held.\n")


if __name__ == "__main__":
    main()
