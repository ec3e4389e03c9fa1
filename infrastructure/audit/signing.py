"""Ed25519 signatures over JSON documents, and the keys for them."""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_PEM = "-----BEGIN"
_PRIVATE = "is no Ed25519 private key: it must be a PEM, or the 32 bytes of the key in base64"
_PUBLIC = "is no Ed25519 public key: it must be a PEM, or the 32 bytes of the key in base64"

Document = Mapping[str, Any]


def canonical(document: Document) -> bytes:
    """What is signed: the document without its signature, as JSON with sorted keys, no spaces, and ASCII alone."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    return json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True, slots=True)
class Witness:
    """A public key: tells whether a document was signed with the private one."""

    key: Ed25519PublicKey

    @property
    def id(self) -> str:
        """The first 16 hex digits of the key's SHA-256."""
        return sha256(self.key.public_bytes_raw()).hexdigest()[:16]

    @property
    def pem(self) -> str:
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signed(self, document: Document) -> bool:
        try:
            signature = base64.b64decode(document["signature"], validate=True)
            self.key.verify(signature, canonical(document))
        except (InvalidSignature, KeyError, TypeError, ValueError):
            return False
        return document.get("key_id") == self.id


class Signer:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.witness = Witness(key.public_key())

    def sign(self, document: Document) -> dict[str, Any]:
        """The document with the key's id and a signature."""
        named = {**document, "key_id": self.witness.id}
        return {**named, "signature": base64.b64encode(self._key.sign(canonical(named))).decode()}

    def save(self, path: Path) -> Path:
        """Write the private key, for its owner only, and the public one beside it; where that is. Raises OSError."""
        public = path.with_name(f"{path.name}.pub")
        path.parent.mkdir(parents=True, exist_ok=True)
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        public.write_text(self.witness.pem)
        return public


def unsigned(document: Document) -> dict[str, Any]:
    """The document as it is when there is no key."""
    return {**document, "key_id": None, "signature": None}


def new_key() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


def read_private(text: str) -> Signer:
    """Raises ValueError, which never holds the key."""
    try:
        key = (
            load_pem_private_key(text.encode(), None)
            if _PEM in text
            else Ed25519PrivateKey.from_private_bytes(_32(text))
        )
    except (ValueError, TypeError):
        raise ValueError(_PRIVATE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(_PRIVATE)
    return Signer(key)


def read_public(text: str) -> Witness:
    """Raises ValueError."""
    try:
        key = load_pem_public_key(text.encode()) if _PEM in text else Ed25519PublicKey.from_public_bytes(_32(text))
    except (ValueError, TypeError):
        raise ValueError(_PUBLIC) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(_PUBLIC)
    return Witness(key)


def _32(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raise ValueError from None
