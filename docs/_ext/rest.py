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
_ANY_NUMBER = 2**53 - 1  #: the largest number of JSON: no limit that says anything


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


def meaning_of(schema: dict[str, Any], *, required: bool) -> str:
    """What else is said of a field: words, whether it must be there, its limits, what it is without."""
    low, high, most = schema.get("minimum"), schema.get("maximum"), schema.get("maxLength")
    said = [schema["description"].replace("|", "or")] if schema.get("description") else []
    if required:
        said.append("must be there")
    if low is not None and high is not None and high < _ANY_NUMBER:
        said.append(f"{low:g} to {high:g}")
    if most is not None:
        said.append(f"at most {most} characters")
    if schema.get("default") is not None:
        said.append(f"{schema['default']} without it")
    return "; ".join(said)


def body_of(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Fields of the body: name, kind, what else is said of it."""
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        schema = media.get("schema", {})
        schema = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
        must = set(schema.get("required", ()))
        for name, field in schema.get("properties", {}).items():
            yield name, kind_of(field), meaning_of(field, required=name in must)


def scopes_of(operation: dict[str, Any]) -> str:
    """The permissions that a route asks for."""
    needs = next(iter(operation["security"][0].values()))
    return ", ".join(literal(one) for one in needs) if needs else "none; whoever is signed in"


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
            lines += [f"Scope: {scopes_of(operation)}", ""]
            rows = [
                (
                    literal(one["name"]),
                    one["in"],
                    escape(kind_of(one["schema"])),
                    meaning_of(one["schema"], required=one["required"]),
                )
                for one in operation.get("parameters", ())
            ]
            rows += [(literal(name), "body", escape(kind), more) for name, kind, more in body_of(operation, schemas)]
            if rows:
                lines += table(("field", "in", "kind", "meaning"), rows)
            errors |= {code: answer["description"] for code, answer in operation["responses"].items() if code >= "400"}
    lines += [
        "## When something is wrong",
        "",
        "Any route may answer so, as `application/problem+json` (RFC 9457) with a code of {doc}`/reference/errors`.",
        "",
    ]
    lines += table(("status", "meaning"), [(code, escape(text)) for code, text in sorted(errors.items())])
    write("_rest.md", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
