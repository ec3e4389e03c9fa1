"""What an attempt uses up: shares of the limits of its provider, its tenant and its recipients' domains."""

from collections.abc import Sequence

from application.ports import Want
from application.routing import Choice
from domain.email import Email


class Quotas:
    """The configured limits, as far as an attempt touches them."""

    def wants(self, email: Email, choice: Choice) -> Sequence[Want]:
        """What must be free for this attempt to begin."""
        return [Want(f"probe:{choice.provider}", slots=1)] if choice.probe else []
