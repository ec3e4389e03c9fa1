"""The process manager in worlds where everything goes wrong at once, by virtual time."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.disorder import live, script
from tests.simulation.machine import Turmoil

IN_CI = settings(max_examples=15, stateful_step_count=30, derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize("seed", range(1, 26))
def test_the_laws_hold_in_world_number(seed: int) -> None:
    live(seed, script(seed, 30))


def test_the_laws_hold_whatever_happens() -> None:
    run_state_machine_as_test(Turmoil, settings=IN_CI)
