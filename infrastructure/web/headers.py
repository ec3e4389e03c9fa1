"""The request headers of our own that carry meaning."""

import re
from collections.abc import Iterable

from application.errors import InvalidField, ReadModelBehind
from infrastructure.web.operation import Call

_KEY = b"idempotency-key"
_BARE = re.compile(r"[\x20-\x7e]{1,256}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # RFC 8941 section 3.3.3: an sf-string
_ESCAPE = re.compile(r"\\(.)")
_MAX_POSITION = 2**63 - 1
_PATIENCE = 5.0  # seconds


def idempotency_key(call: Call) -> str | None:
    """The key, written bare or as a structured-field string: `abc` and `"abc"` are the same. Raises InvalidField."""
    value = call.headers.get(_KEY)
    if value is None:
        return None
    text = _once(value, call.scope["headers"]).decode("latin-1").strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        text = _ESCAPE.sub(r"\1", quoted[1])
    elif text.startswith('"'):
        raise InvalidField("Idempotency-Key", "has an opening quote, but is not a structured-field string")
    if not _BARE.fullmatch(text):
        raise InvalidField("Idempotency-Key", "must have 1 to 256 printable ASCII characters")
    return text


def _once(value: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    if any(name == _KEY and other != value for name, other in headers):
        raise InvalidField("Idempotency-Key", "was sent twice, with different values")
    return value


async def wait_for_position(call: Call) -> None:
    """Let the read models catch up with `Postledger-Wait-For`. Raises ReadModelBehind after a few seconds."""
    value = call.headers.get(b"postledger-wait-for")
    if value is None:
        return
    if not value.isdigit() or len(value) > 19 or int(value) > _MAX_POSITION:
        raise InvalidField("Postledger-Wait-For", "must be a position, as a Postledger-Position header gave it")
    if not await call.service.wait_for(int(value), _PATIENCE):
        raise ReadModelBehind
