"""GET /openapi.json and GET /docs: both made once, when the application is built."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infrastructure.web.openapi import describe
from infrastructure.web.operation import Call, Operation
from infrastructure.web.reply import Reply

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# The page brings its own style and nothing else; the browser holds it to that.
_POLICY = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")


@dataclass(frozen=True, slots=True)
class Documentation:
    """The API's description, for machines and for people."""

    openapi: bytes
    page: bytes

    @classmethod
    def of(cls, operations: Sequence[Operation]) -> "Documentation":
        document = describe(operations)
        page = _TEMPLATES.get_template("docs.html").render(api=document)
        return cls(json.dumps(document, ensure_ascii=False).encode(), page.encode())


async def openapi(call: Call) -> Reply:
    """The API as an OpenAPI 3.1 document."""
    made: Documentation = call.scope["router"].documentation
    return Reply(200, made.openapi)


async def docs(call: Call) -> Reply:
    """The API on one page, readable without a network."""
    made: Documentation = call.scope["router"].documentation
    return Reply(200, made.page, _POLICY, content_type=b"text/html; charset=utf-8")
