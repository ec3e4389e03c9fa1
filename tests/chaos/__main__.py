"""`python -m tests.chaos --seed 7 --seconds 60`: exit code 1 when anything is lost, or sent twice without a reason."""

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.chaos.run import Outcome, Wanted, run
from tests.postgres import PostgresServer

_EACH = 60.0  # seconds of a run when there are several


@click.command()
@click.option("--seed", default=1, show_default=True, help="Decides what goes wrong when; the next run has the next.")
@click.option("--seconds", default=_EACH, show_default=True, help="Of all runs; more than a minute makes several.")
@click.option("--workers", default=3, show_default=True, help="Worker processes.")
def main(seed: int, seconds: float, workers: int) -> None:
    """Kill, stop and starve a whole Postledger, and count what became of its emails."""
    runs = max(1, round(seconds / _EACH))
    outcomes = [_one(Wanted(seed + n, seconds / runs, workers, restarts=1 + n % 2)) for n in range(runs)]
    sys.exit(not all(outcome.well for outcome in outcomes))


def _one(wanted: Wanted) -> Outcome:
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="postledger-chaos-") as home:
            outcome = run(wanted, server, Path(home))
            log = Path(home, "log").read_text()
    finally:
        server.stop()
    _show(wanted, outcome)
    if not outcome.well:
        Console(stderr=True).print(log[-6000:], markup=False)
    return outcome


def _show(wanted: Wanted, outcome: Outcome) -> None:
    table = Table(title=f"seed {wanted.seed}, {wanted.seconds:.0f} s, {wanted.workers} workers")
    table.add_column("")
    table.add_column("emails", justify="right")
    for name, count in outcome.rows():
        table.add_row(name, str(count))
    console = Console()
    console.print(table)
    for each in outcome.account.wrong[:20]:
        console.print(f"WRONG: {each}", markup=False)


if __name__ == "__main__":
    main()
