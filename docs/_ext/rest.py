"""The reference of the REST interface: every route as its own OpenAPI description tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pages import escape, literal, table, write

from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.vault import Vault
from openmetering.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

_METHODS = ("get", "post", "patch", "put", "delete")


def description() -> dict[str, Any]:
    """The OpenAPI document of an application without data."""
    with Database.open(":memory:") as database, HeadEnd(database, Vault(database, bytes(16), now_utc)) as head_end:
        return dict(create_app(head_end, WebSettings(secret="documentation only, signs nothing")).openapi_schema.to_schema())


def kind_of(schema: dict[str, Any]) -> str:
    """A type in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].rpartition(".")[2].rstrip("_")
    if "enum" in schema:
        return ", ".join(str(one) for one in schema["enum"] if one is not None)
    parts = schema.get("oneOf") or schema.get("anyOf")
    if parts:
        return " or ".join(kind_of(part) for part in parts if part.get("type") != "null")
    found = schema.get("type", "any")
    words = [str(one) for one in (found if isinstance(found, list) else [found]) if one != "null"]
    if words == ["array"]:
        return f"list of {kind_of(schema.get('items', {}))}"
    return " or ".join([*words, *([schema["format"]] if "format" in schema else [])])


def body_of(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Fields of the body: name, kind, whether it must be there."""
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        schema = media.get("schema", {})
        schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
        must = set(schema.get("required", ()))
        for name, field in schema.get("properties", {}).items():
            yield name, kind_of(field), "must" if name in must else ""


def generate(_app: Sphinx, _config: object) -> None:
    made = description()
    schemas = made.get("components", {}).get("schemas", {})
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {tag["name"]: [] for tag in made["tags"]}
    for path, item in made["paths"].items():
        for method in _METHODS:
            if method in item:
                groups.setdefault(item[method]["tags"][0], []).append((method.upper(), path, item[method]))
    about = {tag["name"]: tag["description"] for tag in made["tags"]}
    lines = [*(line for part in made["info"]["description"].split("\n\n") for line in (escape(part), ""))]
    errors: dict[str, str] = {}
    for tag, operations in groups.items():
        lines += [f"## {tag.capitalize()}", "", escape(about.get(tag, "")), ""]
        for method, path, operation in operations:
            lines += [f"### {method} {literal(path)}", "", escape(operation["summary"]) + ".", ""]
            if operation.get("description"):
                lines += [" ".join(operation["description"].split()), ""]
            needs = operation.get("x-permission") or next(iter(operation.get("security", [{}])[0].values()), [])
            if needs:
                lines += [f"Permission: {literal(needs if isinstance(needs, str) else ', '.join(needs))}", ""]
            rows = [
                (literal(one["name"]), one["in"], escape(kind_of(one["schema"])), "must" if one.get("required") else "")
                for one in operation.get("parameters", ())
            ]
            rows += [(literal(name), "body", escape(kind), must) for name, kind, must in body_of(operation, schemas)]
            if rows:
                lines += table(("field", "in", "kind", ""), rows)
            errors |= {code: answer["description"] for code, answer in operation["responses"].items() if code >= "400"}
    lines += [
        "## When something is wrong",
        "",
        "Answers are `application/problem+json` (RFC 9457) with a code of the same list.",
        "",
    ]
    lines += table(("status", "meaning"), [(code, escape(text)) for code, text in sorted(errors.items())])
    write("_rest.md", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
