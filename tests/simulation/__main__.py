"""Longer runs: `python -m tests.simulation --examples 2000`; one world again: `--seed 1234 --examples 1`."""

import argparse
import sys
import time
import traceback

from tests.simulation.disorder import live, script, shortened


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation")
    arguments.add_argument("--examples", type=int, default=2000, help="how many worlds")
    arguments.add_argument("--steps", type=int, default=40, help="how much happens in each")
    arguments.add_argument("--seed", type=int, default=1, help="the number of the first world")
    arguments.add_argument("--whole", action="store_true", help="show what broke a law as it was, not shortened")
    given = arguments.parse_args()
    began = time.perf_counter()
    for seed in range(given.seed, given.seed + given.examples):
        deeds = script(seed, given.steps)
        try:
            live(seed, deeds)
        except AssertionError:
            _tell(seed, given.steps, given.whole)
            sys.exit(1)
    sys.stdout.write(f"{given.examples} worlds in {time.perf_counter() - began:.0f} s: every law held.\n")


def _tell(seed: int, steps: int, whole: bool) -> None:
    deeds = script(seed, steps) if whole else shortened(seed, script(seed, steps))
    sys.stdout.write(f"World {seed}, after:\n")
    for name, values in deeds:
        sys.stdout.write(f"  {name}({', '.join(f'{key}={value!r}' for key, value in values.items())})\n")
    try:
        live(seed, deeds)
    except AssertionError:
        traceback.print_exc(file=sys.stdout)


if __name__ == "__main__":
    main()
