"""The terms under which an email is found: what never changes about it, as short strings.

`r:` recipient, `d:` a recipient's domain, `f:` sender, `w:` word of the subject, `t:` tag, `m:` metadata, `s:` stream.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from domain import events as e
from domain.address import address_key

MOST_WORDS = 20  # of a subject that are kept, the first ones
LONGEST = 100  # characters of a word, and of a value of metadata; longer ones are cut, in questions too
_WORD = re.compile(r"\w+")


def of_email(event: e.EmailQueued) -> set[str]:
    """All terms of one email."""
    terms = {stream(event.stream), sender(event.sender.address), *map(word, words(event.subject)[:MOST_WORDS])}
    for recipient_ in event.recipients:
        terms |= {recipient(recipient_.address), domain(recipient_.address.rpartition("@")[2])}
    for tag_ in event.tags:
        terms |= {tag(tag_.name), tag(tag_.name, tag_.value)}
    return terms | {metadata(key, value) for key, value in _flat(event.metadata)}


def words(text: str) -> list[str]:
    """The different words of a text in order, without case and accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return list(dict.fromkeys(found[:LONGEST] for found in _WORD.findall(plain)))


def word(value: str) -> str:
    """Of one word, as `words` gives it."""
    return f"w:{value}"


def recipient(address: str) -> str:
    """Addresses are stored normalised, so that case is all there is left to fold."""
    return f"r:{address.casefold()}"


def domain(name: str) -> str:
    return f"d:{name.casefold()}"


def sender(address: str) -> str:
    return f"f:{address.casefold()}"


def stream(name: str) -> str:
    return f"s:{name}"


def tag(name: str, value: str | None = None) -> str:
    """Of the tag, or of its name whatever its value. Neither can hold an equals sign."""
    return f"t:{name}" if value is None else f"t:{name}={value}"


def metadata(key: str, value: str) -> str:
    return f"m:{key[:LONGEST]}={value[:LONGEST]}"


def asked_recipient(address: str) -> str:
    """Of an address as somebody wrote it."""
    return recipient(address_key(address))


def _flat(values: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    return ((key, value if isinstance(value, str) else str(value)) for key, value in values.items())
