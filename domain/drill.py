"""Which calls a drill hits. Told from the attempt alone, so that worker and report agree without a word."""

from hashlib import blake2b

REASON = "drill_"  # how the reason of every trouble begins that was a drill's


def is_hit(token: str, attempt: int, rate: float) -> bool:
    """Whether this attempt is among the share `rate`, in (0, 1], of all."""
    digest = blake2b(f"{token}:{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < rate * 2**64
