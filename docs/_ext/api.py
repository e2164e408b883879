"""The reference of the public names, read from ``openmetering.__all__``.

Each name gets a Python-domain entry (so that pages can refer to it) without annotations, and below it the signature
with annotations as code: the types of other packages then need no cross reference.
"""

from __future__ import annotations

import enum
import inspect
import re
from typing import TYPE_CHECKING, Any

from pages import escape, literal, table, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx


_MODULE = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z])")  # openmetering.telegram.model.Telegram -> Telegram
_MEMBER = re.compile(r"<([\w.]+)(?:: [^<>]*|(?: object)? at 0x[0-9a-f]+)?>")  # <Policy.A: 1> -> Policy.A
_CODE = re.compile(r"``(.+?)``")


def short(annotation: object) -> str:
    """An annotation or a signature as one would write it."""
    text = str(annotation) if isinstance(annotation, str | inspect.Signature) else inspect.formatannotation(annotation)
    return _MEMBER.sub(r"\1", _MODULE.sub("", text.replace("'", "")))


def prose(text: str) -> str:
    """One paragraph of a docstring: plain text with ``code`` in it."""
    pieces = _CODE.split(text)
    return "".join(literal(piece) if place % 2 else _escape_part(piece) for place, piece in enumerate(pieces))


def _escape_part(piece: str) -> str:
    """Escaped, with the spaces at both ends kept as one."""
    return f"{' ' * piece[:1].isspace()}{escape(piece)}{' ' * (piece[-1:].isspace() and bool(piece.strip()))}"


def bare(signature: inspect.Signature) -> str:
    """The call without annotations and defaults spelled out."""
    empty = inspect.Parameter.empty
    plain = [
        one.replace(annotation=empty, default=empty if one.default is empty else _Default())
        for one in signature.parameters.values()
    ]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


class _Default:
    def __repr__(self) -> str:
        return "..."


def signature_of(thing: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(thing)
    except (TypeError, ValueError, NameError):  # NameError: a struct names types that only type checkers import
        return None


def words(thing: Any) -> list[str]:
    """The docstring: its first paragraph as text, the rest (octets, source, units, errors) as it was set."""
    first, _, rest = (inspect.getdoc(thing) or "").partition("\n\n")
    rest = rest.strip("\n")
    return [prose(first), "", *(["```text", *rest.splitlines(), "```", ""] if rest else [])]


def full(name: str, signature: inspect.Signature) -> list[str]:
    return ["```python", f"{name}{short(signature)}", "```", ""]


def first_line(thing: Any) -> str:
    return prose((inspect.getdoc(thing) or "").partition("\n\n")[0])


def without_self(member: object, function: Callable[..., object]) -> inspect.Signature:
    """The signature as the caller sees it: without ``self`` or ``cls``."""
    signature = inspect.signature(function)
    if isinstance(member, staticmethod):
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def member_rows(cls: type) -> list[list[str]]:
    """Fields of a struct, members of an enumeration, then properties and methods of the class itself."""
    rows: list[list[str]] = []
    if issubclass(cls, enum.Enum):
        return [[literal(name), literal(repr(member.value)), ""] for name, member in cls.__members__.items()]
    annotations = {name: kind for base in reversed(cls.__mro__) for name, kind in inspect.get_annotations(base).items()}
    rows += [[literal(name), literal(short(annotations.get(name, ""))), ""] for name in getattr(cls, "__struct_fields__", ())]
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            kind = inspect.get_annotations(member.fget).get("return", "") if member.fget else ""
            rows.append([literal(name), literal(short(kind)), first_line(member)])
        elif callable(inner := getattr(member, "__func__", member)) and inspect.isfunction(inner):
            rows.append([literal(f"{name}()"), literal(short(without_self(member, inner))), first_line(inner)])
    return rows


def entry(kind: str, call: str) -> list[str]:
    return [f"```{{py:{kind}}} {call}", ":module: openmetering", "```", ""]


def class_part(name: str, cls: type) -> list[str]:
    kind = "exception" if issubclass(cls, BaseException) else "class"
    signature = signature_of(cls)
    rows = member_rows(cls)
    return [
        *entry(kind, name),
        *words(cls),
        *(full(name, signature) if signature and kind == "class" and not issubclass(cls, enum.Enum) else []),
        *(table(["name", "type or value", "meaning"], rows) if rows else []),
    ]


def function_part(name: str, function: Callable[..., object]) -> list[str]:
    signature = inspect.signature(function)
    return [*entry("function", f"{name}{bare(signature)}"), *full(name, signature), *words(function)]


def value_part(name: str, _value: object) -> list[str]:
    return entry("data", name)


def part(name: str, thing: Any) -> list[str]:
    """One public name under its own heading."""
    if inspect.isclass(thing):
        body = class_part(name, thing)
    elif inspect.isroutine(thing):
        body = function_part(name, thing)
    else:
        body = value_part(name, thing)
    return [f"## {escape(name)}", "", *body]


def generate(_app: Sphinx, _config: object) -> None:
    import openmetering

    lines: list[str] = []
    for name in getattr(openmetering, "__all__", ()):
        if not name.startswith("__"):
            lines += part(name, getattr(openmetering, name))
    write("_api.md", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
