"""Key files: reading every kind, merging, writing our own. Octets in, octets or text out; no files here.

Own key file, CSV: a header line ``address,key,key_id,version,label``, a key per line, lines that start with ``#``
are remarks. The same as TOML: a table ``[[key]]`` per key with those names, of which address and key must be there.

    address   12345678 · ELS-12345678 · ELS-12345678-33-03 · 7ELS3312345678 · * (see AddressPattern.parse)
    key       32 hexadecimal digits (16 for DES)
    key_id    KeyID, decimal or 0x20; empty is 0, the communication key; * counts for every KeyID
    version   KeyVersion, decimal or 0x01; empty counts for every version
    label     any text

Other kinds: CSV with other columns (named by the caller or by their usual names), lists of ``address;key``
with any of ``; , tab blank`` between and ``#`` remarks, lists of bare keys, and KEM and KEM2 (see ``kem``).
No message of this module repeats a cell that could be a key.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from typing import TYPE_CHECKING

import msgspec

from openmetering.errors import InputError
from openmetering.security import ROW_COLUMNS, AddressPattern, Key, KeyRing
from openmetering.services.kem import is_kem, locked, read_kem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Final, NoReturn

__all__ = [
    "COLUMN_TARGETS",
    "KeyEntry",
    "KeyFile",
    "Merge",
    "appended",
    "detect",
    "merge",
    "needs_password",
    "new_file",
    "parse_columns",
    "read_keys",
    "ring",
]

#: what a column of a CSV file can be mapped to
COLUMN_TARGETS: Final = (*ROW_COLUMNS, "manufacturer")

_CSV_REMARK: Final = "# key file of openmetering; keep it secret, mode 0600\n"
_NO_KEY: Final = frozenset(("", "-", "--", "n/a", "na", "none", "null", "nokey", "no key", "unencrypted"))
_SHOWN_LINES: Final = 10
_HEX_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{16}")
_TOML_TABLE: Final = re.compile(r"\s*\[\[\s*key\s*\]\]")
_TOML_LINE: Final = re.compile(r"\s*(\[\[?\s*\w|key\s*=)")

# usual names of columns, letters and digits only, lower case
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "address": (
        "address",
        "id",
        "meterid",
        "deviceid",
        "meter",
        "meteraddress",
        "secondaryaddress",
        "serial",
        "serialno",
        "serialnumber",
        "meterno",
        "meternumber",
        "identification",
        "identificationnumber",
        "ident",
        "zählernummer",
        "zaehlernummer",
        "gerätenummer",
        "geraetenummer",
        "seriennummer",
    ),
    "key": (
        "key",
        "aes",
        "aeskey",
        "aes128key",
        "aes128",
        "encryptionkey",
        "meterkey",
        "decryptionkey",
        "omskey",
        "wmbuskey",
        "dek",
        "schlüssel",
        "schluessel",
        "aesschlüssel",
        "aesschluessel",
    ),
    "key_id": ("keyid",),
    "version": ("keyversion", "version"),
    "label": ("label", "name", "description", "comment", "remark", "location", "bezeichnung", "bemerkung"),
    "manufacturer": ("manufacturer", "man", "mfct", "flag", "vendor", "hersteller"),
}


class KeyEntry(msgspec.Struct, frozen=True):
    """One key of a file and where it stands there; its representation shows no key."""

    pattern: AddressPattern
    key: Key
    place: str
    source: str = ""

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.source} {self.place}".strip()

    @property
    def slot(self) -> tuple[AddressPattern, int | None, int | None]:
        """What can hold one key only: address, KeyID, KeyVersion."""
        return self.pattern, self.key.key_id, self.key.version


class KeyFile(msgspec.Struct, frozen=True):
    """What a file holds. ``kind`` is csv, toml, list, kem or kem2; ``own`` tells if we may append to it."""

    kind: str
    entries: tuple[KeyEntry, ...]
    notes: tuple[str, ...] = ()
    own: bool = False


class Merge(msgspec.Struct, frozen=True):
    """What adding keys to others does."""

    added: tuple[KeyEntry, ...]
    known: int
    conflicts: tuple[tuple[KeyEntry, KeyEntry], ...]


# -- reading ------------------------------------------------------------------------------

_Row = tuple[str, "Sequence[str]"]  # place and the columns ROW_COLUMNS; holds a key


class _Rows(msgspec.Struct):
    """What a reader found."""

    kind: str
    rows: list[_Row] = []
    notes: list[str] = []
    own: bool = False


def read_keys(data: bytes, *, columns: Mapping[str, str] | None = None, password: str | None = None, source: str = "") -> KeyFile:
    """Read a key file of any kind.

    ``columns`` maps address, key, key_id, version, label, manufacturer to the names (or numbers from 1)
    of the columns of a CSV file; ``password`` opens KEM and KEM2; ``source`` is the name for messages.
    Raises InputError: ``keyfile.format``, ``keyfile.password``, ``keyfile.line`` with all unusable lines
    """
    try:
        kind = "csv" if columns else detect(data)
        found = _READERS[kind](data, columns, password)
    except InputError as error:
        raise InputError(f"{source}: {error.message}" if source else error.message, code=error.code, layer=error.layer) from None
    entries: list[KeyEntry] = []
    wrong: list[str] = []
    empty = 0
    for place, row in found.rows:
        if row[1].strip().lower() in _NO_KEY:
            empty += 1
            continue
        try:
            entries.append(_entry(row, place, source))
        except InputError as error:
            wrong.append(f"{place}: {error.message}")
    if wrong:
        _refuse_lines(wrong, source)
    notes = [*found.notes]
    if empty:
        notes.append(f"{empty} line{'s' if empty > 1 else ''} without a key left out")
    return KeyFile(found.kind, tuple(entries), tuple(notes), found.own)


def detect(data: bytes) -> str:
    """The kind of a key file: kem, toml, csv or list. Raises InputError (``keyfile.format``)."""
    if is_kem(data):
        return "kem"
    lines = [line for _, line in _content(_text(data))]
    if any(_TOML_TABLE.match(line) for line in lines) or (lines and _TOML_LINE.match(lines[0])):
        return "toml"
    if lines and _is_header(_split_header(lines[0])[1]):
        return "csv"
    return "list"


def needs_password(data: bytes) -> bool:
    """True if the file can be read with a password only. Raises InputError (``keyfile.format``)."""
    return is_kem(data) and locked(data)


def ring(entries: Iterable[KeyEntry]) -> KeyRing:
    """The key ring of the entries, in their order."""
    made = KeyRing()
    for entry in entries:
        made.add(entry.pattern, entry.key.octets, entry.key.key_id, entry.key.version, entry.key.label)
    return made


def parse_columns(specifications: Iterable[str]) -> dict[str, str]:
    """Read column mappings such as ``address=Serial,key=AES``. Raises InputError (``keyfile.format``)."""
    columns: dict[str, str] = {}
    for part in (part for text in specifications for part in text.split(",") if part.strip()):
        target, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not name or target not in COLUMN_TARGETS:
            _refuse(f"a column mapping is NAME=COLUMN with one of the names {', '.join(COLUMN_TARGETS)}")
        if target in columns:
            _refuse(f"{target} is mapped to two columns")
        columns[target] = name
    missing = [target for target in ROW_COLUMNS[:2] if target not in columns]
    if columns and missing:
        _refuse(f"the column mapping does not say which column is {' and which is '.join(missing)}")
    return columns


def _entry(row: Sequence[str], place: str, source: str) -> KeyEntry:
    """Raises InputError."""
    try:
        pattern, key = next(iter(KeyRing.from_rows([row])))
    except InputError as error:
        raise InputError(error.message.removeprefix("row 1: "), code=error.code, layer=error.layer) from None
    label = _clean(key.label or "") or None
    return KeyEntry(pattern, Key(key.octets, key.key_id, key.version, label), place, source)


def _clean(label: str) -> str:
    """A label on one line, without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in label).split())


