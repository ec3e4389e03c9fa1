"""Signatures of calls to the outside, as Standard Webhooks says (www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

_ENCODED = "whsec_"  # begins a secret that is in base64; any other is taken as it is


def key_of(secret: str) -> bytes:
    """The key that a secret stands for. Raises ValueError."""
    if not secret.startswith(_ENCODED):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
    except binascii.Error:
        raise ValueError(f"begins with {_ENCODED}, and what follows is not base64") from None


def signed(key: bytes | None, id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """The headers of a call; without a key they carry no signature."""
    time = str(int(at.timestamp()))
    headers = {"webhook-id": id, "webhook-timestamp": time}
    if key is None:
        return headers
    digest = hmac.new(key, b".".join((id.encode(), time.encode(), body)), hashlib.sha256).digest()
    return {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
