"""Records on a canvas: DIF, DIFE, VIF, VIFE, text, LVAR, data and the elements of profiles, octet by octet.

The records themselves come from the general parser; here their octets get names. Source:
EN 13757-3 (variable data structure, clause to confirm).
"""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby

from openmetering.codec.apl.container import decode as decode_container
from openmetering.codec.apl.header import DATA_LENGTH, FUNCTIONS, RecordHeader
from openmetering.codec.apl.profile import ProfileSeries, Spacing, expand, is_profile
from openmetering.codec.apl.records import FILLER, GLOBAL_READOUT, ParsedRecords, Record, parse, read_header
from openmetering.codec.apl.values import lvar_length
from openmetering.codec.apl.vib_text import split_text
from openmetering.errors import DecodeError
from openmetering.tables import (
    ACTIONS,
    LVAR,
    RECORD_ERRORS,
    VIF_FB,
    VIF_FD,
    VIF_FDFD,
    VIF_MAIN,
    VIFE,
    VIFE_FC,
    ValueInformation,
    ValueInformationExtension,
    error_flags,
)
from openmetering.telegram.anatomy.canvas import Canvas
from openmetering.telegram.anatomy.model import Bit
from openmetering.telegram.anatomy.words import code
from openmetering.telegram.answer import describe
from openmetering.telegram.model import Telegram
from openmetering.wire.types import MeterTime, bcd_digits

__all__ = ["RecordWriter", "value_text"]

_LAYER = "apl"
_DATA = (
    "no data", "8-bit integer", "16-bit integer", "24-bit integer", "32-bit integer", "32-bit real", "48-bit integer",
    "64-bit integer", "selection for readout", "2-digit BCD", "4-digit BCD", "6-digit BCD", "8-digit BCD", "variable length",
    "12-digit BCD", "special function",
)  # fmt: skip
_DIFE_FOLLOWS = ("the VIF follows", "a DIFE follows")
_VIFE_FOLLOWS = ("the last octet of the VIB", "a VIFE follows")
#: quantities whose values name a device, a person or a place, or open a door
_IDENTITY = frozenset(
    (
        "fabrication no", "enhanced identification", "address", "customer location", "customer", "access code user",
        "access code operator", "access code system operator", "access code developer", "password", "security key",
        "wireless M-Bus container", "manufacturer protocol container",
    )
)  # fmt: skip
#: quantities whose text is that of a product, not of a device
_PRODUCT = frozenset(("model/version", "hardware version", "metrology (firmware) version", "other software version"))
_TEXT_END = 0xC0  #: LVAR below it: text, or octets in their order
_ERROR_FLAGS = b"\xfd\x17"


def value_text(record: Record) -> str:
    """Value and unit of a record, or why there is none."""
    if record.error is not None:
        return record.error
    number = record.number_text()
    if number is not None:
        return f"{number} {record.unit}".rstrip()
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"{len(value)} octets" if len(value) > 8 else value.hex().upper()
    return "" if value is None else str(value)


def secret_of(record: Record) -> str:
    """What a redaction takes away of a record: identity, content that may hold one, or nothing."""
    header = record.header
    if header.quantity in _IDENTITY:
        return "identity"
    if (
        header.quantity == "unknown"
        or header.vib[0] & 0x7F == 0x7F
        or any(name.startswith("manufacturer ") for name in header.qualifiers)
    ):
        return "content"
    if isinstance(record.content, str | bytes) and header.profile is None:
        return "" if header.quantity in _PRODUCT else "content"
    return ""


