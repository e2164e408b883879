"""Fixed data structure: the response of meters before 1997, CI 73 (77: most significant octet first).

    0..3   identification number, 8 BCD digits     4  access number     5  status
    6..7   medium and units: unit 1 5..0, medium bits 1..0 in 7..6; unit 2 13..8, medium bits 3..2 in 15..14
    8..11  counter 1                               12..15  counter 2

There is no transport header: the sixteen octets follow the CI field. The same CI 73 is the
compact frame of today; the caller decides by length and known formats.
Source: The M-Bus: A Documentation, revision 4.8, section 6.3.1.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.apl.header import encode_dib, header_of
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import converter
from openmetering.errors import NotRepresentable, OutOfRange, Truncated
from openmetering.tables import FIXED_MEDIA, FIXED_UNITS
from openmetering.wire.fields import BitField, Bits
from openmetering.wire.types import decode_bcd

__all__ = ["SIZE", "FixedCounter", "FixedData", "FixedStatus", "decode", "records"]

SIZE = 16  #: octets behind the CI field
#: The medium and unit field stays least significant octet first in the MSB first form [K].
MEDIUM_IS_LITTLE_ENDIAN = True

_LAYER = "apl"
_SAME_UNIT = 0x3E  #: unit of the other counter, value historic


class FixedStatus(BitField):
    """Status octet of the fixed data structure."""

    binary = Bits(0)
    fixed_date = Bits(1)
    power_low = Bits(2)
    permanent_error = Bits(3)
    temporary_error = Bits(4)
    manufacturer = Bits(5, 3)


class FixedCounter(msgspec.Struct, frozen=True):
    """One counter: value * 10**exponent in ``unit``; ``value`` is None where digits are none.

    ``raw`` holds the four octets as sent. ``code`` is the unit code as sent, 3Eh for a
    historic value in the unit of the other counter.
    """

    value: int | None
    unit: str
    exponent: int
    quantity: str
    historic: bool
    fixed_date: bool
    raw: bytes
    code: int


class FixedData(msgspec.Struct, frozen=True):
    """The fixed data structure; ``big_endian`` if its counters are sent most significant octet first.

    ``additional`` holds what stands behind the sixteen octets.
    """

    identification: str
    access_number: int
    status: FixedStatus
    medium: int
    counters: tuple[FixedCounter, FixedCounter]
    big_endian: bool = False
    additional: bytes = b""

    @property
    def medium_name(self) -> str:
        """Name of the medium; "reserved" for code 9 and 15."""
        entry = FIXED_MEDIA[self.medium]
        return entry.name if entry is not None else "reserved"

    def encode(self) -> bytes:
        """The sixteen octets behind the CI field. Raises NotRepresentable or OutOfRange."""
        try:
            number = bytes.fromhex(self.identification)
        except ValueError:
            number = b""
        if len(number) != 4 or any(len(counter.raw) != 4 for counter in self.counters):
            raise NotRepresentable(
                "the number has eight digits and a counter four octets",
                field="identification",
                value=self.identification,
                layer=_LAYER,
            )
        if not (0 <= self.access_number <= 0xFF and 0 <= self.medium <= 15):
            raise OutOfRange("access number or medium out of range", field="medium", value=self.medium, layer=_LAYER)
        first, second = self.counters
        units = (first.code & 0x3F | (self.medium & 3) << 6, second.code & 0x3F | (self.medium >> 2) << 6)
        if self.big_endian and not MEDIUM_IS_LITTLE_ENDIAN:
            units = units[::-1]
        head = (number if self.big_endian else number[::-1]) + bytes((self.access_number, self.status, *units))
        return head + first.raw + second.raw + self.additional


def _counter(raw: bytes, code: int, other: int, status: FixedStatus, big_endian: bool) -> FixedCounter:
    historic = code == _SAME_UNIT
    entry = FIXED_UNITS[other if historic else code]
    low_first = raw[::-1] if big_endian else raw
    value = int.from_bytes(low_first, "little", signed=True) if status.binary else decode_bcd(low_first)
    known = entry is not None and entry.code != _SAME_UNIT
    return FixedCounter(
        value,
        entry.unit if entry is not None and known else "",
        entry.exponent if entry is not None and known else 0,
        entry.quantity if entry is not None and known else "unknown",
        historic,
        bool(status.fixed_date),
        raw,
        code,
    )


def decode(octets: bytes, big_endian: bool = False) -> FixedData:
    """Read the fixed data structure behind CI 73, or CI 77 with ``big_endian``.

    Octets   0..3    identification number, BCD
             4, 5    access number, status (``FixedStatus``)
             6..7    medium and unit codes, least significant octet first in both forms
             8..15   two counters, BCD or signed binary by bit 0 of the status
             Media 10 to 14 ("mode 2") also say that the counters come most significant octet first
    Source   The M-Bus: A Documentation, revision 4.8, section 6.3.1
    Units    table ``fixed_units``
    Raises   Truncated if fewer than sixteen octets are there; octets behind them are kept
    """
    if len(octets) < SIZE:
        raise Truncated(f"the fixed structure has {SIZE} octets, {len(octets)} are left", layer=_LAYER, offset=0, octets=octets)
    low, high = octets[6], octets[7]
    if big_endian and not MEDIUM_IS_LITTLE_ENDIAN:
        low, high = high, low
    medium = low >> 6 | (high >> 6) << 2
    entry = FIXED_MEDIA[medium]
    big_endian = big_endian or (entry is not None and entry.msb_first)
    status = FixedStatus(octets[5])
    first, second = low & 0x3F, high & 0x3F
    number = octets[:4] if big_endian else octets[3::-1]
    return FixedData(
        number.hex().upper(),
        octets[4],
        status,
        medium,
        (
            _counter(octets[8:12], first, second, status, big_endian),
            _counter(octets[12:16], second, first, status, big_endian),
        ),
        big_endian,
        octets[SIZE:],
    )


# -- the same as records ------------------------------------------------------------------------

#: quantity and unit -> the VIFs of it: first VIF, its exponent, number of them
_VIF_RUNS = {
    ("energy", "Wh"): (0x03, 0, 5),
    ("energy", "J"): (0x08, 0, 8),
    ("power", "W"): (0x2B, 0, 5),
    ("power", "J/h"): (0x30, 0, 8),
    ("volume", "m3"): (0x10, -6, 8),
    ("volume flow", "m3/h"): (0x38, -6, 8),
}


def _run(vif: int, lowest: int, count: int) -> dict[int, bytes]:
    """Exponent -> VIB: the VIFs of a run, and above it the highest ones times 10 (77), 1000 (7D) or both."""
    top, highest = vif + count - 1, lowest + count - 1
    vibs = {lowest + index: bytes((vif + index,)) for index in range(count)}
    return vibs | {
        highest + 1: bytes((top | 0x80, 0x77)),
        highest + 2: bytes((top - 1 | 0x80, 0x7D)),
        highest + 3: bytes((top | 0x80, 0x7D)),
        highest + 4: bytes((top | 0x80, 0xFD, 0x77)),
    }


_VIBS = {(*key, exponent): vib for key, run in _VIF_RUNS.items() for exponent, vib in _run(*run).items()}
_VIBS |= {("HCA units", "", 0): b"\x6e", ("dimensionless", "", 0): b"\xfd\x3a"}
#: a temperature of unknown place has no VIF: plain text unit, times 10^-3
_TEMPERATURE_VIB, _TEMPERATURE_TEXT = b"\xfc\x73\x02C\xb0", "°C"
_BCD_FIELD, _BINARY_FIELD = 0x0C, 0x04


def _record(counter: FixedCounter, data: FixedData) -> Record | None:
    text = None
    vib = _VIBS.get((counter.quantity, counter.unit, counter.exponent))
    if counter.quantity == "temperature":
        vib, text = _TEMPERATURE_VIB, _TEMPERATURE_TEXT
    if vib is None:
        return None
    field = _BINARY_FIELD if data.status.binary else _BCD_FIELD
    header = header_of(encode_dib(field, storage=counter.historic + counter.fixed_date), vib, text)
    raw = counter.raw[::-1] if data.big_endian else counter.raw
    return Record(header, raw, converter(header)(raw))


def records(fixed: FixedData) -> tuple[Record, ...]:
    """The counters as normal records, value for value.

    A historic value and a fixed-date value each raise the storage number by one. Counters of
    time, date and unknown units have no VIB and give no record.
    """
    made = (_record(counter, fixed) for counter in fixed.counters)
    return tuple(record for record in made if record is not None)
