"""What can go wrong in the application, for callers to tell apart. The docstring is the default message."""

from datetime import timedelta
from typing import ClassVar
from uuid import UUID


class ApplicationError(Exception):
    """Something the caller has to know went wrong."""

    code: ClassVar[str] = "application_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class InvalidField(ApplicationError):
    """A field of the command is not acceptable."""

    code = "invalid_field"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class EmailNotFound(ApplicationError):
    """There is no email with this id."""

    code = "email_not_found"


class SuppressionNotFound(ApplicationError):
    """This address is not on the suppression list, or not for this scope."""

    code = "suppression_not_found"


class IdempotencyConflict(ApplicationError):
    """This Idempotency-Key was used before with another command. Use a new key for a new command."""

    code = "idempotency_conflict"


class OverQuota(ApplicationError):
    """You have sent as much as you may for now. Nothing was accepted; try again later."""

    code = "over_quota"

    def __init__(self, wait: timedelta, message: str | None = None) -> None:
        """`wait` is when asking again is worth while."""
        super().__init__(message)
        self.wait = wait


class StreamConflict(ApplicationError):
    """Somebody else has written to this stream since it was read."""

    code = "stream_conflict"

    def __init__(self, stream_ids: frozenset[UUID]) -> None:
        super().__init__()
        self.stream_ids = stream_ids


class Contended(ApplicationError):
    """Too many writers changed this email at once. Try again."""

    code = "contended"


class StoreUnavailable(ApplicationError):
    """The event store cannot take this now. Nothing was half-done; try again."""

    code = "store_unavailable"


class ReadModelBuilding(StoreUnavailable):
    """What this is answered from is being made from the log. Nothing is lost; try again later."""

    code = "read_model_building"


class BlobStoreUnavailable(ApplicationError):
    """The attachment store cannot take this now. Nothing was accepted; try again."""

    code = "blob_store_unavailable"


class BlobMissing(ApplicationError):
    """An attachment's bytes are not in the blob store."""

    code = "blob_missing"


class AttachmentNotFound(ApplicationError):
    """This email has no such attachment."""

    code = "attachment_not_found"


class ConcessionLost(ApplicationError):
    """What this attempt gives up of the message cannot be made (again) here."""

    code = "concession_lost"


class ReadModelBehind(ApplicationError):
    """The read model has not reached the position you asked to wait for. Try again."""

    code = "read_model_behind"


class Untrusted(ApplicationError):
    """This delivery does not prove that it comes from the provider."""

    code = "untrusted"

    def __init__(self, reason: str) -> None:
        """`reason` is one word for a metric: `bad_signature`, `stale`, `replayed`, `missing_header` …"""
        super().__init__()
        self.reason = reason


class VerificationUnavailable(ApplicationError):
    """Whether this delivery is genuine cannot be told right now. Try again."""

    code = "verification_unavailable"


class ProviderTrouble(ApplicationError):
    """The provider did not answer as it should."""

    code = "provider_trouble"
