"""Short runs of chaos; `make chaos` has longer ones."""

from pathlib import Path

import pytest

from tests.chaos.run import Wanted, run
from tests.chaos.script import Weights
from tests.postgres import PostgresServer

RUNS = {
    "everything": Wanted(seed=11, seconds=9, restarts=1),
    "standstills": Wanted(seed=12, seconds=7, weights=Weights(kills=0, pauses=4, moods=1)),
}


@pytest.mark.parametrize("wanted", RUNS.values(), ids=RUNS.keys())
def test_nothing_is_lost_and_nothing_goes_out_twice_without_a_reason(
    postgres_server: PostgresServer, tmp_path: Path, wanted: Wanted
) -> None:
    outcome = run(wanted, postgres_server, tmp_path)
    assert outcome.well, f"{dict(outcome.rows())} {outcome.account.wrong}"
    assert outcome.account.accepted
