"""`postledger suppressions`: who is not sent to, in a running service or straight from a provider's list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click

from application.commands import Caller
from application.errors import ProviderTrouble
from application.list_sync import Tally, take_over
from application.ports import SuppressionSource
from domain.ids import uuid7
from infrastructure.bootstrap import System, now
from infrastructure.cli import display, options
from infrastructure.cli.client import Client, connected
from infrastructure.cli.failures import FAILED, NOT_FOUND, UNREACHABLE, USAGE, Failure
from infrastructure.cli.running import progress, with_system

_COLUMNS = ("email", "scope", "rule", "source", "reason", "created_at")
_AT_ONCE = 2_000  # lines of a file sent together
_CSV = {"Content-Type": "text/csv"}

_SCOPE = click.option("--scope", metavar="STREAM", help="One mail stream only; * is all mail.")
_REASON = click.option("--reason", required=True, help="Why, for whoever looks at it later.")


@click.group("suppressions")
def suppressions_group() -> None:
    """The suppression list: who is not sent to, and why."""


@suppressions_group.command("list")
@click.option("--rule", metavar="RULE", help="hard_bounce, complaint, unsubscribe, provider_list or manual.")
@_SCOPE
@click.option("--domain", metavar="DOMAIN", help="What stands after the @.")
@click.option("--address", "q", metavar="TEXT", help="How the address begins.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@click.option("--after", type=click.IntRange(0), metavar="POSITION", help="Only entries older than this one.")
@options.of_a_service
def list_command(url: str | None, api_key_file: Path | None, **wanted: Any) -> None:
    """The newest entries first."""
    params = {name: value for name, value in wanted.items() if value is not None}
    with connected(url, api_key_file) as client:
        found = client.ask("GET", "/suppressions", params=params).json()
    if not display.for_people():
        display.document(found)
        return
    display.console().print(display.table(_COLUMNS, ([entry[name] for name in _COLUMNS] for entry in found["data"])))
    if found["has_more"]:
        click.echo(f"There are more: --after {found['data'][-1]['position']}")


@suppressions_group.command("add")
@click.argument("address")
@_SCOPE
@_REASON
@options.of_a_service
def add_command(address: str, scope: str | None, reason: str, url: str | None, api_key_file: Path | None) -> None:
    """Send nothing to this address any more."""
    body = {"email": address, "reason": reason, **({"scope": scope} if scope else {})}
    with connected(url, api_key_file) as client:
        entry = client.ask("POST", "/suppressions", json=body).json()
    if display.for_people():
        click.echo(f"On the list: {entry['email']}, scope {entry['scope']}, by the rule {entry['rule']}.")
    else:
        display.document(entry)


@suppressions_group.command("remove")
@click.argument("address")
@_SCOPE
@_REASON
@options.of_a_service
def remove_command(address: str, scope: str | None, reason: str, url: str | None, api_key_file: Path | None) -> None:
    """Send to this address again."""
    body = {"reason": reason, **({"scope": scope} if scope else {})}
    with connected(url, api_key_file) as client:
        gone = client.ask("DELETE", f"/suppressions/{quote(address)}", json=body).json()
    if display.for_people():
        click.echo(f"Taken off the list: {gone['email']}, scope {', '.join(gone['scopes'])}.")
    else:
        display.document(gone)


@suppressions_group.command("export")
@click.argument("file", type=click.File("wb", atomic=True), default="-")
@options.of_a_service
def export_command(file: BinaryIO, url: str | None, api_key_file: Path | None) -> None:
    """The whole list as CSV, into FILE or to standard output."""
    with connected(url, api_key_file) as client:
        for chunk in client.download("/suppressions/export"):
            file.write(chunk)


@suppressions_group.command("import")
@click.argument("file", type=click.File("rb"))
@options.of_a_service
def import_command(file: BinaryIO, url: str | None, api_key_file: Path | None) -> None:
    """Add the lines of a CSV (- is standard input). Its first line names the columns: email, scope, rule, reason."""
    told: dict[str, Any] = {"added": 0, "already": 0, "refused": []}
    with connected(url, api_key_file) as client, progress("Importing", "lines/s") as report:
        for first, part in _parts(file):
            _send(client, first, part, told)
            report(first + part.count(b"\n") - 1, None)
    for line in told["refused"]:
        click.echo(f"line {line['line']}: {display.plain(line['message'])}", err=True)
    if display.for_people():
        click.echo(f"{told['added']} added, {told['already']} stood already, {len(told['refused'])} refused.")
    else:
        display.document(told)
    if told["refused"]:
        click.get_current_context().exit(FAILED)


def _parts(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The file in parts that are files themselves, each with the number of its first line after the header."""
    header, number = file.readline(), 2
    while lines := [line for _, line in zip(range(_AT_ONCE), file, strict=False)]:
        yield number, header + b"".join(lines)
        number += len(lines)
    if number == 2:
        yield number, header


def _send(client: Client, first: int, part: bytes, told: dict[str, Any]) -> None:
    outcome = client.ask("POST", "/suppressions/import", content=part, headers=_CSV).json()
    told["added"] += outcome["added"]
    told["already"] += outcome["already"]
    told["refused"] += [{**line, "line": line["line"] + first - 2} for line in outcome["refused"]]


@suppressions_group.command("sync")
@click.argument("provider")
@click.option("--tenant", metavar="NAME", help="For this tenant alone; by default, for every one that has a key.")
@click.option("--dry-run", is_flag=True, help="Only count what would be added.")
def sync_command(provider: str, tenant: str | None, dry_run: bool) -> None:
    """Take a provider's own list over. What stands already stays as it is; nothing is removed."""

    async def work(system: System) -> Tally:
        source, callers = _source(system, provider), _callers(system, tenant)
        with progress("Reading", "entries/s") as report:
            try:
                return await take_over(
                    source, provider, system.suppressions, callers, lambda done: report(done, None), rehearse=dry_run
                )
            except ProviderTrouble as error:
                advice = "What was added stays. Run it again when the provider answers."
                raise Failure(f"The provider {provider}: {error}", advice, UNREACHABLE) from None

    _tell(provider, with_system(work), dry_run)


def _source(system: System, name: str) -> SuppressionSource:
    if name not in system.providers:
        raise Failure(f"There is no provider {name}.", f"There are: {', '.join(system.providers)}.", NOT_FOUND)
    source = system.providers[name]
    if not isinstance(source, SuppressionSource):
        raise Failure(f"The provider {name} has no suppression list that could be read.", code=USAGE)
    return source


def _callers(system: System, tenant: str | None) -> list[Caller]:
    known = sorted(set(system.settings.api_keys().values()))
    if tenant is not None and tenant not in known:
        raise Failure(f"No key is for a tenant {tenant}.", f"There are: {', '.join(known)}.", NOT_FOUND)
    run = uuid7(now())
    return [Caller(each, "operator:sync", run) for each in ([tenant] if tenant else known)]


def _tell(provider: str, tally: Tally, dry_run: bool) -> None:
    tenants = {name: {"added": tally.added[name], "already": tally.already[name]} for name in tally.added}
    if not display.for_people():
        counts = {"listed": tally.listed, "refused": tally.refused}
        display.document({"provider": provider, "dry_run": dry_run, **counts, "tenants": tenants})
        return
    click.echo(f"{provider} lists {tally.listed} addresses; {tally.refused} of them are none.")
    for name, counts in tenants.items():
        verb = "would be added" if dry_run else "added"
        click.echo(f"{name}: {counts['added']} {verb}, {counts['already']} stood already.")
