"""Email addresses: parsing and normalisation (RFC 5321, 5322, 6531), through `email-validator`."""

import re
from functools import lru_cache

from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from pydantic import BaseModel, ConfigDict

from domain.errors import InvalidAddress
from domain.personal import PersonalStr

# The atoms that email-validator takes without changing a character. Such a local part needs no second look, so the
# whole validation (about 60 us) is only paid once per domain; a property test holds both ways to the same answers.
_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*")
_NAMED = re.compile(r'(?:"([^"\\<>]*)"|([^"\\<>(),;:@\[\]]*?))\s*<([^<>\s]+)>')
_MAX_LOCAL = 64
_SHORT = 120  # well under the 254 octets of RFC 5321, however the domain is spelt; longer ones are measured in full


class Mailbox(BaseModel):
    """An address with the name that stands before it: `Ada Lovelace <ada@example.com>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: PersonalStr
    name: PersonalStr = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address

    @property
    def key(self) -> str:
        """What makes two spellings the same person: look-ups compare this."""
        return address_key(self.address)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def address_key(address: str) -> str:
    """One person, one key: case folded, the address normalised when it can be."""
    try:
        return normalise(address).casefold()
    except InvalidAddress:
        return address.casefold()


def normalise(address: str) -> str:
    """The address as we store it: domain in lower-case Unicode, local part as written, in NFC.

    Raises InvalidAddress with the reason. No DNS look-up is made.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        raise InvalidAddress("An email address must have an @-sign.")
    if len(local) <= _MAX_LOCAL and _PLAIN_LOCAL.fullmatch(local):
        known = _domain(domain)
        if len(local) + 1 + max(len(known), len(domain)) <= _SHORT:
            return f"{local}@{known}"
    return _validated(address).normalized


def ascii_address(address: str) -> str | None:
    """The address with its domain in A-labels (`xn--…`), or None where the local part itself is not ASCII."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        return None
    return address if domain.isascii() else _validated(address).ascii_email


@lru_cache(maxsize=4_096)  # senders repeat themselves
def parse_mailbox(text: str) -> Mailbox:
    """Parse `address` or `Name <address>`. Raises InvalidAddress with the reason."""
    text = text.strip()
    if any(character in text for character in "\r\n\0"):
        raise InvalidAddress("An email address must not contain CR, LF or NUL.")
    if not text.endswith(">"):
        return Mailbox(address=normalise(text), name="")
    if match := _NAMED.fullmatch(text):
        return Mailbox(address=normalise(match[3]), name=(match[1] or match[2] or "").strip())
    found = _validated(text, allow_display_name=True)
    return Mailbox(address=found.normalized, name=found.display_name or "")


@lru_cache(maxsize=10_000)
def _domain(domain: str) -> str:
    return _validated(f"x@{domain}").domain


def _validated(address: str, *, allow_display_name: bool = False) -> ValidatedEmail:
    try:
        return validate_email(
            address,
            check_deliverability=False,
            allow_display_name=allow_display_name,
            test_environment=True,  # `.test` (RFC 6761) is where the sandbox's recipients live
        )
    except EmailNotValidError as error:
        raise InvalidAddress(str(error)) from None
