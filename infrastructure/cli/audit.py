"""`postledger audit`: proving what happened, finding out about it, and handing it over."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infrastructure.audit import checkpoints
from infrastructure.audit.index import hints
from infrastructure.audit.signing import new_key
from infrastructure.audit.verification import Verdict, Verification
from infrastructure.bootstrap import System
from infrastructure.cli import audit_keys, display
from infrastructure.cli.audit_export import export_command, export_verify_command
from infrastructure.cli.audit_log import log_command, trace_command
from infrastructure.cli.failures import FAILED, Failure
from infrastructure.cli.running import progress, with_system

_UNSIGNED = "It is not signed: there is no key. `postledger audit keygen` makes one."
_COLUMNS = ("kind", "position", "stream", "version", "topic", "what")


@click.group("audit")
def audit_group() -> None:
    """Prove what happened, find out who did what and why, and hand it over."""


@audit_group.command("keygen")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("var/audit-key"),
    show_default=True,
    help="Where the private key goes; the public one goes beside it, with .pub after its name.",
)
def keygen_command(out: Path) -> None:
    """Make a key pair that checkpoints and exports are signed with."""
    signer = new_key()
    try:
        public = signer.save(out)
    except FileExistsError:
        raise Failure(f"{out} is there already.", "Name another file with --out; keys are not written over.") from None
    if not display.for_people():
        told = {"private_key_file": str(out), "public_key_file": str(public), "key_id": signer.witness.id}
        display.document({**told, "public_key": signer.witness.pem})
        return
    click.echo(
        f"Private key  {out} (readable by its owner only)\nPublic key   {public}\nKey id       {signer.witness.id}"
    )
    click.echo(f"Set POSTLEDGER_AUDIT_KEY_FILE={out} for the workers, and give the public key to whoever verifies.")


@audit_group.command("checkpoint")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file as well.")
def checkpoint_command(out: Path | None) -> None:
    """Make a checkpoint of all there is now. Keep it where nobody who can change the database can change it."""

    async def work(system: System) -> checkpoints.Kept:
        await system.prepare()
        return await system.chain.checkpoint()

    document = with_system(work).document
    if out is not None:
        out.write_text(f"{json.dumps(document, indent=2)}\n")
    if document["signature"] is None:
        click.echo(_UNSIGNED, err=True)
    if out is None or not display.for_people():
        display.document(document)
    else:
        click.echo(f"Checkpoint of {document['count']} events, up to position {document['position']}: {out}")


@audit_group.command("checkpoints")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--after", type=click.IntRange(0), metavar="NUMBER", help="Only those older than this one.")
def checkpoints_command(limit: int, after: int | None) -> None:
    """The checkpoints that are kept, the newest first."""

    async def work(system: System) -> list[checkpoints.Kept]:
        await system.prepare()
        return await system.database.ask(checkpoints.page, limit + 1, after)

    found: list[checkpoints.Kept] = with_system(work)
    rows = [{"number": kept.number, **kept.document} for kept in found[:limit]]
    if not display.for_people():
        display.document({"object": "list", "has_more": len(found) > limit, "data": rows})
        return
    columns = ("number", "time", "position", "count", "chain", "key_id")
    display.console().print(display.table(columns, ([_cell(row[name]) for name in columns] for row in rows)))
    if len(found) > limit:
        click.echo(f"There are more: --after {rows[-1]['number']}")


@audit_group.command("verify")
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A checkpoint that was kept elsewhere; may be repeated.",
)
@audit_keys.PUBLIC_KEYS
def verify_command(against: Sequence[Path], public_keys: Sequence[Path]) -> None:
    """Compare every stored event with the chain, and the chain with the checkpoints. Exits with 1 if anything differs.

    It only reads; the service may run meanwhile.
    """

    async def work(system: System) -> Verdict:
        await system.prepare()
        witnesses = audit_keys.known(system.signer, public_keys)
        given = [audit_keys.checkpoint(path, witnesses) for path in against]
        verification = Verification(system.database, witnesses, given, hints)
        with progress("Verifying", "events/s") as report:
            return await verification.run(report)

    verdict: Verdict = with_system(work)
    if display.for_people():
        _show(verdict)
    else:
        display.document(verdict.as_document())
    if not verdict.ok:
        raise click.exceptions.Exit(FAILED)


def _show(verdict: Verdict) -> None:
    rows = [each.as_document() for each in verdict.findings]
    if rows:
        cells = ([_cell(row[name]) for name in _COLUMNS] for row in rows)
        display.console().print(display.table(_COLUMNS, cells))
    if verdict.more:
        click.echo(f"And {verdict.more} more.")
    click.echo(
        f"{verdict.events} events, {verdict.blocks} blocks, up to position {verdict.position}; "
        f"{verdict.uncovered} newer events are not in the chain yet."
    )
    click.echo(
        f"Checkpoints that agree: {verdict.checkpoints}. Kept ones with a good signature: {verdict.signed}, "
        f"of unknown keys: {verdict.strangers}, unsigned: {verdict.unsigned}."
    )
    click.echo(
        "All is as it was stored." if verdict.ok else "Something is wrong: see docs/operations.md, audit verify."
    )


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


for _command in (log_command, trace_command, export_command, export_verify_command):
    audit_group.add_command(_command)
