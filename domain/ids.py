"""Identifiers: time-ordered UUIDv7, and stream ids derived from a tenant's idempotency key."""

import os
import random
from datetime import datetime
from uuid import UUID, uuid5

_KEYED = UUID("6d2c4a5e-7c1f-5b0e-9a4d-1f6f0f2b8c11")  # namespace of all key-derived stream ids; never change it
_SUPPRESSION = UUID("b7f0a2c4-3e55-5d0b-8f43-0c5d1f9be6a7")  # namespace of suppression streams; never change it
_PROVIDER = UUID("0d9e7c52-64ab-5f3a-a1d7-3b8c5e2f7a19")  # namespace of providers' streams; never change it

_random = random.Random()  # noqa: S311 - unique, not secret; asking the kernel each time would cost a system call
os.register_at_fork(after_in_child=_random.seed)  # or parent and child would go on with the same ids


def uuid7(now: datetime) -> UUID:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = int(now.timestamp() * 1000) & (1 << 48) - 1
    value = milliseconds << 80 | _random.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def email_id_for_key(tenant: str, key: str, index: int = 0) -> UUID:
    """The stream id that an idempotency key stands for, for ever.

    `index` is the item's place in a batch. Item 0 shares its id with a single command of the same key, so that
    using one key for both is found out as a conflict.
    """
    name = f"{tenant}\0{key}" if index == 0 else f"{tenant}\0{key}\0{index}"
    return uuid5(_KEYED, name)


def suppression_id(tenant: str, key: str) -> UUID:
    """The stream of a tenant's decisions about one address; `key` is what `domain.address.address_key` makes of it."""
    return uuid5(_SUPPRESSION, f"{tenant}\0{key}")


def provider_id(name: str) -> UUID:
    """The stream of the provider that is configured under this name."""
    return uuid5(_PROVIDER, name)


def recipient_id(email_id: UUID, index: int) -> UUID:
    """The id of an email's recipient number `index`: a function of both, so that a replay finds the same one.

    It differs from the email's id in the last bits only, which are random there: no other email's will be met.
    """
    return UUID(int=email_id.int ^ (index + 1))