class RecordWriter:
    """Writes the records of one telegram."""

    __slots__ = ("_canvas", "_device_type", "_manufacturer", "_uplink")

    def __init__(self, canvas: Canvas, telegram: Telegram) -> None:
        address = telegram.address
        self._canvas = canvas
        self._uplink = telegram.uplink
        self._device_type = None if address is None else address.device_type
        self._manufacturer = "" if address is None else address.flag

    # -- messages -------------------------------------------------------------------------------

    def message(self, octets: bytes) -> None:
        """All records from here to the end; ``octets`` are those of the canvas in the order of the parser."""
        start = self._canvas.at
        parsed = parse(octets, uplink=self._uplink)
        series = iter(expand(parsed.records))
        for number, (offset, record) in enumerate(zip(parsed.offsets, parsed.records, strict=True), 1):
            self._fillers(start + offset)
            self._record(number, record, next(series) if is_profile(record) else None)
        self._fillers(start + len(octets) - len(parsed.rest) - self._block_size(parsed))
        self._manufacturer_block(parsed)
        if parsed.fault is not None:
            self._broken(len(parsed.records) + 1, octets, parsed)

    def values(self, records: tuple[Record, ...]) -> None:
        """The data of a compact frame; the headers are those of a known format."""
        canvas = self._canvas
        series = iter(expand(records))
        for number, record in enumerate(records, 1):
            header = record.header
            headers = f"DIB {header.dib.hex().upper()}, VIB {header.vib.hex().upper()} of the known format"
            self._section(number, record, f"{value_text(record)}; {headers}")
            self._data(record, next(series) if is_profile(record) else None)
        self._fillers(canvas.end)

    def headers(self, headers: tuple[RecordHeader, ...]) -> None:
        """The record headers of a format frame."""
        for number, header in enumerate(headers, 1):
            self._canvas.section(_LAYER, f"Header {number}: {header.quantity}", header.unit)
            self.header(header)

    # -- records --------------------------------------------------------------------------------

    def _section(self, number: int, record: Record, summary: str) -> None:
        self._canvas.section(_LAYER, f"Record {number}: {record.quantity}", summary, secret=bool(secret_of(record)))

    def _record(self, number: int, record: Record, series: ProfileSeries | None) -> None:
        self._section(number, record, value_text(record))
        self.header(record.header)
        self._data(record, series)

    def _fillers(self, until: int) -> None:
        """Fillers and readout marks up to an offset."""
        canvas = self._canvas
        if canvas.at < until:
            canvas.section(_LAYER, "Fillers")
        for octet, run in groupby(canvas.octets[canvas.at : until]):
            size = len(list(run))
            if octet == GLOBAL_READOUT:
                for _ in range(size):
                    canvas.take(1, "DIF", code(octet), "global readout request: all storages, tariffs, functions")
            else:
                canvas.take(
                    size, "filler", code(FILLER), "no meaning; fills blocks" if size == 1 else f"{size} octets without meaning"
                )

    @staticmethod
    def _block_size(parsed: ParsedRecords) -> int:
        return 0 if parsed.manufacturer_data is None else 1 + len(parsed.manufacturer_data)

    def _manufacturer_block(self, parsed: ParsedRecords) -> None:
        canvas, data = self._canvas, parsed.manufacturer_data
        if data is None:
            return
        canvas.section(_LAYER, "Data of the manufacturer", f"{len(data)} octets")
        follows = "; more telegrams follow in this readout" if parsed.more_follows else ""
        canvas.take(1, "DIF", code(canvas.peek(1)[0]), f"the rest belongs to the manufacturer{follows}")
        canvas.take_rest("manufacturer data", "meaning known to the manufacturer only")

    def _broken(self, number: int, octets: bytes, parsed: ParsedRecords) -> None:
        """A record that the octets do not complete: its header if that is whole, then the fault."""
        canvas = self._canvas
        canvas.section(_LAYER, f"Record {number}: not decoded")
        try:
            header, behind = read_header(octets, len(octets) - len(parsed.rest), uplink=self._uplink)
            if parsed.rest[0] & 0x0F != 0x0F and behind < len(octets):
                self.header(header)
        except (DecodeError, IndexError):
            pass
        canvas.broken(parsed.fault)

    # -- headers --------------------------------------------------------------------------------

    def header(self, header: RecordHeader) -> None:
        """DIF, DIFE, VIF, VIFE and plain text of a record header."""
        self._dib(header)
        chain, tail, in_front = split_text(header.vib, header.text)
        names = _vib_names(chain, self._uplink)
        for index, (octet, (field, meaning)) in enumerate(zip(chain, names, strict=True)):
            self._canvas.take(
                1, field, code(octet), meaning, bits=(Bit("7", "extension", octet >> 7, _VIFE_FOLLOWS[octet >> 7]),)
            )
            if in_front and index == 0:
                self._text(header, tail)
        if not in_front:
            self._text(header, tail)

    def _text(self, header: RecordHeader, tail: bytes) -> None:
        if tail:
            self._canvas.take(1, "text length", str(tail[0]), "octets of the plain text unit")
            self._canvas.take(tail[0], "text", header.text or "", "unit in plain text, last character first")

    def _dib(self, header: RecordHeader) -> None:
        dif = header.dib[0]
        function = FUNCTIONS[header.function]
        bits = (
            Bit("7", "extension", dif >> 7, _DIFE_FOLLOWS[dif >> 7]),
            Bit("6", "storage number, lowest bit", dif >> 6 & 1),
            Bit("5..4", "function", header.function, f"{function} value"),
            Bit("3..0", "data field", header.data_field, _DATA[header.data_field]),
        )
        self._canvas.take(1, "DIF", code(dif), f"{_DATA[header.data_field]}, {function} value", bits=bits)
        for index, dife in enumerate(header.dib[1:]):
            storage, tariff = (dife & 0x0F) << 1 + 4 * index, (dife >> 4 & 3) << 2 * index
            subunit = (dife >> 6 & 1) << index
            bits = (
                Bit("7", "extension", dife >> 7, _DIFE_FOLLOWS[dife >> 7]),
                Bit("6", "subunit", dife >> 6 & 1, f"adds {subunit}" if subunit else ""),
                Bit("5..4", "tariff", dife >> 4 & 3, f"adds {tariff}" if tariff else ""),
                Bit("3..0", "storage number", dife & 0x0F, f"adds {storage}" if storage else ""),
            )
            last = index == len(header.dib) - 2
            self._canvas.take(1, "DIFE", code(dife), self._place(header) if last else "goes on", bits=bits)

    @staticmethod
    def _place(header: RecordHeader) -> str:
        text = f"storage {header.storage}, tariff {header.tariff}, subunit {header.subunit}"
        return text + (", a register number" if header.final_dife else "")

    # -- data -----------------------------------------------------------------------------------

    def _data(self, record: Record, series: ProfileSeries | None) -> None:
        canvas, lvar = self._canvas, record.lvar
        if lvar is not None:
            kind = "octets" if lvar < _TEXT_END and not isinstance(record.content, str) else LVAR[lvar].kind
            size = lvar_length(lvar) or 0
            canvas.take(1, "LVAR", code(lvar), f"{kind}, {size} octet{'' if size == 1 else 's'}")
        if series is not None and series.spacing is not None:
            self._profile(record, series, series.spacing)
            return
        secret = secret_of(record)
        canvas.take(len(record.raw), "data", value_text(record), self._meaning(record), bits=self._bits(record), secret=secret)

    def _meaning(self, record: Record) -> str:
        header = record.header
        words = [_coding(record), *_scaling(record)]
        if record.error is not None:
            words.append("marked invalid by the device" if record.error == "value.invalid" else record.error)
        flags = self._flags(record)
        if flags:
            words.append(", ".join(flags))
        tag, codes = describe(header, self._device_type)
        if tag:
            words.append(f"OMS data point {tag}")
        words += [f"OBIS {obis}" for obis in codes]
        return "; ".join(word for word in words if word)

    def _flags(self, record: Record) -> tuple[str, ...]:
        if record.header.vib[:2] != _ERROR_FLAGS or not isinstance(record.content, int) or record.content < 0:
            return ()
        return error_flags(record.content, manufacturer=self._manufacturer, device_type=self._device_type)

    def _bits(self, record: Record) -> tuple[Bit, ...]:
        """The set bits of a bit array."""
        content = record.content
        if record.header.data_type != "D" or not isinstance(content, int) or content <= 0:
            return ()
        numbers = [number for number in range(content.bit_length()) if content >> number & 1]
        names = self._flags(record) or tuple(f"bit {number}" for number in numbers)
        return tuple(Bit(str(number), name, 1) for number, name in zip(numbers, names, strict=True))

    def _profile(self, record: Record, series: ProfileSeries, spacing: Spacing) -> None:
        """Spacing control, spacing value and elements of a compact profile."""
        canvas, raw = self._canvas, record.raw
        bits = (
            Bit("7..6", "increment mode", spacing.mode, spacing.mode_name),
            Bit("5..4", "spacing unit", spacing.unit, ("seconds", "minutes", "hours", "days or months")[spacing.unit]),
            Bit("3..0", "data field of the elements", spacing.element, _DATA[spacing.element]),
        )
        canvas.take(
            1, "spacing control (SC)", code(raw[0]), f"{spacing.mode_name}, elements: {_DATA[spacing.element]}", bits=bits
        )
        canvas.take(1, "spacing value (SV)", str(raw[1]), _spacing(spacing))
        size = DATA_LENGTH[spacing.element] or max(len(raw) - 2, 1)
        for index, at in enumerate(range(2, len(raw), size)):
            octets = raw[at : at + size]
            if index < len(series.points):
                point = series.points[index]
                value = "" if point.value is None else f"{_plain(point.value)} {series.unit}".rstrip()
                moment = point.time or ("" if point.offset is None else f"{point.offset} s from the {series.reference}")
                canvas.take(
                    len(octets),
                    f"element {index + 1}",
                    value or octets[::-1].hex().upper(),
                    "; ".join(filter(None, (f"storage {point.storage}", moment))),
                )
            elif index == series.invalid_at:
                canvas.take(len(octets), f"element {index + 1}", "invalid", "ends the series")
            else:
                fault = None if series.fault is None else series.fault.code
                meaning = "not read" if series.fault is None else series.fault.message
                canvas.take(len(octets), f"element {index + 1}", octets[::-1].hex().upper(), meaning, fault=fault)


