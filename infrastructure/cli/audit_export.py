"""`postledger audit export` and `export-verify`: events for auditors, and whether they still are what was exported."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from domain.address import normalise
from domain.errors import InvalidAddress, UnreadableEvent
from infrastructure.audit import blocks, checkpoints, formats, manifest
from infrastructure.audit.export import Export, Wanted
from infrastructure.audit.signing import Signer, read_private
from infrastructure.bootstrap import System, now
from infrastructure.cli import audit_keys, display
from infrastructure.cli.events import Place
from infrastructure.cli.failures import FAILED, NOT_FOUND, USAGE, Failure
from infrastructure.cli.running import progress, with_system
from infrastructure.replay import around
from infrastructure.settings import load_settings

_MB = 1_000_000


@click.command("export")
@click.option("--format", type=click.Choice(list(formats.FORMATS)), default="ndjson", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new or empty directory."
)
@click.option("--from", "start", type=Place(), help="From this position or time on; by default from the beginning.")
@click.option("--to", "end", type=Place(), help="Up to this position (included) or time (not included).")
@click.option("--tenant", metavar="NAME", help="Only this tenant's.")
@click.option("--person", metavar="ADDRESS", help="Only what is about this person: their emails, and suppressions.")
@click.option("--file-size", type=click.IntRange(1, 10_000), default=64, show_default=True, help="MB of a file, about.")
def export_command(format: str, out: Path, file_size: int, **wanted: Any) -> None:
    """Write events into files, with a manifest of their hashes, signed if there is a key.

    What is broken off has no manifest; begin again, into another directory.
    """
    _check(format, out)

    async def work(system: System) -> Mapping[str, Any]:
        await system.prepare()
        await system.chain.catch_up()
        with progress("Exporting", "positions/s") as report:
            range_ = await _range(system, **wanted)
            about = await _about(system)
            return await Export(out, format, file_size * _MB).run(system.ledger, range_, about, system.signer, report)

    document: Mapping[str, Any] = with_system(work)
    if document["signature"] is None:
        click.echo("The manifest is not signed: there is no key. `postledger audit keygen` makes one.", err=True)
    if not display.for_people():
        display.document(document)
        return
    click.echo(f"Events: {document['events']}, files: {len(document['files'])}, and {manifest.NAME}: {out}")


@click.command("export-verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@audit_keys.PUBLIC_KEYS
def export_verify_command(directory: Path, public_keys: Sequence[Path]) -> None:
    """Check the files of an export against its manifest, and the manifest against its signature."""
    witnesses = audit_keys.known(_signer(), public_keys)
    try:
        document = manifest.read(directory)
    except manifest.NoManifest as error:
        raise Failure(str(error), "Export again, into another directory.", NOT_FOUND) from None
    wrong = list(manifest.check(directory, document, witnesses))
    by = document.get("key_id")
    signature = "unsigned" if by is None else "known" if by in {each.id for each in witnesses} else "unknown"
    if display.for_people():
        for each in wrong:
            click.echo(each)
        click.echo(f"Events: {document.get('events')}, files: {len(document['files'])}. {_SIGNATURES[signature]}")
        click.echo("Something is wrong with it." if wrong else "All files are as they were exported.")
    else:
        told = {"events": document.get("events"), "key": signature, "key_id": by, "wrong": wrong}
        display.document({"ok": not wrong, **told})
    if wrong:
        raise click.exceptions.Exit(FAILED)


_SIGNATURES = {
    "unsigned": "The manifest is not signed.",
    "known": "The manifest is signed with a key that is known.",
    "unknown": "The manifest is signed with a key that is not known: give it with --public-key.",
}


def _check(format: str, out: Path) -> None:
    try:
        formats.check(format)
    except formats.FormatMissing as error:
        raise Failure(str(error), "Or export as ndjson or csv.", USAGE) from None
    if out.exists() and any(out.iterdir()):
        raise Failure(f"{out} is not empty.", "Name a new directory with --out.", USAGE)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)


async def _range(
    system: System, start: int | datetime | None, end: int | datetime | None, tenant: str | None, person: str | None
) -> Wanted:
    head = await system.ledger.position()
    after, since = (max(0, start - 1), None) if isinstance(start, int) else (0, start)
    if since is not None:
        after = await _around(system, since)
    up_to, until = (min(head, end), None) if isinstance(end, int) else (head, end)
    return Wanted(after, up_to, since, until, tenant, _address(person) if person else None)


async def _around(system: System, since: datetime) -> int:
    try:
        return await around(system.ledger, since)
    except UnreadableEvent:
        return 0  # then from the beginning: slower, and right


async def _about(system: System) -> dict[str, Any]:
    """Where the log stood, so that the export can be told from one of another log, or of a changed one."""
    reached = await system.database.ask(blocks.newest)
    log_id = await system.database.ask(blocks.log_id) or b""
    kept = await system.database.ask(checkpoints.latest)
    chain = {"log_id": log_id.hex(), "position": reached.last, "count": reached.total, "chain": reached.chain.hex()}
    return {"made_at": now().isoformat(), "log": chain, "checkpoint": kept.document if kept else None}


def _address(text: str) -> str:
    try:
        return normalise(text.strip())
    except InvalidAddress as error:
        raise click.BadParameter(str(error), param_hint="--person") from None


def _signer() -> Signer | None:
    """The key of the settings, if there is one; a database is not needed for this."""
    key = load_settings().audit_key_text()
    try:
        return read_private(key) if key else None
    except ValueError as error:
        raise Failure(f"POSTLEDGER_AUDIT_KEY {error}.", "", USAGE) from None
