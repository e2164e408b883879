"""The help page of the REST API, made on the server from its OpenAPI description; nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

import jinja2
import msgspec
from litestar.enums import MediaType
from litestar.handlers import get
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.response import Response

from openmetering.interfaces.web.api.description import Description
from openmetering.tables import FAULTS

if TYPE_CHECKING:
    from typing import Any

    from litestar import Request, Router

__all__ = ["HelpPage", "operations_of"]

_METHODS = ("get", "post", "put", "patch", "delete")
_REFERENCE = "#/components/schemas/"

Node = Mapping[str, object]


class Field(msgspec.Struct, frozen=True):
    """A field of a body or a parameter."""

    name: str
    type: str
    description: str
    required: bool
    place: str = "body"


class Body(msgspec.Struct, frozen=True):
    """What is sent or answered."""

    title: str
    media: str
    schema: str
    description: str
    fields: tuple[Field, ...]
    example: str


class Operation(msgspec.Struct, frozen=True):
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    tag: str
    parameters: tuple[Field, ...]
    bodies: tuple[Body, ...]


class Group(msgspec.Struct, frozen=True):
    """Operations of one tag."""

    name: str
    description: str
    operations: tuple[Operation, ...]


def _map(value: object) -> Node:
    return cast("Node", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _scope(item: Node) -> str:
    """What a token must be allowed for an operation; the first way to be known is the token."""
    ways = [_map(way).get("token") for way in _list(item.get("security"))]
    return ", ".join(_text(scope) for way in ways for scope in _list(way)) or "any"


class _Reader:
    """Reads an OpenAPI description; follows references to its components."""

    __slots__ = ("_schemas", "_tags")

    def __init__(self, description: Node) -> None:
        self._schemas = _map(_map(description.get("components")).get("schemas"))
        self._tags = {_text(_map(tag).get("name")): _text(_map(tag).get("description")) for tag in _list(description.get("tags"))}

    def resolve(self, schema: Node) -> Node:
        reference = schema.get("$ref")
        return _map(self._schemas.get(_text(reference).removeprefix(_REFERENCE))) if reference else schema

    def type_of(self, schema: Node) -> str:
        """The type of a schema in a few words."""
        if reference := schema.get("$ref"):
            return _text(self.resolve(schema).get("title") or _text(reference).removeprefix(_REFERENCE))
        for key in ("oneOf", "anyOf"):
            if options := _list(schema.get(key)):
                return " or ".join(dict.fromkeys(self.type_of(_map(option)) for option in options))
        if choices := _list(schema.get("enum")):
            return " | ".join("null" if choice is None else str(choice) for choice in choices)
        if schema.get("type") == "array":
            return f"list of {self.type_of(_map(schema.get('items')))}"
        words = " or ".join(map(_text, _list(schema.get("type")))) or _text(schema.get("type"))
        form = _text(schema.get("format"))
        return f"{words} ({form})" if form else words or "any"

    def fields(self, schema: Node) -> Iterator[Field]:
        """The fields of an object, or of the objects of a list."""
        schema = self.resolve(schema)
        if schema.get("type") == "array":
            schema = self.resolve(_map(schema.get("items")))
        required = set(map(_text, _list(schema.get("required"))))
        for name, value in _map(schema.get("properties")).items():
            field = _map(value)
            yield Field(name, self.type_of(field), _text(field.get("description")), name in required)

    def body(self, title: str, content: Node) -> Iterator[Body]:
        for media, value in content.items():
            schema = _map(_map(value).get("schema"))
            words, fields = _text(self.resolve(schema).get("description")), tuple(self.fields(schema))
            yield Body(title, media, self.type_of(schema), words, fields, self._example(_map(value), schema))

    def _example(self, content: Node, schema: Node) -> str:
        examples = [_map(example).get("value") for example in _map(content.get("examples")).values()]
        examples += _list(self.resolve(schema).get("examples"))
        if not examples:
            return ""
        first = examples[0]
        return first if isinstance(first, str) else json.dumps(first, indent=2, ensure_ascii=False)

    def operation(self, path: str, method: str, item: Node) -> Operation:
        parameters = tuple(
            Field(
                _text(one.get("name")),
                self.type_of(_map(one.get("schema"))),
                _text(one.get("description")),
                bool(one.get("required")),
                _text(one.get("in")),
            )
            for one in map(_map, _list(item.get("parameters")))
        )
        bodies = list(self.body("Request", _map(_map(item.get("requestBody")).get("content"))))
        for status, answer in _map(item.get("responses")).items():
            if status.startswith("2"):
                bodies += self.body(f"Answer {status}", _map(_map(answer).get("content")))
        tags = _list(item.get("tags"))
        return Operation(
            _text(item.get("operationId")),
            method,
            path,
            _text(item.get("summary")),
            _text(item.get("description")),
            _scope(item),
            _text(tags[0]) if tags else "other",
            parameters,
            tuple(bodies),
        )

    def group(self, name: str, operations: tuple[Operation, ...]) -> Group:
        return Group(name, self._tags.get(name, ""), operations)


def operations_of(description: Node) -> tuple[Group, ...]:
    """The operations of an OpenAPI description by tag, in the order of their paths."""
    reader = _Reader(description)
    found: dict[str, list[Operation]] = {}
    for path, item in sorted(_map(description.get("paths")).items()):
        for method in _METHODS:
            if method in _map(item):
                operation = reader.operation(path, method, _map(_map(item)[method]))
                found.setdefault(operation.tag, []).append(operation)
    return tuple(reader.group(name, tuple(operations)) for name, operations in sorted(found.items()))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(files(__package__).joinpath("help.html").read_text(encoding="utf-8"))


@get("/help.css", include_in_schema=False, sync_to_thread=False, opt={"public": True})
def help_style() -> Response[bytes]:
    """The style of the help page."""
    return Response(files(__package__).joinpath("help.css").read_bytes(), media_type=MediaType.CSS)


class HelpPage(OpenAPIRenderPlugin):
    """Renders the description as a page at the root of the API."""

    def __init__(self, description: Description) -> None:
        super().__init__(path="/")
        self._description = description

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page; ``openapi_schema`` is the finished description."""
        description = msgspec.json.decode(self._description.render(request, openapi_schema))
        text = _template().render(
            info=_map(description.get("info")),
            openapi=description.get("openapi"),
            base=str(request.base_url).rstrip("/"),
            groups=operations_of(description),
            problems=sorted(FAULTS.values(), key=lambda row: row.code),
        )
        return text.encode()

    def receive_router(self, router: Router) -> None:
        """Serve the style beside the page."""
        router.register(help_style)
