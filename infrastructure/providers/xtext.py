"""Values in SMTP parameters of delivery status notifications (RFC 3461 section 4, and RFC 6533 for UTF-8)."""

import re

_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")  # all but printable ASCII without + and =
_ENCODED = re.compile(r"\+(2B|3D)")  # what an address needs it for; `ada+20@…` is an address of its own
_NOT_UTF8_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")  # the same, and the backslash
_CODE_POINT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def original_recipient(address: str) -> str:
    """The ORCPT parameter's value for an address."""
    if address.isascii():
        return f"rfc822;{_NOT_XTEXT.sub(lambda found: f'+{ord(found[0]):02X}', address)}"
    return "utf-8;" + _NOT_UTF8_XTEXT.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", address)


def decoded(text: str) -> str:
    """An address that comes back in a notification: some servers decode it before, some do not."""
    text = _ENCODED.sub(lambda found: chr(int(found[1], 16)), text)
    return _CODE_POINT.sub(lambda found: _character(int(found[1], 16)), text)


def _character(code_point: int) -> str:
    valid = code_point <= 0x10FFFF and not 0xD800 <= code_point <= 0xDFFF
    return chr(code_point) if valid else "\ufffd"
