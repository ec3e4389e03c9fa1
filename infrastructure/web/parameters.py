"""The variable parts of paths."""

from uuid import UUID

from application.errors import EmailNotFound, InvalidField
from domain.address import normalise
from domain.errors import InvalidAddress
from infrastructure.web.operation import Call


def email_id(call: Call) -> UUID:
    """The email's id. What is no UUID is no email's id, so it raises EmailNotFound."""
    try:
        return UUID(call.path("id"))
    except ValueError:
        raise EmailNotFound from None


def address(call: Call) -> str:
    """The recipient's address, normalised. Raises InvalidField."""
    try:
        return normalise(call.path("address").strip())
    except InvalidAddress as error:
        raise InvalidField("address", f"is not a valid email address: {error}") from None
