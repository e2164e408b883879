"""The form of a kind of job, made from the struct of its parameters, and back from the form to JSON.

    Literal            choice            bool        box
    int, float         number            bytes       file, as Base64 in the parameters
    str, date          text, date        tuple       words with spaces between

A field that is empty is left out, and so keeps what the struct says. What the struct refuses is told above the form.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import inspect

from openmetering.interfaces.web.pages.forms import Form
from openmetering.services.headend.jobs.kinds import kind_of
from openmetering.services.headend.problems import invalid

__all__ = ["Field", "fields", "parameters"]

Json = str | int | float | bool | list[str] | list[int]


class Field(msgspec.Struct, frozen=True):
    """A field of a form. ``kind``: choice, box, number, text, date, file, words, numbers."""

    name: str
    kind: str
    value: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False


#: struct of msgspec.inspect -> kind of field, in the order in which they are tried
_KINDS: Final[tuple[tuple[type[inspect.Type], str], ...]] = (
    (inspect.LiteralType, "choice"),
    (inspect.BoolType, "box"),
    (inspect.IntType, "number"),
    (inspect.FloatType, "number"),
    (inspect.BytesType, "file"),
    (inspect.DateType, "date"),
    (inspect.VarTupleType, "words"),
    (inspect.StrType, "text"),
)


def _plain(kind: inspect.Type) -> inspect.Type:
    """The type behind its annotations and behind ``| None``."""
    while True:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        else:
            return kind


def _optional(kind: inspect.Type) -> bool:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types)


def _field(one: inspect.Field) -> Field:
    plain = _plain(one.type)
    kind = next(name for shape, name in _KINDS if isinstance(plain, shape))
    if isinstance(plain, inspect.VarTupleType) and isinstance(_plain(plain.item_type), inspect.IntType):
        kind = "numbers"
    choices: tuple[str, ...] = ()
    if isinstance(plain, inspect.LiteralType):
        choices = (("",) if _optional(one.type) else ()) + tuple(str(value) for value in plain.values)
    return Field(one.name, kind, _default(one.default), choices, one.required)


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value in (None, False, b"", msgspec.NODEFAULT) else str(value)


def _described(kind: str) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind_of(kind).parameters)
    assert isinstance(described, inspect.StructType)
    return described.fields


def fields(kind: str) -> tuple[Field, ...]:
    """The fields of a kind of job, ``issue`` last. Raises InputError (``access.invalid``) for an unknown kind."""
    found = tuple(_field(one) for one in _described(kind))
    return (*(one for one in found if one.name != "issue"), *(one for one in found if one.name == "issue"))


def _number(text: str, name: str) -> int | float:
    for read in (lambda: int(text, 0), lambda: int(text), lambda: float(text)):
        try:
            return read()
        except ValueError:
            continue
    raise invalid(f"{name}: {text!r} is not a number")


def _date(text: str, name: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise invalid(f"{name}: {text!r} is not a date") from None


_READ: Final[dict[str, Callable[[str, str], Json]]] = {
    "text": lambda text, name: text,
    "number": _number,
    "date": _date,
    "words": lambda text, name: text.replace(",", " ").split(),
    "numbers": lambda text, name: [int(_number(one, name)) for one in text.replace(",", " ").split()],
}


def parameters(kind: str, form: Form) -> str:
    """The parameters as JSON. Raises InputError (``access.invalid``) for what cannot be read."""
    found: dict[str, Json] = {}
    literals = _literals(kind)
    for field in fields(kind):
        if field.kind == "box":
            found[field.name] = form.flag(field.name)
        elif field.kind == "file":
            if octets := form.file(field.name):
                found[field.name] = base64.b64encode(octets).decode()
        elif text := form.text(field.name):
            found[field.name] = (
                literals[field.name].get(text, text) if field.kind == "choice" else _READ[field.kind](text, field.name)
            )
    return msgspec.json.encode(found).decode()


def _literals(kind: str) -> Mapping[str, Mapping[str, str | int]]:
    """Choices by their text: some are numbers."""
    found: dict[str, dict[str, str | int]] = {}
    for one in _described(kind):
        plain = _plain(one.type)
        if isinstance(plain, inspect.LiteralType):
            found[one.name] = {str(value): value for value in plain.values if isinstance(value, str | int)}
    return found