# -- words ----------------------------------------------------------------------------------------


def _plain(value: Decimal) -> str:
    return f"{value:f}"


def _spacing(spacing: Spacing) -> str:
    if spacing.interval is not None:
        return f"one element every {'month' if spacing.interval.half_months == 2 else spacing.interval}"
    return "no spacing in time" if not spacing.value else "reserved"


def _coding(record: Record) -> str:
    """How the octets carry the content."""
    header, content = record.header, record.content
    if isinstance(content, MeterTime):
        summer = ", summer time" if content.summer_time else ""
        return (
            f"date and time of type {content.type}{summer}"
            if content.hour is not None
            else f"date of type {content.type}{summer}"
        )
    if isinstance(content, str):
        return "text, last character first"
    if isinstance(content, bytes):
        inside = decode_container(content) if header.quantity == "wireless M-Bus container" else None
        return (
            "octets in their order"
            if inside is None
            else f"a frame of another device{', complete' if inside.complete else ''}: explain it by itself"
        )
    if header.kind == "bcd":
        return f"BCD {bcd_digits(record.raw)}"
    if isinstance(content, Decimal):
        return f"real {_plain(content)}"
    if isinstance(content, int):
        return f"{'integer' if header.kind != 'unsigned' else 'unsigned integer'} {content}"
    return ""


