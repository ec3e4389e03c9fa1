"""The manifest of an export: what was asked for, and what every file must be. Without it an export is none."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from infrastructure.audit.signing import Signer, Witness, unsigned

NAME = "manifest.json"
TYPE = "postledger.export.v1"
_PIECE = 1 << 20  # bytes read at a time


class NoManifest(Exception):
    """There is no manifest, or it is none."""


def write(directory: Path, document: Mapping[str, Any], signer: Signer | None) -> Mapping[str, Any]:
    """The last step of an export: all at once, and durable."""
    signed = signer.sign(document) if signer else unsigned(document)
    fresh = directory / f"{NAME}.part"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{json.dumps(signed, indent=2, ensure_ascii=False)}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(directory / NAME)
    return signed


def read(directory: Path) -> Mapping[str, Any]:
    """Raises NoManifest."""
    try:
        document = json.loads((directory / NAME).read_text())
    except OSError:
        raise NoManifest(f"There is no {NAME} in {directory}: the export was broken off, or it is none.") from None
    except ValueError:
        raise NoManifest(f"{directory / NAME} is not JSON.") from None
    if not isinstance(document, dict) or document.get("type") != TYPE or not isinstance(document.get("files"), list):
        raise NoManifest(f"{directory / NAME} is no manifest of an export.")
    return document


def check(directory: Path, document: Mapping[str, Any], witnesses: Sequence[Witness]) -> Iterator[str]:
    """What is wrong with the export, in words; nothing when all is as it was written."""
    yield from _signature(document, witnesses)
    events, named = 0, set()
    for file in document["files"]:
        try:
            name, count, size, digest = (file[field] for field in ("name", "events", "size", "sha256"))
            wrong = _file(directory / Path(str(name)).name, size, digest)
        except (KeyError, TypeError):
            yield "The manifest names a file without saying what it must be."
            continue
        named.add(str(name))
        events += count
        if wrong:
            yield f"{name} {wrong}."
    if events != document.get("events"):
        yield f"The files have {events} events, and the manifest says {document.get('events')}."
    others = {path.name for path in directory.iterdir()} - named - {NAME}
    yield from (f"{name} is not in the manifest." for name in sorted(others))


def _signature(document: Mapping[str, Any], witnesses: Sequence[Witness]) -> Iterator[str]:
    """An unsigned manifest, or one by a key that is not known, proves nothing, but is not wrong."""
    witness = next((each for each in witnesses if each.id == document.get("key_id")), None)
    if witness is not None and not witness.signed(document):
        yield "The signature of the manifest is wrong: it was changed, or it is forged."


def _file(path: Path, size: int, digest: str) -> str | None:
    try:
        if path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes instead of {size}"
        return None if digest_of(path) == digest else "was changed: its SHA-256 is another one"
    except OSError:
        return "is missing"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
