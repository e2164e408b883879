"""The reference of the configuration files: every table and key as the code reads it, with kind and default."""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import TYPE_CHECKING, Any

import msgspec
from pages import escape, literal, table, write

from openmetering.interfaces.assembly.config import HostConfig
from openmetering.services.gatewayd.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

_NAMED = re.compile(r"``([a-z_]+)``(?:, ``([a-z_]+)``)*\s+")


def parts(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The tables within a type: itself, or those of a list or of one that may be left out."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        return
    for one in typing.get_args(kind):
        yield from parts(one)


def kind_of(kind: Any) -> str:
    """A type in the words of TOML."""
    if isinstance(kind, msgspec.inspect.Type):
        return type(kind).__name__.removesuffix("Type").lower()
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return kind_of(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return ", ".join(str(one) for one in typing.get_args(kind))
    if origin in (tuple, list):
        return f"list of {kind_of(typing.get_args(kind)[0])}"
    if origin in (dict,):
        return "table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(one) for one in typing.get_args(kind) if one is not type(None))
    names = {str: "text", int: "number", float: "number", bool: "true, false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def section(title: str, kind: type[msgspec.Struct], header: str) -> Iterator[str]:
    """One table: what its docstring says, then its keys; tables within it follow."""
    about = (inspect.getdoc(kind) or "").split("\n\n")
    yield f"{header} {literal(title)}"
    yield ""
    yield escape(about[0])
    yield ""
    for block in about[1:]:
        yield from ("```text", *(re.sub("``", "", line) for line in block.splitlines()), "```", "")
    hints = typing.get_type_hints(kind, include_extras=True)
    inner: list[tuple[str, type[msgspec.Struct]]] = []
    rows = []
    for field in msgspec.structs.fields(kind):
        within = list(parts(hints[field.name]))
        if within:
            many = typing.get_origin(hints[field.name]) in (tuple, list)
            name = title.strip("[]") + "." if title.strip("[]") else ""
            inner += [(f"[[{name}{field.encode_name}]]" if many else f"[{name}{field.encode_name}]", one) for one in within]
            continue
        default = "must be there" if field.required else literal(_toml(field.default))
        rows.append((literal(field.encode_name), escape(kind_of(hints[field.name])), default))
    if rows:
        yield from table(("key", "kind", "default"), rows)
    for name, one in inner:
        yield from section(name, one, "###")


def _toml(value: object) -> str:
    if value is msgspec.NODEFAULT or value is None:
        return "none"
    return msgspec.json.encode(value).decode() if not isinstance(value, str) else f'"{value}"'


def generate(_app: Sphinx, _config: object) -> None:
    for name, kind in (("_headend_toml.md", HostConfig), ("_gateway_toml.md", Config)):
        lines: list[str] = []
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in msgspec.structs.fields(kind):
            many = typing.get_origin(hints[field.name]) is tuple
            for one in parts(hints[field.name]):
                title = f"[[{field.encode_name}]]" if many else f"[{field.encode_name}]"
                lines += section(title, one, "###")
        write(name, lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