def _scaling(record: Record) -> list[str]:
    header = record.header
    if not isinstance(record.content, int | Decimal):
        return []
    words = [f"times 10^{header.exponent}"] if header.exponent else []
    if header.scale2:
        words.append(f"times 2^{header.scale2}")
    if header.addend is not None:
        words.append(f"plus {_plain(header.addend)}")
    return words


def _information(row: ValueInformation | None) -> str:
    if row is None:
        return "reserved"
    scale = f" times 10^{row.exponent}" if row.exponent else ""
    return row.quantity + (f", {row.unit}{scale}" if row.unit else scale.replace(" times", ", times"))


def _extension(row: ValueInformationExtension | None) -> str:
    if row is None:
        return "reserved"
    if row.kind == "scale":
        return f"times 10^{row.exponent}"
    if row.kind == "offset":
        return f"plus 10^{row.exponent}"
    return f"{row.name} ({row.unit})" if row.kind == "duration" else row.name


def _action(octet: int, uplink: bool) -> str:
    """VIFE 00 to 1F: a record error from the device, an action to it."""
    row = VIFE[octet]
    if octet in (0x12, 0x13, 0x14, 0x1D, 0x1E, 0x1F):
        return _extension(row)
    if uplink:
        name = RECORD_ERRORS[octet] if octet < len(RECORD_ERRORS) else None
        return f"record error: {name or 'reserved'}" if octet else "no record error"
    name = ACTIONS[octet] if octet < len(ACTIONS) else None
    return f"action: {name or 'reserved'}"


_Name = tuple[str, str]
_TABLES = {0xFB: (VIF_FB, "first extension table"), 0xFD: (VIF_FD, "second extension table")}


def _vif_names(chain: bytes) -> list[_Name]:
    """The octets up to the true VIF."""
    first = chain[0]
    entry = _TABLES.get(first)
    if entry is None or len(chain) < 2:
        special = {0x7C: "unit in plain text", 0x7F: "belongs to the manufacturer, with all VIFE"}
        return [("VIF", special.get(first & 0x7F) or _information(VIF_MAIN[first & 0x7F]))]
    table, name = entry
    if chain[:2] == b"\xfd\xfd" and len(chain) > 2:
        row = VIF_FDFD[chain[2] & 0x7F]
        return [("VIF", name), ("VIF extension", "its own extension"), ("true VIF", _information(row))]
    return [("VIF", name), ("true VIF", _information(table[chain[1] & 0x7F]))]


def _vib_names(chain: bytes, uplink: bool) -> list[_Name]:
    """Field and meaning of every octet of a VIB without its plain text."""
    names = _vif_names(chain)
    manufacturer = chain[0] & 0x7F == 0x7F
    second = False
    for octet in chain[len(names) :]:
        short = octet & 0x7F
        if manufacturer:
            names.append(("VIFE", "belongs to the manufacturer"))
        elif second:
            names.append(("VIFE", _extension(VIFE_FC[short])))
            second = False
        elif short == 0x7C:
            names.append(("VIFE", "extension of the VIFE codes"))
            second = True
        else:
            manufacturer = short == 0x7F
            names.append(("VIFE", _action(short, uplink) if short < 0x20 else _extension(VIFE[short])))
    return names
