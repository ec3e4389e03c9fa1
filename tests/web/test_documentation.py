"""/openapi.json and /docs: complete, well-formed, and the truth about what is answered."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from infrastructure.web.problems import PROBLEMS
from infrastructure.web.routes import ROUTES
from tests.web.conftest import Api, email

Json = dict[str, Any]
VOID = {"meta", "link", "br", "hr", "img", "input"}


@pytest.fixture
def document(api: Api) -> Json:
    found: Json = api.get("/openapi.json", headers={"Authorization": ""}).json()
    return found


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {(method.upper(), path) for method, path, _ in operations(document)} == {(r.method, r.path) for r in ROUTES}


def test_every_reference_leads_somewhere(document: Json) -> None:
    for reference in set(references(document)):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_operation_is_whole(document: Json) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for _, path, operation in operations(document):
        declared = {p["name"] for p in operation["parameters"] if p["in"] == "path" and p["required"]}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert operation["summary"]
        assert all("description" in r or "$ref" in r for r in operation["responses"].values())
        names = [(p["in"], p["name"]) for p in operation["parameters"]]
        assert len(set(names)) == len(names)


def test_every_problem_is_described(document: Json) -> None:
    described = {code for response in document["components"]["responses"].values() for code in response["x-codes"]}
    assert described >= {problem.code for problem in PROBLEMS.values()}


def test_keys_are_needed_where_the_document_says_so(api: Api, document: Json) -> None:
    for method, path, operation in operations(document):
        response = api.request(method, re.sub(r"{\w+}", "x", path), headers={"Authorization": ""})
        refused = response.status_code == 401 and b"missing_api_key" in response.content
        assert refused == (operation.get("security") != [])


def test_an_email_has_the_fields_that_are_described(api: Api, document: Json) -> None:
    schemas = document["components"]["schemas"]
    shown = api.get(f"/emails/{api.send()}").json()
    assert set(shown) == set(schemas["EmailView"]["properties"]) == set(schemas["EmailView"]["required"])
    problem = api.post("/emails", json=email(to=[])).json()
    assert set(problem) == set(schemas["ProblemView"]["properties"])
    assert "from" in schemas["SendEmail"]["required"]
    assert schemas["SendEmail"]["additionalProperties"] is False


def test_every_answer_has_headers_and_a_status_that_are_described(api: Api, document: Json) -> None:
    answered = api.post("/emails", json=email(), headers={"Idempotency-Key": "k"})
    described = document["paths"]["/emails"]["post"]["responses"][str(answered.status_code)]
    for name in described["headers"]:
        assert name in answered.headers or name == "Idempotent-Replayed"


class Page(HTMLParser):
    """Checks nesting, and gathers ids, links and whatever would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(api: Api) -> Page:
    response = api.get("/docs", headers={"Authorization": ""})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = Page()
    page.feed(response.text)
    return page


def test_the_page_is_well_formed_and_stands_alone(page: Page) -> None:
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe"})
    assert all(link.startswith("#") or link == "/openapi.json" for link in page.links)


def test_every_link_on_the_page_leads_somewhere(page: Page) -> None:
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_a_problems_type_leads_to_its_place_on_the_page(api: Api, page: Page) -> None:
    kind = api.get("/nowhere").json()["type"]
    path, _, anchor = kind.partition("#")
    assert path == "/docs"
    assert anchor in page.ids
