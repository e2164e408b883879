"""Records between property managers and metering companies (bved, before: ARGE HeiWaKo): fixed-length lines, by table.

``tables/arge_records.csv`` is the published exchange 3.10: A references, L property, M user, B fuel, K cost, D result of a user,
E835 services for income tax, E898 pictures of bills, P relief. Whoever has another version puts a file of the same columns in its
place (``load_layout(path)``); reading and writing know nothing but the table.

    record,field,position,length,type,meaning,confidence        positions count from 1, no holes
    types   const     the kind of the record itself        blank    nothing
            text      to the left; ``text=03.10`` is written so where nothing is given
            key       digits, all of them                  date     DDMMYY (00 to 69 is 2000 to 2069), or DDMMYYYY
            decimalN  digits without a mark, N of them behind it, a minus in front

The exchange has no record for single readings and no place for a source. What it says of quality is the key of table S in the
record D: ``reading_key`` and ``quality_of`` (``tables/arge_keys.csv``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from openmetering.errors import DecodeError, InputError, NotRepresentable
from openmetering.mdm.quality import Quality

__all__ = [
    "CODE_PAGES",
    "UNIT_KEYS",
    "Cell",
    "Field",
    "Layout",
    "Line",
    "load_layout",
    "quality_of",
    "read",
    "reading_key",
    "write",
]

Cell: TypeAlias = str | date | Decimal | None
#: the first is that of the exchange; cp850 and cp1252 are found in files of older programs
CODE_PAGES: Final = ("iso8859-15", "cp1252", "cp850", "iso8859-1")
_COLUMNS: Final = ("record", "field", "position", "length", "type", "meaning", "confidence")
_LAYER: Final = "arge"
_PIVOT: Final = 70  #: years of two digits from here on are of the last century


def _keys(table: str, direction: str) -> list[tuple[str, str]]:
    """Key and value of each row of a table of keys that is of a direction."""
    text = (resources.files("openmetering.tables") / "arge_keys.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return [(row["key"], row["value"]) for row in rows if row["table"] == table and row["direction"] in ("both", direction)]


_TO_QUALITY: Final = {key: Quality(value) for key, value in _keys("S", "read")}
_FROM_QUALITY: Final = {Quality(value): key for key, value in _keys("S", "write")}
#: unit as the decoder writes it -> key of table E
UNIT_KEYS: Final = {value: key for key, value in _keys("E", "write")}


def reading_key(quality: Quality) -> str | None:
    """Key of table S for a quality; None where the exchange has none (edited, invalid, missing)."""
    return _FROM_QUALITY.get(quality)


def quality_of(key: str) -> Quality | None:
    """Quality that a key of table S tells; None for a key that is not known."""
    return _TO_QUALITY.get(key)


class Field(msgspec.Struct, frozen=True):
    """A row of the table; ``position`` from 1; ``default`` is what is written where nothing is given."""

    record: str
    field: str
    position: int
    length: int
    type: str
    meaning: str
    confidence: str
    default: str = ""

    @property
    def decimals(self) -> int:
        """Digits behind the mark of a ``decimalN``."""
        return int(self.type[7:])

    @property
    def carries(self) -> bool:
        """Whether a line has a value for it."""
        return self.type not in ("const", "blank")


class Layout(msgspec.Struct, frozen=True):
    """The fields of each kind of record, in order."""

    records: dict[str, tuple[Field, ...]]

    def length(self, record: str) -> int:
        """Signs of a record of this kind, without the end of the line."""
        last = self.records[record][-1]
        return last.position + last.length - 1


class Line(msgspec.Struct, frozen=True):
    """A record: its kind and its fields without the constants and the blanks."""

    record: str
    values: Mapping[str, Cell]


# -- layouts ----------------------------------------------------------------------------------------------


def load_layout(path: str | Path | None = None) -> Layout:
    """The exchange 3.10, or that of a file. Raises InputError (``input.file``) where fields overlap, leave holes, have no type"""
    try:
        source = Path(path) if path else resources.files("openmetering.tables") / "arge_records.csv"
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the layout {path} cannot be read: {error}", code="input.file") from None
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"the first line of a layout is {','.join(_COLUMNS)}", code="input.file")
    records: dict[str, list[Field]] = {}
    for row in reader:
        field = _field(row, reader.line_num)
        known = records.setdefault(field.record, [])
        expected = known[-1].position + known[-1].length if known else 1
        if field.position != expected or field.length < 1 or not _known_type(field):
            raise InputError(
                f"line {reader.line_num} of the layout: {field.record}.{field.field} must begin at {expected} and have a type",
                code="input.file",
            )
        if field.carries and any(field.field == one.field for one in known):
            raise InputError(
                f"line {reader.line_num} of the layout: {field.record}.{field.field} is there twice", code="input.file"
            )
        known.append(field)
    if not records or any(fields[0].type != "const" for fields in records.values()):
        raise InputError("each record of a layout begins with a constant: its kind", code="input.file")
    return Layout({name: tuple(fields) for name, fields in records.items()})


def _field(row: dict[str, str], line: int) -> Field:
    try:
        kind, _, default = row["type"].partition("=")
        return Field(
            row["record"],
            row["field"],
            int(row["position"]),
            int(row["length"]),
            kind,
            row["meaning"],
            row["confidence"],
            default,
        )
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"line {line} of the layout is too short or has no number where one is", code="input.file") from None


def _known_type(field: Field) -> bool:
    kind = field.type
    if field.default:
        return kind == "text" and len(field.default) <= field.length
    if kind == "const":
        return len(field.record) <= field.length
    if kind == "date":
        return field.length in (6, 8)
    if kind.startswith("decimal"):
        return kind[7:].isdecimal() and int(kind[7:]) <= field.length
    return kind in ("text", "key", "blank")


# -- writing ----------------------------------------------------------------------------------------------


def write(lines: Iterable[Line], layout: Layout, encoding: str = CODE_PAGES[0]) -> bytes:
    """The file, a line for each record, each with CR LF. Raises NotRepresentable for what does not fit into its field"""
    _checked(encoding)
    made = []
    for line in lines:
        fields = layout.records.get(line.record)
        if fields is None:
            raise _refused(f"the layout has no record {line.record!r}", "record", line.record)
        if strange := sorted(set(line.values) - {field.field for field in fields if field.carries}):
            raise _refused(f"record {line.record} has no field {strange[0]}", strange[0], line.values[strange[0]])
        made.append("".join(_written(field, line.values.get(field.field)) for field in fields) + "\r\n")
    text = "".join(made)
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise _refused(f"{text[error.start]!r} is not in {encoding}", "text", text[error.start]) from None


def _checked(encoding: str) -> None:
    if encoding not in CODE_PAGES:
        raise InputError(f"the code page {encoding!r} is none of {', '.join(CODE_PAGES)}", code="input.option")


def _refused(message: str, field: str, value: object) -> NotRepresentable:
    return NotRepresentable(message, field=field, value=value, layer=_LAYER)


def _written(field: Field, value: Cell) -> str:
    if field.type == "const":
        return field.record.ljust(field.length)
    if field.type == "blank" or value is None:
        return field.default.ljust(field.length)
    text = _text(field, value)
    if text is None or len(text) > field.length:
        raise _refused(
            f"{value!r} does not fit into {field.record}.{field.field} ({field.type}, {field.length} signs)", field.field, value
        )
    return text.ljust(field.length)


def _text(field: Field, value: Cell) -> str | None:
    """The value as its field has it; None if it is not of its type."""
    if isinstance(value, date):
        return _day(field, value) if field.type == "date" else None
    if isinstance(value, Decimal):
        return _number(field, value) if field.type.startswith("decimal") else None
    if value is None or not value or value != value.strip() or not value.isprintable():
        return None
    if field.type == "key":
        return value if value.isdecimal() and value.isascii() and len(value) == field.length else None
    return value if field.type == "text" else None


def _day(field: Field, value: date) -> str | None:
    if field.length == 8:
        return f"{value:%d%m}{value.year:04}"
    return f"{value:%d%m%y}" if 1900 + _PIVOT <= value.year < 2000 + _PIVOT else None


def _number(field: Field, value: Decimal) -> str | None:
    if not value.is_finite():
        return None
    moved = value.scaleb(field.decimals)
    if moved != moved.to_integral_value():
        return None
    sign = "-" if moved < 0 else ""
    return sign + f"{abs(int(moved))}".rjust(field.length - len(sign), "0")


# -- reading ----------------------------------------------------------------------------------------------


def read(octets: bytes, layout: Layout, encoding: str = CODE_PAGES[0]) -> Iterator[Line]:
    """The records of a file. Raises DecodeError (``arge.line``) with the offset of what cannot be read"""
    _checked(encoding)
    offset = 0
    for raw in octets.split(b"\n"):
        line = raw.removesuffix(b"\r")
        if line.strip():
            yield _read(line, layout, encoding, offset)
        offset += len(raw) + 1


def _broken(message: str, offset: int) -> DecodeError:
    return DecodeError(message, layer=_LAYER, offset=offset, octets=b"", code="arge.line")


def _read(raw: bytes, layout: Layout, encoding: str, offset: int) -> Line:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _broken(f"an octet is not in {encoding}", offset + error.start) from None
    record = max((name for name in layout.records if text.startswith(name)), key=len, default=None)
    if record is None:
        raise _broken(f"the layout has no record that begins with {text[:1]!r}", offset)
    if len(text) != layout.length(record):
        raise _broken(f"a record {record} has {layout.length(record)} signs, this line {len(text)}", offset)
    values: dict[str, Cell] = {}
    for field in layout.records[record]:
        at = field.position - 1
        part = text[at : at + field.length].strip()
        if field.type == "const" and part != record:
            raise _broken(f"{record} stands at its end once more, {part!r} is there", offset + at)
        if field.carries:
            try:
                values[field.field] = _value(field, part)
            except ValueError:
                raise _broken(f"{part!r} is no {field.type} in {record}.{field.field}", offset + at) from None
    return Line(record, values)


def _value(field: Field, part: str) -> Cell:
    """What a field holds; None if it is blank, or a date of zeros. Raises ValueError"""
    if not part:
        return None
    if field.type == "text":
        return part
    digits = part.removeprefix("-") if field.type.startswith("decimal") else part
    if not digits.isdecimal() or not digits.isascii():
        raise ValueError(part)
    if field.type == "date":
        return _date(field, part)
    if field.type == "key":
        if len(part) != field.length:
            raise ValueError(part)
        return part
    return Decimal(int(part)).scaleb(-field.decimals)


def _date(field: Field, part: str) -> date | None:
    if len(part) != field.length:
        raise ValueError(part)
    if not int(part):
        return None
    year = int(part[4:])
    if field.length == 6:
        year += 1900 if year >= _PIVOT else 2000
    return date(year, int(part[2:4]), int(part[:2]))
