"""The reference of the configuration files: every key as the code reads it, and what ``configuration-keys.csv`` says of it."""

from __future__ import annotations

import csv
import datetime
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any

import msgspec
from pages import DOCS, escape, literal, table, write

from openmetering.interfaces.assembly.config import HostConfig
from openmetering.services.gatewayd.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

FILES: dict[str, type[msgspec.Struct]] = {"headend": HostConfig, "gateway": Config}
MEANINGS = DOCS / "reference" / "configuration-keys.csv"

_NAMES = {
    str: "text", int: "number", float: "number", bool: "true, false", datetime.date: "day", datetime.time: "time of day",
}  # fmt: skip
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


class Key(typing.NamedTuple):
    """A key of a table; ``kind`` and ``default`` as people read them."""

    name: str
    kind: str
    default: str


class Section(typing.NamedTuple):
    """A table of a file: its header as it stands there, the class that is read from it, its keys."""

    name: str
    header: str
    made: type[msgspec.Struct]
    keys: tuple[Key, ...]


def tables_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The tables within a type: itself, or those of a list or of one that may be left out."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        return
    for one in typing.get_args(kind):
        yield from tables_in(one)


def bounds(metas: tuple[Any, ...]) -> Iterator[str]:
    for meta in metas:
        low, high = getattr(meta, "ge", None), getattr(meta, "le", None)
        if low is not None and high is not None:
            yield f"{low} to {high}"
            continue
        for name, words in _BOUNDS:
            if (limit := getattr(meta, name, None)) is not None:
                yield f"{words} {limit}"


def kind_of(kind: Any) -> str:
    """A type in the words of TOML."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return ", ".join((kind_of(inner[0]), *bounds(inner[1:])))
    if origin is typing.Literal:
        return ", ".join(str(one) for one in inner)
    if origin is tuple:
        return f"list of {kind_of(inner[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(one) for one in inner if one is not type(None))
    return _NAMES.get(kind, "decimal in quotation marks" if kind.__name__ == "Decimal" else kind.__name__)


def sections(kind: type[msgspec.Struct], outside: str = "") -> Iterator[Section]:
    """All tables within a type, each before those within it."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        for made in tables_in(hints[field.name]):
            name = f"{outside}.{field.encode_name}" if outside else field.encode_name
            header = f"[[{name}]]" if typing.get_origin(hints[field.name]) is tuple else f"[{name}]"
            yield Section(name, header, made, tuple(keys(made)))
            yield from sections(made, name)


def keys(kind: type[msgspec.Struct]) -> Iterator[Key]:
    """The keys of a table that are no tables themselves."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if not any(tables_in(hints[field.name])):
            default = "must be there" if field.required else literal(_toml(field.default))
            yield Key(field.encode_name, kind_of(hints[field.name]), default)


def _toml(value: object) -> str:
    if value is None:
        return "none"
    return msgspec.json.encode(value).decode()


def meanings() -> dict[tuple[str, str, str], str]:
    """What each key means, by file, table and key; Markdown. Raises ValueError for a key that stands there twice."""
    found: dict[tuple[str, str, str], str] = {}
    with MEANINGS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = (row["file"], row["table"], row["key"])
            if place in found:
                raise ValueError(f"{MEANINGS.name}: {'.'.join(place)} stands there twice")
            found[place] = row["meaning"]
    return found


def page(file: str) -> Iterator[str]:
    """The reference of one file. Raises KeyError for a key without a meaning."""
    known = meanings()
    for section in sections(FILES[file]):
        about = (inspect.getdoc(section.made) or "").partition(".")[0]
        yield from (f"### {literal(section.header)}", "", *([] if "`" in about else [f"{escape(about)}.", ""]))
        rows = [(literal(one.name), escape(one.kind), one.default, known[file, section.name, one.name]) for one in section.keys]
        if rows:
            yield from table(("key", "kind", "default", "meaning"), rows)


def generate(_app: Sphinx, _config: object) -> None:
    for file in FILES:
        write(f"_{file}_toml.md", page(file))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
