"""Describes the API as OpenAPI 3.1, from the route table and the pydantic models."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from infrastructure.web.operation import Operation
from infrastructure.web.problems import PROBLEMS, SURPRISE
from infrastructure.web.views import ProblemView

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]

_REF = "#/components/schemas/{model}"
_STRING: Json = {"type": "string"}

# What the API's own headers mean, both ways.
HEADERS: Mapping[str, tuple[str, Json]] = {
    "Idempotency-Key": (
        "Makes a repeated request the same one, for ever: 1 to 256 printable ASCII characters, bare or quoted.",
        {"type": "string", "minLength": 1},
    ),
    "x-batch-validation": (
        "`strict`: one bad item refuses the batch. `permissive`: the good ones are accepted.",
        {"type": "string", "enum": ["strict", "permissive"], "default": "strict"},
    ),
    "Postledger-Wait-For": (
        "A position: the answer waits up to 5 seconds until it includes it, else 503.",
        {"type": "integer", "minimum": 0},
    ),
    "Last-Event-ID": ("Where the stream goes on: the id of the last event received.", {"type": "integer"}),
    "X-Request-Id": ("Names this request, and everything it led to. A UUID sent along is used.", {"type": "string"}),
    "Location": ("Where the email is.", _STRING),
    "Postledger-Position": ("What to send as Postledger-Wait-For to read this write.", {"type": "integer"}),
    "Idempotent-Replayed": ("`true` when this is the first answer again.", {"const": "true"}),
    "Retry-After": ("When to try again, in seconds.", {"type": "integer"}),
}
_PATH_PARAMETERS: Mapping[str, Json] = {
    "id": {"type": "string", "format": "uuid"},
    "email_id": {"type": "string", "format": "uuid"},
    "sha256": {"type": "string", "description": "Of the file's bytes, in hexadecimal."},
    "address": {"type": "string", "description": "An email address."},
    "provider": {"type": "string", "description": "A provider's name, as configured."},
}
_WITH_BODY = (400, 413, 415, 422)
_WITH_KEY = (401, 403, 503)
_ALWAYS = (500,)
_ABOUT = (
    "Accepts email, delivers it through whichever provider is healthy, and keeps every state change as an event. "
    "It follows Resend's API where that covers the case, so that its SDKs work when pointed here."
)


def describe(operations: Sequence[Operation]) -> Json:
    """The whole document."""
    schemas: Json = {}
    paths: Json = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    _schema(ProblemView, "serialization", schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Postledger", "version": version("postledger"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "headers": {name: _header(name) for name in HEADERS},
            "responses": _problem_responses(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer KEY`."}
            },
        },
    }


def _operation(operation: Operation, schemas: Json) -> Json:
    described: Json = {
        "operationId": f"{operation.handler.__module__.rpartition('.')[2]}_{operation.handler.__name__}",
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas)),
        "responses": _responses(operation, schemas),
    }
    if about := inspect.getdoc(operation.handler):
        described["description"] = about
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _body(operation.body, schemas)}
    if operation.open:
        described["security"] = []
    return described


def _body(body: Any, schemas: Json) -> Json:
    if isinstance(body, str):
        return {body: {"schema": _STRING}}
    return {"application/json": {"schema": _schema(body, "validation", schemas)}}


def _parameters(operation: Operation, schemas: Json) -> Iterable[Json]:
    for name, schema in _PATH_PARAMETERS.items():
        if f"{{{name}}}" in operation.path:
            yield {"name": name, "in": "path", "required": True, "schema": schema}
    if operation.query is not None:
        yield from _query_parameters(operation.query, schemas)
    for name in (*operation.takes, "X-Request-Id"):
        description, schema = HEADERS[name]
        yield {"name": name, "in": "header", "description": description, "schema": schema}


def _query_parameters(model: type[BaseModel], schemas: Json) -> Iterable[Json]:
    found = model.model_json_schema(ref_template=_REF)
    schemas.update(found.get("$defs", {}))
    for name, schema in found["properties"].items():
        schema.pop("title", None)
        description = schema.pop("description", "")
        required = name in found.get("required", ())
        yield {"name": name, "in": "query", "description": description, "required": required, "schema": schema}


def _responses(operation: Operation, schemas: Json) -> Json:
    good: Json = {
        "description": HTTPStatus(operation.status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (*operation.gives, "X-Request-Id")},
    }
    if isinstance(operation.answer, str):
        good["content"] = {operation.answer: {"schema": _STRING}}
    else:
        schema = _schema(operation.answer, "serialization", schemas)
        good["content"] = {"application/json": {"schema": schema}}
    bad = {status: {"$ref": f"#/components/responses/{_name(status)}"} for status in _statuses(operation)}
    if operation.path == "/readyz":
        bad[503] = good  # says what is missing, in the same words
    return {str(status): response for status, response in sorted({operation.status: good, **bad}.items())}


def _statuses(operation: Operation) -> set[int]:
    statuses = {*_ALWAYS, *operation.errors}
    if operation.body is not None:
        statuses.update(_WITH_BODY)
    if operation.query is not None or operation.takes:
        statuses.add(422)
    if not operation.open:
        statuses.update(_WITH_KEY)
    return statuses


def _schema(of: Any, mode: Mode, schemas: Json) -> Json:
    """A reference to the model's schema, which goes to the components together with all that it refers to."""
    found = TypeAdapter(of).json_schema(mode=mode, ref_template=_REF)
    schemas.update(found.pop("$defs", {}))
    if not isinstance(of, type) or not issubclass(of, BaseModel):
        return found
    schemas[of.__name__] = found
    return {"$ref": _REF.format(model=of.__name__)}


def _header(name: str) -> Json:
    description, schema = HEADERS[name]
    return {"description": description, "schema": schema}


def _problem_responses() -> Json:
    """One response for each status; its description lists the codes, which is where a problem's `type` leads."""
    schema = {"$ref": _REF.format(model="ProblemView")}
    responses: Json = {}
    for problem in sorted({*PROBLEMS.values(), SURPRISE}, key=lambda p: (p.status, p.code)):
        response = responses.setdefault(
            _name(problem.status),
            {
                "description": HTTPStatus(problem.status).phrase,
                "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
                "content": {kind: {"schema": schema} for kind in ("application/problem+json", "application/json")},
                "x-status": problem.status,
                "x-codes": {},
            },
        )
        response["x-codes"][problem.code] = problem.title
        if problem.retry_after is not None:
            response["headers"]["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    return responses


def _name(status: int) -> str:
    return f"Problem{status}"
