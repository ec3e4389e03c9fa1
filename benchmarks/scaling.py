"""Two worker processes against one, on the same machine, queue and sink."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.dispatch import CONNECTIONS
from benchmarks.result import Result, paired
from benchmarks.servers import durable_postgres, free_port, process
from benchmarks.worker import through_a_worker


def measure(quick: bool) -> list[Result]:
    count, runs = (500, 1) if quick else (4_000, 3)
    sink = free_port()
    smtp = f"smtp://127.0.0.1:{sink}?starttls=off&pool={CONNECTIONS}"
    with durable_postgres() as postgres, TemporaryDirectory() as home, process("-m", "benchmarks.sink", str(sink)):

        def rate(workers: int) -> float:
            return through_a_worker(smtp, postgres.fresh_database(), Path(home), count, workers)

        two, one = paired(runs, lambda: rate(2), lambda: rate(1))
    return [Result("two workers / one, SMTP dispatch", "emails/s", two, one, note="two cores, shared with PostgreSQL")]
