"""The OpenAPI description and the help page: complete, true, and nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from openmetering.interfaces.web.api.description import finished
from openmetering.interfaces.web.api.examples import EXAMPLES
from openmetering.interfaces.web.api.help_page import operations_of
from openmetering.interfaces.web.errors import _CODES, _HTTP_CODES
from openmetering.tables import FAULTS
from tests.interfaces.web.test_rights_matrix import ROUTES
from tests.interfaces.web.world import World


@pytest.fixture(scope="module")
def client(shared: World) -> Iterator[TestClient[Litestar]]:
    with shared.client() as made:
        yield made


@pytest.fixture(scope="module")
def description(client: TestClient[Litestar]) -> dict[str, object]:
    answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(description: dict[str, object]) -> dict[str, dict[str, object]]:
    return {
        item["operationId"]: item
        for path in description["paths"].values()  # type: ignore[attr-defined]
        for method, item in path.items()
        if method in ("get", "post", "patch", "delete")
    }


def test_openapi_3_1_with_every_route(description: dict[str, object]) -> None:
    assert str(description["openapi"]).startswith("3.1")
    assert set(operations(description)) == set(ROUTES)
    assert all(path.startswith("/api/v1/") for path in description["paths"])  # type: ignore[attr-defined]


def test_every_operation_says_what_it_needs_and_how_it_fails(description: dict[str, object]) -> None:
    tags = {tag["name"] for tag in description["tags"]}  # type: ignore[attr-defined]
    for name, item in operations(description).items():
        needs = ROUTES[name].opt["needs"]
        scopes = [needs] if needs else []
        assert item["security"] == [{"token": scopes}, {"session": scopes}], name
        assert item["summary"], name
        assert not str(item["summary"]).endswith("."), name
        assert set(item["tags"]) <= tags, name  # type: ignore[call-overload]
        responses = item["responses"]
        for status in ("400", "401", "403", "404", "409", "422", "429"):
            assert "application/problem+json" in responses[status]["content"], name  # type: ignore[index]
    assert set(description["components"]["securitySchemes"]) == {"token", "session"}  # type: ignore[index]


def test_names_of_schemas_tell_nothing_of_the_inside(description: dict[str, object]) -> None:
    schemas = description["components"]["schemas"]  # type: ignore[index]
    assert all(re.fullmatch(r"[A-Za-z]+", name) for name in schemas), sorted(schemas)
    assert "openmetering." not in str(description)
    references = set(re.findall(r"#/components/schemas/([\w.]+)", msgspec.json.encode(description).decode()))
    assert references <= set(schemas)


def test_examples_are_what_the_api_reads_and_answers(description: dict[str, object]) -> None:
    schemas = description["components"]["schemas"]  # type: ignore[index]
    by_name = {type(example).__name__: example for example in EXAMPLES}
    assert len(by_name) == len(EXAMPLES)
    assert set(by_name) <= set(schemas)
    for name, example in by_name.items():
        (shown,) = schemas[name]["examples"]
        assert msgspec.convert(shown, type(example)) == example
        assert schemas[name]["description"], name
    bodies = {
        item["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]  # type: ignore[index]
        for item in operations(description).values()
        if "requestBody" in item
    }
    assert bodies <= set(by_name)
    for name in bodies:
        assert schemas[name]["additionalProperties"] is False, name


def test_a_description_is_finished_once_and_the_same(shared: World, description: dict[str, object]) -> None:
    octets = msgspec.json.encode(description)
    assert msgspec.json.decode(finished(octets)) == description


class Page(HTMLParser):
    """What a page loads, its anchors and its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loads += [value for name in ("src", "href") if tag in ("link", "script", "img") and (value := found.get(name))]
        self.inline += [name for name in found if name.startswith("on") or name == "style"] + ([tag] if tag == "style" else [])
        if found.get("id"):
            self.targets.add(str(found["id"]))
        if (href := found.get("href") or "").startswith("#"):
            self.anchors.add(href[1:])


def test_the_help_page_is_complete_and_local(client: TestClient[Litestar]) -> None:
    answer = client.get("/api")
    assert answer.headers["content-type"].startswith("text/html")
    page = Page(answer.text)
    assert page.loads == ["/api/help.css"]
    assert page.inline == []
    assert page.anchors <= page.targets
    assert set(ROUTES) <= page.targets
    assert set(FAULTS) <= page.targets
    style = client.get("/api/help.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text


def test_text_of_a_description_is_escaped(client: TestClient[Litestar], description: dict[str, object]) -> None:
    assert "<script" not in client.get("/api").text


def test_groups_of_a_strange_description() -> None:
    paths = {"/x": {"get": {"operationId": "x", "responses": {"200": {"content": {"text/csv": {"schema": {}}}}}}, "trace": {}}}
    (group,) = operations_of({"paths": paths})
    assert (group.name, group.description) == ("other", "")
    (operation,) = group.operations
    assert (operation.scope, operation.bodies[0].schema, operation.bodies[0].example) == ("any", "any", "")
    assert operations_of({}) == ()


def test_types_in_words() -> None:
    schema = {
        "properties": {
            "a": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
            "b": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
            "c": {"enum": ["x", None]},
            "d": {"type": "string", "format": "date-time"},
            "e": {"type": ["string", "null"]},
        },
        "required": ["a"],
    }
    body = {"content": {"application/json": {"schema": schema, "examples": {"one": {"value": "text"}}}}}
    description = {
        "paths": {"/x": {"post": {"tags": ["t"], "requestBody": body, "responses": {}}}},
        "components": {"schemas": {"Thing": {"title": "Thing"}}},
        "tags": [{"name": "t", "description": "Things."}],
    }
    (group,) = operations_of(description)
    (body_of,) = group.operations[0].bodies
    assert [(field.name, field.type, field.required) for field in body_of.fields] == [
        ("a", "integer or null", True),
        ("b", "list of Thing", False),
        ("c", "x | null", False),
        ("d", "string (date-time)", False),
        ("e", "string or null", False),
    ]
    assert (body_of.example, group.description) == ("text", "Things.")


def test_every_code_of_an_answer_is_explained() -> None:
    assert {*_CODES, *_HTTP_CODES.values(), "http.server"} <= set(FAULTS)
