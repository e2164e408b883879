"""Records between property managers and metering companies (ARGE HeiWaKo, bved): fixed-length lines, by table.

The layout of the published format is not public. ``tables/arge_records.csv`` therefore holds one of our own that has the kinds of
records that are known by name (L property, M user, D reading), every field marked ``?``; whoever has the description puts a
file of the same columns in its place (``load_layout(path)``). Reading and writing know nothing but the table.

    record,field,position,length,type,meaning,confidence        positions count from 1
    types   const (the kind itself), text, blank, date (DDMMYYYY), decimalN (digits without a point, N behind it)
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from openmetering.errors import DecodeError, InputError, NotRepresentable

__all__ = ["Cell", "Field", "Layout", "Line", "load_layout", "read", "write"]

Cell: TypeAlias = str | date | Decimal | None
_COLUMNS: Final = ("record", "field", "position", "length", "type", "meaning", "confidence")
_LAYER: Final = "arge"


class Field(msgspec.Struct, frozen=True):
    """A row of the table; ``position`` from 1."""

    record: str
    field: str
    position: int
    length: int
    type: str
    meaning: str
    confidence: str


class Layout(msgspec.Struct, frozen=True):
    """The fields of each kind of record, in order; all lines have the same ``length``."""

    records: dict[str, tuple[Field, ...]]
    length: int


class Line(msgspec.Struct, frozen=True):
    """A record: its kind and its fields without the constant and the blanks."""

    record: str
    values: Mapping[str, Cell]


def load_layout(path: str | Path | None = None) -> Layout:
    """Ours, or that of a file. Raises InputError (``input.file``) where fields overlap, leave holes or have no type"""
    try:
        text = (
            Path(path).read_text("utf-8") if path else (resources.files("openmetering.tables") / "arge_records.csv").read_text()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the layout {path} cannot be read: {error}", code="input.file") from None
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"the first line of a layout is {','.join(_COLUMNS)}", code="input.file")
    records: dict[str, list[Field]] = {}
    for row in reader:
        try:
            field = Field(
                row["record"], row["field"], int(row["position"]), int(row["length"]), row["type"], row["meaning"],
                row["confidence"],
            )  # fmt: skip
        except (TypeError, ValueError):
            raise InputError(f"line {reader.line_num} of the layout has no number where one is", code="input.file") from None
        known = records.setdefault(field.record, [])
        expected = known[-1].position + known[-1].length if known else 1
        if field.position != expected or field.length < 1 or not _known_type(field):
            raise InputError(
                f"line {reader.line_num} of the layout: {field.record}.{field.field} must begin at {expected} and have a type",
                code="input.file",
            )
        known.append(field)
    lengths = {fields[-1].position + fields[-1].length - 1 for fields in records.values()}
    if len(lengths) != 1:
        raise InputError("the records of a layout have different lengths", code="input.file")
    return Layout({name: tuple(fields) for name, fields in records.items()}, lengths.pop())


def _known_type(field: Field) -> bool:
    kind = field.type
    if kind == "date":
        return field.length == 8
    if kind.startswith("decimal"):
        return kind[7:].isdecimal() and int(kind[7:]) < field.length
    return kind in ("const", "text", "blank")


def write(lines: Iterable[Line], layout: Layout, encoding: str = "cp1252") -> bytes:
    """The file, a line for each record. Raises NotRepresentable for what does not fit into its field"""
    made = []
    for line in lines:
        fields = layout.records.get(line.record)
        if fields is None:
            raise NotRepresentable(f"the layout has no record {line.record!r}", field="record", value=line.record, layer=_LAYER)
        if strange := sorted(set(line.values) - {field.field for field in fields if field.type not in ("const", "blank")}):
            raise NotRepresentable(f"record {line.record} has no field {strange[0]}", field=strange[0], value="", layer=_LAYER)
        made.append("".join(_written(field, line.values.get(field.field)) for field in fields))
    text = "".join(f"{one}\r\n" for one in made)
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise NotRepresentable(
            f"{error.object[error.start]!r} is not in {encoding}", field="text", value=error.object, layer=_LAYER
        ) from None


def _written(field: Field, value: Cell) -> str:
    if field.type == "const":
        return field.record.ljust(field.length)
    if field.type == "blank" or value is None:
        return " " * field.length
    text = _text(field, value)
    if text is None or len(text) > field.length or not text.isprintable():
        raise NotRepresentable(
            f"{value!r} does not fit into {field.record}.{field.field} ({field.type}, {field.length} signs)",
            field=field.field, value=value, layer=_LAYER,
        )  # fmt: skip
    return text.rjust(field.length, "0") if field.type.startswith("decimal") else text.ljust(field.length)


def _text(field: Field, value: Cell) -> str | None:
    if field.type == "date":
        return f"{value:%d%m%Y}" if isinstance(value, date) else None
    if field.type.startswith("decimal"):
        if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
            return None
        moved = value.scaleb(int(field.type[7:]))
        return f"{int(moved)}" if moved == int(moved) else None
    return value if isinstance(value, str) and value == value.strip() else None


def read(octets: bytes, layout: Layout, encoding: str = "cp1252") -> Iterator[Line]:
    """The records of a file. Raises DecodeError (``arge.line``) with the offset of what cannot be read"""
    offset = 0
    for raw in octets.split(b"\n"):
        line = raw.removesuffix(b"\r")
        if line.strip():
            yield _read(line, layout, encoding, offset)
        offset += len(raw) + 1


def _read(raw: bytes, layout: Layout, encoding: str, offset: int) -> Line:
    def wrong(message: str, at: int = 0) -> DecodeError:
        return DecodeError(message, layer=_LAYER, offset=offset + at, octets=b"", code="arge.line")

    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise wrong(f"an octet is not in {encoding}", error.start) from None
    if len(text) != layout.length:
        raise wrong(f"a record has {layout.length} signs, this line {len(text)}")
    record = next((name for name in layout.records if text.startswith(name)), None)
    if record is None:
        raise wrong(f"the layout has no record that begins with {text[:1]!r}")
    values: dict[str, Cell] = {}
    for field in layout.records[record]:
        at = field.position - 1
        part = text[at : at + field.length].strip()
        if field.type in ("const", "blank"):
            continue
        if not part:
            values[field.field] = None
        elif field.type == "date":
            try:
                values[field.field] = datetime.strptime(part, "%d%m%Y").date()
            except ValueError:
                raise wrong(f"{part!r} is no date (DDMMYYYY) in {record}.{field.field}", at) from None
        elif field.type.startswith("decimal"):
            if not part.isdecimal() or not part.isascii():
                raise wrong(f"{part!r} is no number in {record}.{field.field}", at)
            values[field.field] = Decimal(int(part)).scaleb(-int(field.type[7:]))
        else:
            values[field.field] = part
    return Line(record, values)
