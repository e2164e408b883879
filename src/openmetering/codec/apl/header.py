"""Record headers: data information block (DIB) and value information block (VIB).

    DIF   7 DIFE follows   6 storage bit 0   5..4 function   3..0 data field
    DIFE  7 DIFE follows   6 subunit bit n   5..4 tariff     3..0 storage
    VIF   7 VIFE follows   6..0 value information
    VIFE  7 VIFE follows   6..0 extension

A header is compiled once from its octets and shared by all records that carry it.
Source: EN 13757-3 (variable data structure, clause to confirm); OMS Volume 2 Annex B.
"""

from __future__ import annotations

from decimal import Decimal

from openmetering.codec.apl.vib_text import join_text, split_text
from openmetering.errors import NotRepresentable
from openmetering.tables import (
    ACTIONS,
    RECORD_ERRORS,
    VIF_FB,
    VIF_FD,
    VIF_FDFD,
    VIF_MAIN,
    VIFE,
    VIFE_FC,
    ValueInformation,
    ValueInformationExtension,
)

__all__ = ["DATA_LENGTH", "FUNCTIONS", "LVAR", "MAX_EXTENSIONS", "RecordHeader", "encode_dib", "header_of"]

FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")
MAX_EXTENSIONS = 10  #: DIFEs and VIFEs a record may have (EN 13757-3)
LVAR = 0x0D  #: data field of variable length
#: octets of the data by data field; None: variable length or special function
DATA_LENGTH: tuple[int | None, ...] = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6, None)
#: Type C has an invalid mark (all octets FFh) in the standard that many meters use as data [K]:
#: the value is kept. Set to True to read it as invalid.
UNSIGNED_ALL_ONES_IS_INVALID = False
UNSIGNED_TYPES = frozenset("CDKL") | {"raw"}
_FIXED_KINDS = {0: "none", 8: "none", 5: "real", **dict.fromkeys((9, 10, 11, 12, 14), "bcd"), 13: "variable", 15: "none"}
_DATE_SIZES = frozenset((2, 3, 4, 6))
_EIGHT_OCTETS = 7
PROFILES = {0x1F: "forward", 0x13: "inverse", 0x1E: "registers"}
_RESERVED: tuple[ValueInformation | None, ...] = (None,) * 128  #: third extension table
_TABLES = {0xFB: VIF_FB, 0xFD: VIF_FD, 0xEF: _RESERVED}
#: names of the type extensions (VIFE FC 11, FC 12) -> data type
_TYPE_NAMES = {"unsigned": "C", "bit array": "D"}
_UNKNOWN = ValueInformation(code=0, quantity="unknown", unit="", exponent=0, data_type="B", confidence="V")
_MANUFACTURER = ValueInformation(code=0x7F, quantity="manufacturer", unit="", exponent=0, data_type="B", confidence="V")


