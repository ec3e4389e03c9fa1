"""Whose signatures are believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from infrastructure.audit import checkpoints
from infrastructure.audit.signing import Signer, Witness, read_public
from infrastructure.cli.failures import USAGE, Failure

PUBLIC_KEYS = click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Holds a public key to check signatures with, beside that of the settings; may be repeated.",
)


def known(signer: Signer | None, public_keys: Sequence[Path]) -> list[Witness]:
    """The keys that signatures are checked with. Raises click.BadParameter."""
    found = [signer.witness] if signer else []
    for path in public_keys:
        try:
            found.append(read_public(path.read_text()))
        except ValueError as error:
            raise click.BadParameter(f"{path}: {error}", param_hint="--public-key") from None
    return found


def checkpoint(path: Path, witnesses: Sequence[Witness]) -> Mapping[str, Any]:
    """A checkpoint from a file, its signature checked first."""
    try:
        document = checkpoints.read(path.read_text())
    except ValueError as error:
        reason = str(error) if str(error).startswith("it is") else "it is not JSON"
        raise click.BadParameter(f"{path}: {reason}", param_hint="--against") from None
    if document["signature"] is None:
        click.echo(f"{path} is not signed: it proves as much as the place it was kept in.", err=True)
        return document
    witness = next((each for each in witnesses if each.id == document["key_id"]), None)
    if witness is None:
        advice = "Give its public key with --public-key."
        raise Failure(f"{path} is signed with the key {document['key_id']}, which is not known.", advice, USAGE)
    if not witness.signed(document):
        raise Failure(f"The signature of {path} is wrong: it was changed, or it is forged. Nothing was compared.")
    return document
