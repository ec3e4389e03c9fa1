"""The process manager in a world where everything goes wrong at once, by virtual time."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Turmoil

IN_CI = settings(max_examples=60, stateful_step_count=30, derandomize=True, deadline=None, database=None)


def test_the_laws_hold_whatever_happens() -> None:
    run_state_machine_as_test(Turmoil, settings=IN_CI)