def _text(data: bytes) -> str:
    """Text of a file: UTF-8, UTF-16 with its mark, else Windows-1252, as spreadsheets write it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        _refuse("this is no text, and no KEM file either")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _content(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without empty ones and remarks."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


# -- CSV ----------------------------------------------------------------------------------


def _read_csv(data: bytes, columns: Mapping[str, str] | None, _password: str | None) -> _Rows:
    text = _text(data)
    lines = [line for _, line in _content(text)]
    if not lines:
        return _Rows("csv")
    delimiter, header = _split_header(lines[0])
    found = _Rows("csv")
    indexes, headed = _mapped(header, columns) if columns else (_usual(header), True)
    found.own = delimiter == "," and tuple(header) == ROW_COLUMNS
    first = True
    try:
        for number, cells in _cells(text, delimiter):
            if first:
                first = False
                if headed:
                    continue
                if _is_header(cells):
                    found.notes.append(f"line {number} taken as the names of the columns")
                    continue
            found.rows.append((f"line {number}", _row(cells, indexes)))
    except csv.Error:
        _refuse("the CSV is damaged; is a quotation mark left open?")
    return found


def _cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of each line with content, and its number."""
    lines = ["\n" if line.lstrip().startswith("#") else line + "\n" for line in text.split("\n")]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _cell(cells: Sequence[str], index: int | None) -> str:
    return cells[index].strip() if index is not None and index < len(cells) else ""


