"""Errors as RFC 9457 problems, with the three members that Resend's clients read."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from application import errors as application
from domain.errors import NotAllowedInThisState
from infrastructure.web import errors as web
from infrastructure.web.reply import Header, Reply

PROBLEM_JSON = b"application/problem+json"
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Problem:
    """How one kind of error is told. `name` is Resend's word, by which its SDKs choose an exception class."""

    status: int
    code: str
    title: str
    name: str = "validation_error"
    retry_after: int | None = None  # seconds


SURPRISE = Problem(500, "application_error", "Something went wrong", "application_error")
_BEHIND = "read_model_behind"
_INVALID = Problem(422, "invalid_request", "The request is not acceptable")

PROBLEMS: Mapping[type[Exception], Problem] = {
    web.InvalidJson: Problem(400, "invalid_json", "The body is not JSON"),
    web.MissingApiKey: Problem(401, "missing_api_key", "An API key is needed", "missing_api_key"),
    web.InvalidApiKey: Problem(403, "invalid_api_key", "The API key is not valid", "invalid_api_key"),
    web.InvalidLink: Problem(403, "invalid_link", "The link is not valid"),
    web.LinkExpired: Problem(410, "link_expired", "The link is over", "not_found"),
    web.AttachmentGone: Problem(410, "attachment_gone", "The file is no longer kept", "not_found"),
    application.AttachmentNotFound: Problem(404, "attachment_not_found", "There is no such file", "not_found"),
    web.NoSuchRoute: Problem(404, "not_found", "There is nothing here", "not_found"),
    application.EmailNotFound: Problem(404, "email_not_found", "There is no such email", "not_found"),
    application.SuppressionNotFound: Problem(
        404, "suppression_not_found", "The address is not on the list", "not_found"
    ),
    web.MethodNotAllowed: Problem(405, "method_not_allowed", "The method is not allowed", "method_not_allowed"),
    application.IdempotencyConflict: Problem(
        409, "idempotency_conflict", "The key was used for another command", "invalid_idempotent_request"
    ),
    NotAllowedInThisState: Problem(409, "not_allowed_in_this_state", "The email's state does not allow this"),
    application.Contended: Problem(409, "contended", "Too many changes at once", "concurrent_requests", retry_after=1),
    application.OverQuota: Problem(429, "over_quota", "The quota is used up", "rate_limit_exceeded", retry_after=1),
    web.BodyTooLarge: Problem(413, "body_too_large", "The body is too large"),
    web.UnsupportedMediaType: Problem(415, "unsupported_media_type", "The body has the wrong media type"),
    application.InvalidField: _INVALID,
    web.InvalidRequest: _INVALID,
    web.IncompleteRequest: Problem(422, "missing_required_field", "Fields are missing", "missing_required_field"),
    application.StoreUnavailable: Problem(
        503, "store_unavailable", "The event store is away", "service_unavailable", retry_after=5
    ),
    application.ReadModelBuilding: Problem(
        503, "read_model_building", "The read model is being built", "service_unavailable", retry_after=10
    ),
    application.BlobStoreUnavailable: Problem(
        503, "blob_store_unavailable", "The attachment store is away", "service_unavailable", retry_after=5
    ),
    application.ReadModelBehind: Problem(
        503, _BEHIND, "The read model is behind", "service_unavailable", retry_after=1
    ),
}
_ADVICE = "Please try again. Should it last, tell the operator of this service the request_id."


def describe(error: Exception) -> Problem:
    """The table's entry for the error's class, or for the nearest class above it."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), SURPRISE)


def reply(error: Exception, request_id: str, accept: bytes) -> Reply:
    """The problem as a response, in the media type that the client accepts."""
    problem = describe(error)
    body = json.dumps(document(error, problem, request_id), ensure_ascii=False).encode()
    content_type = JSON if _only_json(accept) else PROBLEM_JSON
    return Reply(problem.status, body, *_headers(error, problem), content_type=content_type)


def document(error: Exception, problem: Problem, request_id: str) -> dict[str, object]:
    # A surprise's own words may quote anything, a person's address included; they stay inside.
    fields = fields_of(error)
    detail = _ADVICE if problem is SURPRISE else "; ".join(map(str, fields[:3])) or str(error)
    return {
        "type": f"/docs#{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "errors": [asdict(field) for field in fields],
        "request_id": request_id,
        "statusCode": problem.status,
        "name": problem.name,
        "message": detail,
    }


def fields_of(error: Exception) -> tuple[web.FieldError, ...]:
    if isinstance(error, application.InvalidField):
        return (web.FieldError(error.field, str(error), error.code),)
    return error.fields if isinstance(error, web.InvalidRequest) else ()


def _headers(error: Exception, problem: Problem) -> list[Header]:
    headers: list[Header] = []
    if (seconds := _wait(error, problem)) is not None:
        headers.append((b"retry-after", b"%d" % seconds))
    if isinstance(error, web.MissingApiKey):
        headers.append((b"www-authenticate", b'Bearer realm="postledger"'))
    if isinstance(error, web.MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, web.BodyTooLarge):
        headers.append((b"connection", b"close"))  # the rest of the body is not worth reading
    return headers


def _wait(error: Exception, problem: Problem) -> int | None:
    if isinstance(error, application.OverQuota):
        return max(1, math.ceil(error.wait.total_seconds()))
    return problem.retry_after


def _only_json(accept: bytes) -> bool:
    """Resend's SDK says it accepts `application/json`, and takes nothing else for an answer."""
    return {part.split(b";")[0].strip().lower() for part in accept.split(b",")} == {JSON}
