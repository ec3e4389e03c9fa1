"""`python -m benchmarks [NAME…] [--quick]`: run them and print what came out. JSON when piped."""

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import (
    accept,
    append,
    dispatch,
    dispatch_http,
    failover,
    http_clients,
    latency,
    queries,
    queue_depth,
    rebuild,
    scaling,
    webhooks,
)
from benchmarks.result import Result

BENCHMARKS = {
    "append": append.measure,
    "accept": accept.measure,
    "dispatch": dispatch.measure,
    "dispatch_http": dispatch_http.measure,
    "webhooks": webhooks.measure,
    "rebuild": rebuild.measure,
    "latency": latency.measure,
    "queries": queries.measure,
    "queue_depth": queue_depth.measure,
    "scaling": scaling.measure,
    "failover": failover.measure,
}
BY_NAME = {
    "rebuild_sqlite": rebuild.measure_sqlite,
    "queries_sqlite": queries.measure_sqlite,
    "rebuild_large": rebuild.measure_large,
    "queries_large": queries.measure_large,
    "http_clients": http_clients.measure,  # answered a question once (docs/adr/0010); claims nothing
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"any of {', '.join(BENCHMARKS)}, which are run when none is named; {', '.join(BY_NAME)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each: shows that it works, proves nothing"
    )
    arguments = parser.parse_args()
    results: list[Result] = []
    for name in arguments.names or BENCHMARKS:
        print(f"measuring {name} …", file=sys.stderr)
        results += {**BENCHMARKS, **BY_NAME}[name](arguments.quick)
    if sys.stdout.isatty():
        Console().print(_table(results))
    else:
        print(json.dumps([_row(result) for result in results], indent=2))


def _table(results: list[Result]) -> Table:
    table = Table("what", "ours", "floor", "unit", "ratio", "aim", "note")
    for r in results:
        floor, ratio = (f"{r.floor:,.0f}", f"{r.ratio:.2f}") if r.floor and r.ratio else ("", "")
        table.add_row(r.name, f"{r.ours:,.1f}", floor, r.unit, ratio, r.aim, r.note)
    return table


def _row(result: Result) -> dict[str, object]:
    names = ("name", "unit", "ours", "floor", "ratio", "aim", "note")
    return {name: getattr(result, name) for name in names}


if __name__ == "__main__":
    main()