def _row(cells: Sequence[str], indexes: Mapping[str, int]) -> list[str]:
    """The columns ROW_COLUMNS; a manufacturer goes in front of the address."""
    row = [_cell(cells, indexes.get(name)) for name in ROW_COLUMNS]
    maker = _cell(cells, indexes.get("manufacturer"))
    if maker and row[0]:
        row[0] = f"{maker}-{row[0]}"
    return row


def _split_header(line: str) -> tuple[str, list[str]]:
    """The delimiter of a header line and its cells."""
    delimiter = max(";,\t", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return delimiter, [cell.strip() for cell in cells]


def _is_header(cells: Sequence[str]) -> bool:
    """True for names of columns: a few cells that start with a letter and have hardly a digit.

    The limit on digits is also what keeps a mistyped key out of messages that name the columns.
    """
    named = [cell for cell in cells if cell]
    return len(named) > 1 and all(cell[0].isalpha() and sum(map(str.isdigit, cell)) <= 3 for cell in named)


def _plain_name(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _usual(header: Sequence[str]) -> dict[str, int]:
    """Columns by their usual names. Raises InputError."""
    indexes: dict[str, int] = {}
    for target, names in _ALIASES.items():
        fitting = [index for index, cell in enumerate(header) if _plain_name(cell) in names]
        exact = [index for index in fitting if header[index].lower() == target]
        chosen = exact[:1] or fitting
        if len(chosen) > 1:
            _refuse(f"{len(chosen)} columns could be the {target}; name one with --map. {_listed(header)}")
        if chosen:
            indexes[target] = chosen[0]
    if not {"address", "key"} <= indexes.keys():
        _refuse(f"the columns of address and key are not clear; name them with --map address=...,key=... {_listed(header)}")
    return indexes


def _mapped(header: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, int], bool]:
    """Columns as the caller names them, and if the first line is a header. Raises InputError."""
    plain = [_plain_name(cell) for cell in header]
    indexes: dict[str, int] = {}
    headed = False
    for target, name in columns.items():
        if _plain_name(name) in plain:
            indexes[target] = plain.index(_plain_name(name))
            headed = True
        elif name.isdecimal() and 0 < int(name) <= len(header):
            indexes[target] = int(name) - 1
        else:
            _refuse(f"there is no column {name!r} for the {target}. {_listed(header)}")
    return indexes, headed


def _listed(header: Sequence[str]) -> str:
    """The names of the columns for a message, unless a cell could be a key."""
    if not _is_header(header):
        return f"The first line has {len(header)} columns and they are no names."
    return f"The columns are: {', '.join(header)}."


# -- lists and TOML -----------------------------------------------------------------------


def _read_list(data: bytes, _columns: Mapping[str, str] | None, _password: str | None) -> _Rows:
    """Lines ``address;key``, with key_id, version and label behind if wanted; or bare keys."""
    found = _Rows("list")
    bare = 0
    for number, line in _content(_text(data)):
        plain = line.partition("#")[0].strip()
        delimiter = next((sign for sign in ";,\t" if sign in plain), None)
        cells = [cell.strip() for cell in plain.split(delimiter, 4)]
        if len(cells) == 1:
            if not _HEX_KEY.fullmatch(plain):
                cells = ["", plain]
            else:
                cells = ["*", plain, "*"]
                bare += 1
        found.rows.append((f"line {number}", [*cells, "", "", ""][:5]))
    if bare:
        found.notes.append(f"{bare} key{'s' if bare > 1 else ''} without an address, taken for every device")
    return found


class _TomlKey(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    key: str
    key_id: int | str = 0
    version: int | str = ""
    label: str = ""


class _TomlFile(msgspec.Struct, forbid_unknown_fields=True):
    key: list[_TomlKey] = []


def _read_toml(data: bytes, _columns: Mapping[str, str] | None, _password: str | None) -> _Rows:
    text = _text(data)
    try:
        content = msgspec.convert(tomllib.loads(text), _TomlFile)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line \d+", str(error))
        _refuse(f"the TOML is damaged{f' in {place[0]}' if place else ' at its end'}")
    except msgspec.ValidationError as error:
        _refuse(f"a key in TOML is a table [[key]] with {', '.join(ROW_COLUMNS)}: {error}")
    lines = [number for number, line in _content(text) if _TOML_TABLE.match(line)]
    named = len(lines) == len(content.key)
    places = [f"line {number}" for number in lines] if named else [f"key {count}" for count, _ in enumerate(content.key, 1)]
    cells = [(item.address, item.key, str(item.key_id), str(item.version), item.label) for item in content.key]
    return _Rows("toml", list(zip(places, cells, strict=True)), own=named)


def _read_kem(data: bytes, _columns: Mapping[str, str] | None, password: str | None) -> _Rows:
    rows, notes = read_kem(data, password)
    made: list[_Row] = [(place, (address, key, "", "", label)) for place, (address, key, label) in rows]
    second = any(place.startswith("device ") for place, _ in rows)
    return _Rows("kem2" if second else "kem", made, notes)


_READERS: dict[str, Callable[[bytes, Mapping[str, str] | None, str | None], _Rows]] = {
    "kem": _read_kem,
    "toml": _read_toml,
    "csv": _read_csv,
    "list": _read_list,
}


# -- merging and writing ------------------------------------------------------------------


def merge(entries: Iterable[KeyEntry], more: Iterable[KeyEntry]) -> Merge:
    """What adding ``more`` to ``entries`` does: new keys, known ones, and conflicts (another key in the same slot)."""
    held: dict[tuple[AddressPattern, int | None, int | None], KeyEntry] = {}
    for entry in entries:
        held.setdefault(entry.slot, entry)
    added: list[KeyEntry] = []
    conflicts: list[tuple[KeyEntry, KeyEntry]] = []
    known = 0
    for entry in more:
        first = held.setdefault(entry.slot, entry)
        if first is entry:
            added.append(entry)
        elif first.key == entry.key:
            known += 1
        else:
            conflicts.append((first, entry))
    return Merge(tuple(added), known, tuple(conflicts))


def new_file(entries: Sequence[KeyEntry], kind: str = "csv") -> str:
    """Text of a new key file, ``kind`` csv or toml."""
    head = _CSV_REMARK if kind == "toml" else _CSV_REMARK + ",".join(ROW_COLUMNS) + "\n"
    return head + _WRITERS[kind](entries)


def appended(data: bytes, entries: Sequence[KeyEntry]) -> str:
    """Text of our own key file with more entries at its end; everything in it stays as it was.

    Raises InputError (``keyfile.format``) if the file is none of ours
    """
    before = read_keys(data)
    if not before.own:
        _refuse("keys can be added to a key file of openmetering only (CSV with its header, or TOML); name another output")
    text = _text(data)
    text += "" if text.endswith("\n") else "\n"
    return text + _WRITERS[before.kind](entries)


def _write_csv(entries: Sequence[KeyEntry]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(_rows(entries))
    return out.getvalue()


def _write_toml(entries: Sequence[KeyEntry]) -> str:
    return "".join(
        "\n[[key]]\n" + "".join(f"{name} = {_toml_value(value)}\n" for name, value in zip(ROW_COLUMNS, row, strict=True) if value)
        for row in _rows(entries)
    )


def _toml_value(value: str) -> str:
    return value if re.fullmatch(r"0x[0-9A-F]{2}", value) else json.dumps(value, ensure_ascii=False)


def _rows(entries: Sequence[KeyEntry]) -> Iterator[Sequence[str]]:
    """The columns ROW_COLUMNS of each entry. These rows hold the keys."""
    for entry in entries:
        yield ring([entry]).to_rows()[0]


_WRITERS: dict[str, Callable[[Sequence[KeyEntry]], str]] = {"csv": _write_csv, "toml": _write_toml}


# -- refusals -----------------------------------------------------------------------------


def _refuse(message: str) -> NoReturn:
    raise InputError(message, code="keyfile.format", layer="input") from None


def _refuse_lines(wrong: Sequence[str], source: str) -> NoReturn:
    shown = "".join(f"\n  {line}" for line in wrong[:_SHOWN_LINES])
    more = f"\n  and {len(wrong) - _SHOWN_LINES} more" if len(wrong) > _SHOWN_LINES else ""
    count = "1 line cannot be used" if len(wrong) == 1 else f"{len(wrong)} lines cannot be used"
    raise InputError(f"{source + ': ' if source else ''}{count}:{shown}{more}", code="keyfile.line", layer="input")
