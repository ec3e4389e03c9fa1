"""What can be wrong with a request. The docstring is the default message."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong, and where: `to[1]`, `attachments[0].content`, a query parameter or a header."""

    field: str
    message: str
    code: str

    def __str__(self) -> str:
        return f"{self.field} {self.message}" if self.field else f"The body {self.message}"


class RequestError(Exception):
    """The request cannot be answered as it is."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((self.__doc__ or "").split()))


class MissingApiKey(RequestError):
    """An API key is needed: send the header `Authorization: Bearer YOUR_KEY`."""


class InvalidApiKey(RequestError):
    """This API key is not known here."""


class NoSuchRoute(RequestError):
    """There is nothing at this address. GET /docs lists what there is."""


class InvalidLink(RequestError):
    """This link is not one of ours, or not whole. Copy it again from the message."""


class LinkExpired(RequestError):
    """This link is over. Ask the sender for the file."""


class AttachmentGone(RequestError):
    """This file is no longer kept. Ask the sender for it."""


class MethodNotAllowed(RequestError):
    """This address does not know this method."""

    def __init__(self, allowed: Collection[str]) -> None:
        self.allow = ", ".join(sorted(allowed))
        super().__init__(f"This address knows {self.allow} only.")


class UnsupportedMediaType(RequestError):
    """The body must be JSON in UTF-8: send the header `Content-Type: application/json`."""


class BodyTooLarge(RequestError):
    """The body is larger than this service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes, which is the most this service takes.")


class InvalidJson(RequestError):
    """The body is not valid JSON."""


class InvalidRequest(RequestError):
    """Fields of the request are not acceptable."""

    def __init__(self, fields: Sequence[FieldError]) -> None:
        self.fields = tuple(fields)
        super().__init__("; ".join(map(str, self.fields[:3])))


class IncompleteRequest(InvalidRequest):
    """Nothing is wrong but that fields are missing."""


class ClientGone(Exception):
    """The client went away before its request was complete. There is nobody to answer."""
