"""Header fields of an outgoing message, as text whose lines end in CRLF and hold at most 998 octets (RFC 5322)."""

import re
from collections.abc import Iterable
from email.header import Header
from urllib.parse import quote

from domain.address import ascii_address

# Everything that some parser takes for the end of a line, and what no header may hold.
_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")  # single spaces only: folding would lose the others
_NAME = re.compile(r"[!-9;-~]{1,76}")  # ftext of RFC 5322
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ESCAPED = re.compile(r'(["\\])')
_ATTRIBUTE = re.compile(r"[ -~]{0,70}")
_FOLD_AT = 76
_LONGEST_WORD = 900
_LONGEST_PIECE = 60

# What the service itself says about a message, and what only a transport or a signer may say.
_PROTECTED = frozenset(
    (
        *("message-id", "date", "from", "sender", "to", "cc", "bcc", "subject", "mime-version"),
        *("return-path", "received", "delivered-to", "dkim-signature", "domainkey-signature", "authentication-results"),
    )
)
_PROTECTED_FAMILIES = ("content-", "arc-", "resent-", "x-postledger-")


def field(name: str, text: str) -> str:
    """An unstructured field: plain where it can be, else RFC 2047 encoded words."""
    text = clean(text)
    words = text.split(" ")
    if not text or (_PLAIN.fullmatch(text) and "=?" not in text and max(map(len, words)) < _LONGEST_WORD):
        return _folded(f"{name}: {text}")
    return f"{name}: {_encoded(text, len(name) + 2)}\r\n"


def author_fields(headers: Iterable[tuple[str, str]], also_protected: Iterable[str] = ()) -> str:
    """The author's own headers, without those that are not the author's to set or whose name is no name."""
    protected = _PROTECTED.union(also_protected)
    return "".join(field(name, value) for name, value in headers if _is_free(name, protected))


def address_field(name: str, mailboxes: Iterable[tuple[str, str]], *, smtputf8: bool) -> str:
    """A field of (display name, address) pairs, one to a line; empty when there are none."""
    written = [mailbox(*pair, smtputf8=smtputf8) for pair in mailboxes]
    return f"{name}: {_NEXT.join(written)}\r\n" if written else ""


def mailbox(name: str, address: str, *, smtputf8: bool) -> str:
    """`name <address>`, the domain in A-labels unless the local part needs SMTPUTF8 anyway.

    Without SMTPUTF8 such an address cannot be written at all. It becomes an empty group that names it, as RFC 6857
    section 3.1.5 does for old mailbox clients, so that the other recipients can still get the message.
    """
    name, address = clean(name), clean(address)
    written = ascii_address(address)
    if written is None and not smtputf8:
        return _followed(_phrase(f"{name} {address}".strip()), ":;")
    return _followed(_phrase(name), f"<{written or address}>") if name else written or address


def parameter(name: str, value: str) -> str:
    """`; name="value"`, or RFC 2231 with continuations where the value is not plain, or long."""
    value = clean(value)
    if _ATTRIBUTE.fullmatch(value) and "=?" not in value:
        return f';\r\n {name}="{_quoted(value)}"'
    pieces = _pieces(value)
    if len(pieces) == 1:
        return f";\r\n {name}*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "".join(f";\r\n {name}*{index}*={piece}" for index, piece in enumerate(pieces))


def clean(text: str) -> str:
    """The text on one line: CR, LF, NUL and their like become a space."""
    return _CONTROL.sub(" ", text).strip(" ")


_NEXT = ",\r\n "


def _is_free(name: str, protected: frozenset[str]) -> bool:
    known = name.lower()
    return bool(_NAME.fullmatch(name)) and known not in protected and not known.startswith(_PROTECTED_FAMILIES)


def _phrase(text: str) -> str:
    if len(text) > _FOLD_AT or not text.isascii() or "=?" in text:
        return _encoded(text, len("Reply-To: "))
    return text if _ATOMS.fullmatch(text) else f'"{_quoted(text)}"'


def _followed(phrase: str, rest: str) -> str:
    """`phrase rest`, on two lines where one would be too long for encoded words (RFC 2047 section 2)."""
    last = phrase.rpartition("\r\n")[2]
    fits = len("Reply-To: ") + len(last) + len(f" {rest},") <= _FOLD_AT
    return f"{phrase} {rest}" if fits else f"{phrase}\r\n {rest}"


def _quoted(text: str) -> str:
    return _ESCAPED.sub(r"\\\1", text)


def _encoded(text: str, indent: int) -> str:
    return Header(text, "utf-8", maxlinelen=_FOLD_AT - 1, header_name="x" * (indent - 2)).encode(linesep="\r\n")


def _folded(line: str) -> str:
    if len(line) <= _FOLD_AT:
        return f"{line}\r\n"
    name, *words = line.split(" ")
    lines = [f"{name} {words[0]}"]  # never a first line without a word: some relays drop the field
    for word in words[1:]:
        if len(lines[-1]) + len(word) < _FOLD_AT:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return "\r\n".join(lines) + "\r\n"


def _pieces(value: str) -> list[str]:
    pieces = [""]
    for character in value:
        octets = quote(character, safe="")
        if len(pieces[-1]) + len(octets) > _LONGEST_PIECE:
            pieces.append("")
        pieces[-1] += octets
    return pieces
