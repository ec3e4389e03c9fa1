"""Broken rules of the domain. A failure that is expected (a bounce, a timeout) is an event, not an exception."""

from typing import ClassVar


class DomainError(Exception):
    """A rule of the email ledger was broken."""

    code: ClassVar[str] = "domain_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class InvalidAddress(DomainError):
    """This is not a valid email address."""

    code = "invalid_address"


class NotAllowedInThisState(DomainError):
    """The email's present state does not allow this."""

    code = "not_allowed_in_this_state"


class UnreadableEvent(DomainError):
    """A stored event cannot be read by this version of the code."""

    code = "unreadable_event"