class RecordHeader:
    """The meaning of one DIB and VIB; immutable and shared.

    ``storage``, ``tariff``, ``subunit`` and ``function`` come from the DIB; ``final_dife``
    tells a register number (a last DIFE of 00h). ``quantity``, ``unit`` and ``exponent``
    come from the VIB: value = number * 10**exponent in ``unit`` (+ ``addend``), divided by
    2**-``scale2`` where that is not 0. ``action`` is set in commands, ``error`` where the
    device reports a record error in place of a value.
    """

    __slots__ = (
        "action",
        "addend",
        "data_field",
        "data_type",
        "dib",
        "error",
        "exponent",
        "final_dife",
        "function",
        "invalid",
        "kind",
        "known",
        "length",
        "octets",
        "profile",
        "qualifiers",
        "quantity",
        "scale2",
        "storage",
        "subunit",
        "tariff",
        "text",
        "unit",
        "uplink",
        "vib",
        "vib_before_action",
    )

    def __init__(self, dib: bytes, vib: bytes, text: str | None = None, *, uplink: bool = True) -> None:
        self.dib = dib
        self.vib = vib
        self.octets = dib + vib
        self.uplink = uplink
        self.text = text
        dif = dib[0]
        self.data_field = dif & 0x0F
        self.length = DATA_LENGTH[self.data_field]
        self.function = dif >> 4 & 3
        storage, tariff, subunit = dif >> 6 & 1, 0, 0
        for index, dife in enumerate(dib[1:]):
            storage |= (dife & 0x0F) << 1 + 4 * index
            tariff |= (dife >> 4 & 3) << 2 * index
            subunit |= (dife >> 6 & 1) << index
        self.storage, self.tariff, self.subunit = storage, tariff, subunit
        self.final_dife = len(dib) > 1 and dib[-1] == 0
        self.action: str | None = None
        self.error: str | None = None
        self.profile: str | None = None
        self.addend: Decimal | None = None
        self.vib_before_action = vib
        self._read_vib(vib, text)
        self.kind = self._kind()
        self.invalid = self._invalid()

    def _kind(self) -> str:
        """How the data are coded: none, real, bcd, date, address, unsigned, signed or variable."""
        if self.data_field in _FIXED_KINDS:
            return _FIXED_KINDS[self.data_field]
        if self.data_field == _EIGHT_OCTETS and self.quantity == "enhanced identification":
            return "address"
        if self.data_type == "date" and self.length in _DATE_SIZES:
            return "date"
        return "unsigned" if self.data_type in UNSIGNED_TYPES else "signed"

    def _invalid(self) -> int | None:
        """The integer that marks an invalid value of a binary record (type B: the most negative number)."""
        if self.kind == "signed":
            return -(1 << 8 * (self.length or 0) - 1)
        if self.kind == "unsigned" and UNSIGNED_ALL_ONES_IS_INVALID and self.data_type == "C":
            return (1 << 8 * (self.length or 0)) - 1
        return None

    # -- compilation of the VIB -------------------------------------------------------------

    def _read_vib(self, vib: bytes, text: str | None) -> None:
        entry, at = _true_vif(vib, text)
        self.known = entry is not _UNKNOWN
        self.quantity = entry.quantity
        self.unit = text if text is not None else entry.unit
        self.exponent = entry.exponent
        self.scale2 = entry.scale2
        self.data_type = entry.data_type
        qualifiers: list[str] = []
        chain = _extensions(vib, text)[at:] if at is not None else b""
        if entry is _MANUFACTURER and chain:
            qualifiers.append("manufacturer " + chain.hex().upper())
            chain = b""
        self._read_extensions(chain, qualifiers)
        self.qualifiers = tuple(qualifiers)

    def _read_extensions(self, chain: bytes, qualifiers: list[str]) -> None:
        at = 0
        while at < len(chain):
            code = chain[at] & 0x7F
            at += 1
            if code == 0x7C and at < len(chain):
                extension = VIFE_FC[chain[at] & 0x7F]
                name = f"FC {chain[at] & 0x7F:02X}"
                at += 1
            elif code == 0x7F:
                qualifiers.append("manufacturer " + chain[at:].hex().upper())
                return
            else:
                extension = VIFE[code]
                name = f"{code:02X}"
                if code < 0x20 and self._action_or_error(code, len(chain) - at):
                    continue
            if extension is None:
                self.known = False
                qualifiers.append("VIFE " + name)
            else:
                _APPLY.get(extension.kind, RecordHeader._qualify)(self, extension, qualifiers)

    def _action_or_error(self, code: int, left: int) -> bool:
        """Codes 00..1F: an action to the device, a record error from it. True if consumed."""
        if code in PROFILES:
            self.profile = PROFILES[code]
            return False
        if code in (0x12, 0x14, 0x1D):
            return False
        if not self.uplink:
            self.action = ACTIONS[code] if code < len(ACTIONS) and ACTIONS[code] else f"action {code:02X}"
            chain, tail, in_front = split_text(self.vib, self.text)
            before = chain[:-2] + bytes((chain[-2] & 0x7F,))
            self.vib_before_action = self.vib if left else join_text(before, tail, in_front)
            return True
        if code:
            self.error = (
                RECORD_ERRORS[code] if code < len(RECORD_ERRORS) and RECORD_ERRORS[code] else f"reserved error {code:02X}"
            )
        return True

    def _qualify(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        """A name; "per" and "times" extensions also change the unit."""
        self.unit += extension.unit
        qualifiers.append(extension.name)

    def _scale(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.exponent += extension.exponent

    def _offset(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.addend = (self.addend or Decimal(0)) + Decimal(1).scaleb(extension.exponent)

    def _date(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.data_type, self.unit, self.exponent, self.scale2 = "date", "", 0, 0
        qualifiers.append(extension.name)

    def _duration(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.unit, self.exponent, self.scale2 = extension.unit, 0, 0
        qualifiers.append(extension.name)

    def _count(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.unit, self.exponent, self.scale2 = "", 0, 0
        qualifiers.append(extension.name)

    def _obis(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        """The data are an OBIS code, not a value of the VIF; binary they are type C."""
        self.data_type = "C"
        self._count(extension, qualifiers)

    def _type(self, extension: ValueInformationExtension, qualifiers: list[str]) -> None:
        self.data_type = _TYPE_NAMES.get(extension.name, self.data_type)

    def __repr__(self) -> str:
        place = f"storage {self.storage}, tariff {self.tariff}, subunit {self.subunit}"
        return f"RecordHeader({self.octets.hex().upper()}: {self.quantity} [{self.unit}], {FUNCTIONS[self.function]}, {place})"


_APPLY = {
    "scale": RecordHeader._scale,
    "offset": RecordHeader._offset,
    "date": RecordHeader._date,
    "duration": RecordHeader._duration,
    "count": RecordHeader._count,
    "obis": RecordHeader._obis,
    "type": RecordHeader._type,
}


def _extensions(vib: bytes, text: str | None) -> bytes:
    """The VIB without the plain text and its length octet, wherever they stand."""
    if text is None:
        return vib
    size = len(text) + 1
    if vib[0] == 0xFC and vib[1] == len(text) and vib[2 : 2 + len(text)] == text.encode("latin-1")[::-1] and len(vib) > size + 1:
        return vib[:1] + vib[1 + size :]
    return vib[:-size]


def _true_vif(vib: bytes, text: str | None) -> tuple[ValueInformation, int | None]:
    """The table row of a VIB and the index of its first VIFE (None: no VIFE)."""
    first = vib[0]
    if first & 0x7F == 0x7C:
        return VIF_MAIN[0x7C] or _UNKNOWN, 1
    if first & 0x7F == 0x7F:
        return _MANUFACTURER, 1
    table = _TABLES.get(first)
    if table is None:
        return VIF_MAIN[first & 0x7F] or _UNKNOWN, 1
    code = vib[1] & 0x7F
    if first == 0xFD and vib[1] == 0xFD and len(vib) > 2:
        return VIF_FDFD[vib[2] & 0x7F] or _UNKNOWN, 3
    return table[code] or _UNKNOWN, 2


_CACHE_LIMIT = 16384
_headers: tuple[dict[bytes, RecordHeader], dict[bytes, RecordHeader]] = ({}, {})


def header_of(dib: bytes, vib: bytes, text: str | None = None, *, uplink: bool = True) -> RecordHeader:
    """The shared header of these octets; compiled on first use, the cache is bounded."""
    cache = _headers[uplink]
    octets = dib + vib
    header = cache.get(octets)
    if header is None:
        if len(cache) >= _CACHE_LIMIT:
            cache.clear()
        header = cache[octets] = RecordHeader(dib, vib, text, uplink=uplink)
    return header


def cached_header(octets: bytes, uplink: bool) -> RecordHeader | None:
    """The shared header of these octets if it was compiled before."""
    return _headers[uplink].get(octets)


def encode_dib(
    data_field: int,
    *,
    function: int = 0,
    storage: int = 0,
    tariff: int = 0,
    subunit: int = 0,
    final_dife: bool = False,
) -> bytes:
    """The shortest DIB for these numbers; ``final_dife`` appends the 00h of a register number.

    Raises NotRepresentable if more than ten DIFEs would be needed.
    """
    if not (0 <= data_field < 15 and 0 <= function < 4) or min(storage, tariff, subunit) < 0:
        raise NotRepresentable("data field, function or numbers out of their range", field="dib", value=data_field)
    octets = [data_field | function << 4 | (storage & 1) << 6]
    storage >>= 1
    while storage or tariff or subunit:
        octets.append(storage & 0x0F | (tariff & 3) << 4 | (subunit & 1) << 6)
        storage, tariff, subunit = storage >> 4, tariff >> 2, subunit >> 1
    if final_dife:
        octets.append(0)
    if len(octets) > MAX_EXTENSIONS + 1:
        raise NotRepresentable("more than ten DIFEs are needed", field="dib", value=len(octets) - 1)
    return bytes(octet | 0x80 for octet in octets[:-1]) + bytes(octets[-1:])
