"""The general record parser: application octets to records and back.

It is the definition that format plans and columns are tested against. Parsing never
loses what stands before a structural error: the records read so far, the fault and the
raw rest are all kept. Source: EN 13757-3 (variable data structure, clause to confirm).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from openmetering.codec.apl.header import (
    FUNCTIONS,
    MAX_EXTENSIONS,
    RecordHeader,
    cached_header,
    header_of,
)
from openmetering.codec.apl.values import (
    Content,
    converter,
    encode_content,
    lvar_content,
    lvar_length,
    number_text,
    scaled,
    unscaled,
)
from openmetering.errors import DecodeError, Fault, MalformedRecord, Truncated
from openmetering.wire.types import MeterTime

__all__ = ["FILLER", "ParsedRecords", "Record", "encode", "make", "parse", "read_header"]

FILLER = 0x2F
_LAYER = "apl"
_MANUFACTURER_BLOCK = frozenset((0x0F, 0x1F))
GLOBAL_READOUT = 0x7F


class Record(msgspec.Struct, frozen=True, gc=False):
    """One data point: header, data octets, content.

    ``content`` is the number before scaling, a MeterTime, text or octets; ``value`` the
    scaled value in ``unit``, None where the device marks it invalid or reports a record error.
    ``lvar`` is the length octet of a record of variable length.
    """

    header: RecordHeader
    raw: bytes
    content: Content
    lvar: int | None = None

    @property
    def value(self) -> Decimal | MeterTime | str | bytes | None:
        """The value in ``unit``: exact Decimal, MeterTime, text or octets."""
        content, header = self.content, self.header
        if header.error is not None:
            return None
        if isinstance(content, int | Decimal):
            return None if content == header.invalid else scaled(header, content)
        return content

    @property
    def error(self) -> str | None:
        """Stable code of why there is no value, or None."""
        header = self.header
        if header.error is not None:
            return "record.error." + header.error.replace(" ", "-").replace("/", "-").lower()
        content = self.content
        if content is None:
            if not self.raw and self.lvar is None:
                return None
            return "value.unsupported" if header.data_type == "date" and self.lvar is not None else "value.invalid"
        return "value.invalid" if isinstance(content, int) and content == header.invalid else None

    def number_text(self) -> str | None:
        """The scaled number as plain decimal text with exactly the digits sent; None if there is no number."""
        content, header = self.content, self.header
        if isinstance(content, int) and not header.scale2 and header.addend is None:
            return None if self.error else number_text(content, header.exponent)
        value = self.value
        return f"{value:f}" if isinstance(value, Decimal) else None

    @property
    def quantity(self) -> str:
        """What is measured, e.g. "volume"."""
        return self.header.quantity

    @property
    def unit(self) -> str:
        """Unit of ``value``; empty for numbers without one."""
        return self.header.unit

    @property
    def function(self) -> str:
        """instantaneous, maximum, minimum or error."""
        return FUNCTIONS[self.header.function]

    @property
    def storage(self) -> int:
        """Storage number."""
        return self.header.storage

    @property
    def tariff(self) -> int:
        """Tariff; 0 is the total."""
        return self.header.tariff

    @property
    def subunit(self) -> int:
        """Subunit."""
        return self.header.subunit

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """Names of the combinable extensions."""
        return self.header.qualifiers

    def octets(self) -> bytes:
        """The record as it stands in a telegram."""
        if self.lvar is None:
            return self.header.octets + self.raw
        return self.header.octets + bytes((self.lvar,)) + self.raw

    def __str__(self) -> str:
        value = self.value
        if isinstance(value, MeterTime):
            text = value.isoformat()
        elif isinstance(value, bytes):
            text = value.hex().upper()
        elif isinstance(value, Decimal):
            text = self.number_text() or ""
        else:
            text = value or self.error or "-"
        return f"{self.quantity}: {text} {self.unit}".rstrip()


class ParsedRecords(msgspec.Struct):
    """What the parser found: records with their offsets, a manufacturer's block, faults.

    ``manufacturer_data`` are the octets behind DIF 0F or 1F; ``more_follows`` is set by 1F;
    ``rest`` the octets behind a structural fault. ``warnings`` name quirks that were tolerated.
    """

    records: list[Record]
    offsets: list[int]
    manufacturer_data: bytes | None = None
    more_follows: bool = False
    global_readout: bool = False
    fault: DecodeError | None = None
    rest: bytes = b""
    warnings: list[Fault] = []


def _chain_end(octets: bytes, at: int, limit: int) -> int:
    """Offset behind a chain of extension octets that starts at ``at``."""
    stop = at + limit + 1
    while octets[at] & 0x80:
        at += 1
        if at == stop:
            raise MalformedRecord(
                f"more than {limit} extension octets", layer=_LAYER, offset=at, octets=octets, code="record.too_many_extensions"
            )
    return at + 1


def _printable(text: bytes) -> bool:
    return all(0x20 <= code < 0x7F or code >= 0xA0 for code in text)


def _plain_text(octets: bytes, start: int, end: int) -> tuple[int, bytes, bool]:
    """Find the text of a plain-text VIF whose chain is octets[start:end].

    Returns the offset behind the VIB, the text as sent, and whether it stood directly
    behind the VIF (an order that some makers use against EN 13757-3).
    """
    behind = end + 1 + octets[end] if end < len(octets) else len(octets) + 1
    standard = octets[end + 1 : behind]
    if behind <= len(octets) and _printable(standard):
        return behind, standard, False
    if octets[start] == 0xFC:
        size = octets[start + 1]
        text = octets[start + 2 : start + 2 + size]
        if 0 < size < 0x20 and len(text) == size and _printable(text):
            return _chain_end(octets, start + 2 + size, MAX_EXTENSIONS), text, True
    if behind <= len(octets):  # control characters, but well-formed
        return behind, standard, False
    raise Truncated(
        "the plain text of the VIF runs over the end", layer=_LAYER, offset=end, octets=octets, code="record.truncated"
    )


def _read_header(octets: bytes, at: int, parsed: ParsedRecords, uplink: bool) -> tuple[RecordHeader, int]:
    start = at
    at = _chain_end(octets, at, MAX_EXTENSIONS)
    vif = at
    at = _chain_end(octets, at, MAX_EXTENSIONS)
    if octets[vif] & 0x7F != 0x7C:
        whole = octets[start:at]
        header = cached_header(whole, uplink)
        if header is None:
            header = header_of(octets[start:vif], octets[vif:at], uplink=uplink)
        return header, at
    at, text, quirk = _plain_text(octets, vif, at)
    if quirk:
        parsed.warnings.append(
            Fault(
                "record.text_before_extension",
                _LAYER,
                vif,
                "plain text stands in front of the VIF extensions; read in that order",
            )
        )
    return header_of(octets[start:vif], octets[vif:at], text[::-1].decode("latin-1"), uplink=uplink), at


def read_header(octets: bytes, at: int, *, uplink: bool = True) -> tuple[RecordHeader, int]:
    """One DIB and VIB at ``at``, with the offset behind it.

    Raises DecodeError (record.reserved_dif for special functions, which are no headers), or
    IndexError where the octets end inside the header.
    """
    if octets[at] & 0x0F == 0x0F:
        raise MalformedRecord(
            f"DIF {octets[at]:02X}h is no record", layer=_LAYER, offset=at, octets=octets, code="record.reserved_dif"
        )
    return _read_header(octets, at, ParsedRecords([], [], warnings=[]), uplink)


def _read_data(octets: bytes, at: int, header: RecordHeader) -> tuple[Record, int]:
    length, lvar = header.length, None
    if length is None:
        lvar = octets[at]
        length = lvar_length(lvar)
        at += 1
        if length is None:
            raise MalformedRecord(f"LVAR {lvar:02X}h is reserved", layer=_LAYER, offset=at - 1, octets=octets, code="record.lvar")
    end = at + length
    raw = octets[at:end]
    if len(raw) < length:
        raise Truncated(
            f"the record needs {length} data octets, {len(raw)} are left",
            layer=_LAYER,
            offset=at,
            octets=octets,
            code="record.truncated",
        )
    content = converter(header)(raw) if lvar is None else lvar_content(header, lvar, raw)
    return Record(header, raw, content, lvar), end


def _special(octets: bytes, at: int, parsed: ParsedRecords) -> int:
    """A DIF with data field F; returns the offset to go on at."""
    dif = octets[at]
    if dif == FILLER:
        return at + 1
    if dif in _MANUFACTURER_BLOCK:
        parsed.manufacturer_data = octets[at + 1 :]
        parsed.more_follows = dif == 0x1F
        return len(octets)
    if dif == GLOBAL_READOUT:
        parsed.global_readout = True
        return at + 1
    raise MalformedRecord(f"DIF {dif:02X}h is reserved", layer=_LAYER, offset=at, octets=octets, code="record.reserved_dif")


def parse(octets: bytes, offset: int = 0, *, uplink: bool = True) -> ParsedRecords:
    """Read all records from ``offset`` to the end.

    Octets   DIF [DIFE] VIF [VIFE] [text] [LVAR] data, again and again; 2Fh fillers between them;
             0Fh or 1Fh starts a manufacturer's block
    Source   EN 13757-3
    Errors   never raises: a structural fault ends the parse and stands in ``fault`` (codes
             record.truncated, record.too_many_extensions, record.reserved_dif, record.lvar)
    """
    parsed = ParsedRecords([], [], warnings=[])
    records, offsets = parsed.records, parsed.offsets
    at, end = offset, len(octets)
    start = at
    try:
        while at < end:
            start = at
            if octets[at] & 0x0F == 0x0F:
                at = _special(octets, at, parsed)
                continue
            header, data = _read_header(octets, at, parsed, uplink)
            record, at = _read_data(octets, data, header)
            records.append(record)
            offsets.append(start)
    except IndexError:
        parsed.fault = Truncated(
            "the record header runs over the end", layer=_LAYER, offset=start, octets=octets, code="record.truncated"
        )
        parsed.rest = octets[start:]
    except DecodeError as fault:
        parsed.fault = fault
        parsed.rest = octets[start:]
    return parsed


def make(header: RecordHeader, value: Decimal | int | MeterTime | str | bytes | None) -> Record:
    """A record that carries ``value`` (scaled, in the header's unit).

    Raises OutOfRange or NotRepresentable if the data field cannot hold it.
    """
    content: Content = unscaled(header, Decimal(value)) if isinstance(value, int | Decimal) else value
    lvar, raw = encode_content(header, content)
    return Record(header, raw, content, lvar)


def encode(records: list[Record] | tuple[Record, ...]) -> bytes:
    """The octets of records in order."""
    return b"".join(record.octets() for record in records)


def is_number(header: RecordHeader) -> bool:
    """True if records of this header carry numbers."""
    return header.kind in ("bcd", "signed", "unsigned", "real")
