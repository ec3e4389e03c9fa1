"""Why Mailgun gave up on a recipient, and what that says about the address.

Quirks:
* Mail to an address on Mailgun's own lists is a failure with a code of its own, never tried (symfony#50164).
* A permanent failure is not always an address that is gone (craft-campaign#178): one that is known to have another
  cause is not held against the address, whatever Mailgun calls it.
* 498 and 499 are Mailgun's own codes for DNS trouble and no MX; 600 and above are its own too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.events import BounceClass

SUPPRESSED: Mapping[str | int | None, str] = {
    "suppress-bounce": "bounce",
    "suppress-unsubscribe": "unsubscribe",
    "suppress-complaint": "complaint",
    605: "bounce",
    606: "unsubscribe",
    607: "complaint",
}
# Causes by enhanced status (RFC 3463): its subject and detail, or its subject alone.
ENHANCED: Mapping[str, str] = {
    "1.2": "invalid_domain",
    "1.7": "sender",
    "1.8": "sender",
    "1.10": "invalid_domain",  # null MX (RFC 7505)
    "1": "invalid_address",
    "2.1": "mailbox_disabled",
    "2.2": "mailbox_full",
    "2.3": "too_large",
    "3.4": "too_large",
    "3": "system",
    "4.7": "expired",
    "4": "routing",
    "6": "content",
    "7": "policy",
}
CODES: Mapping[int | None, str] = {498: "dns", 499: "dns"}
REASONS: Mapping[str, str] = {"old": "expired", "espblock": "blocked"}
_OF_THE_ADDRESS = frozenset({"invalid_address", "invalid_domain", "mailbox_disabled"})
_SAYS_LITTLE = frozenset({"generic", "old", "espblock"})


@dataclass(frozen=True, slots=True)
class Failure:
    """What Mailgun says of one."""

    reason: str  # its word
    code: int | None
    enhanced_status: str | None
    bounce_type: str  # `hard`, `soft`, or nothing


@dataclass(frozen=True, slots=True)
class Bounce:
    """What it means."""

    bounce_class: BounceClass
    reason: str
    address_is_dead: bool


def suppressed(failure: Failure) -> str | None:
    """The list that the address is on, if that is why."""
    return SUPPRESSED.get(failure.reason) or SUPPRESSED.get(failure.code)


def cause(failure: Failure) -> str | None:
    """In our words; None when it is not told."""
    _, _, detail = (failure.enhanced_status or "").partition(".")
    by_status = ENHANCED.get(detail) or ENHANCED.get(detail.partition(".")[0])
    return by_status or CODES.get(failure.code) or REASONS.get(failure.reason)


def bounced(failure: Failure) -> Bounce:
    """A permanent failure that is no suppression."""
    known, bounce_class = cause(failure), _bounce_class(failure)
    reason = known or ("invalid_address" if bounce_class == "hard" else "general")
    return Bounce(bounce_class, reason, bounce_class == "hard" and reason in _OF_THE_ADDRESS)


def _bounce_class(failure: Failure) -> BounceClass:
    """Mailgun's own word first, then what the recipient's server said (CONTRACTS 2.2)."""
    known, code = cause(failure), failure.code or 0
    if failure.bounce_type in ("hard", "soft"):
        return "hard" if failure.bounce_type == "hard" else "soft"
    if known in _OF_THE_ADDRESS and (failure.enhanced_status or "").startswith("5."):
        return "hard"
    if known is None and code == 550 and failure.reason == "bounce":
        return "hard"
    ours = code >= 600 or 400 <= code < 500
    return "soft" if known or ours or failure.reason in _SAYS_LITTLE else "undetermined"
