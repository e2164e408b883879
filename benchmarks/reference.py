"""A straightforward decoder of mode 5 telegrams: what one writes with the standard at hand.

It is the yardstick for the format plan, so it is written to be read: a frozen dataclass for
each part, a new cipher for each telegram, one record after the other, and nothing kept from one
telegram to the next. It uses the same tables of the standard as openmetering, but none of
its code. It knows wireless frames without CRCs, the short and the long header, the extended link
layer of kind I, security modes 0 and 5, and all records with numbers, dates and text.
Tests compare it, record by record, with the general reader and with the plan.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from openmetering.tables import VIF_FB, VIF_FD, VIF_MAIN, VIFE, VIFE_FC, ValueInformation

__all__ = ["Record", "Telegram", "decode"]

DATA_LENGTH = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6, None)
FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")
UNSIGNED = ("C", "D", "K", "L", "raw")
FILLER = 0x2F


@dataclass(frozen=True)
class Address:
    """Manufacturer, identification number, version and device type."""

    manufacturer: int
    identification: str
    version: int
    device_type: int


@dataclass(frozen=True)
class Link:
    """The wireless link layer."""

    control: int
    address: Address
    data: bytes


@dataclass(frozen=True)
class ExtendedLink:
    """The extended link layer of kind I (CI 8C)."""

    communication_control: int
    access_number: int


@dataclass(frozen=True)
class Transport:
    """The short or long header."""

    ci: int
    address: Address | None
    access_number: int
    status: int
    configuration: int


@dataclass(frozen=True)
class Header:
    """The meaning of a DIB and a VIB."""

    octets: bytes
    data_field: int
    function: str
    storage: int
    tariff: int
    subunit: int
    quantity: str
    unit: str
    exponent: int
    data_type: str
    qualifiers: tuple[str, ...]


@dataclass(frozen=True)
class Date:
    """A date, with the time where the data type has one."""

    year: int
    month: int
    day: int
    hour: int | None = None
    minute: int | None = None
    second: int | None = None

    def isoformat(self) -> str:
        """ISO 8601."""
        text = f"{self.year:04d}-{self.month:02d}-{self.day:02d}"
        if self.hour is not None:
            text += f"T{self.hour:02d}:{self.minute:02d}"
        return text if self.second is None else f"{text}:{self.second:02d}"


@dataclass(frozen=True)
class Record:
    """One data point: ``content`` is the number before scaling, a date or a text."""

    header: Header
    raw: bytes
    content: int | float | Date | str | None

    @property
    def value(self) -> Decimal | Date | str | None:
        """The scaled value."""
        if isinstance(self.content, int):
            return Decimal(self.content).scaleb(self.header.exponent)
        if isinstance(self.content, float):
            return Decimal(str(self.content)).scaleb(self.header.exponent)
        return self.content


@dataclass(frozen=True)
class Telegram:
    """One frame with all its layers."""

    link: Link
    extended_link: ExtendedLink | None
    transport: Transport
    payload: bytes
    records: tuple[Record, ...]


# -- layers ------------------------------------------------------------------------------------------


def decode(frame: bytes, keys: Mapping[bytes, bytes]) -> Telegram:
    """Decode a frame; ``keys`` by address in link-layer order. Raises ValueError, KeyError or IndexError."""
    if len(frame) < 12 or frame[0] != len(frame) - 1:
        raise ValueError("the length does not fit")
    link = Link(frame[1], _address(frame[2:10]), frame[10:])
    data, at, extended = link.data, 0, None
    if data[at] == 0x8C:
        extended = ExtendedLink(data[at + 1], data[at + 2])
        at += 3
    ci, meter, meter_octets = data[at], None, frame[2:10]
    at += 1
    if ci == 0x72:
        meter_octets = data[at + 4 : at + 6] + data[at : at + 4] + data[at + 6 : at + 8]
        meter = _address(meter_octets)
        at += 8
    elif ci != 0x7A:
        raise ValueError(f"CI {ci:02X}")
    transport = Transport(ci, meter, data[at], data[at + 1], data[at + 2] | data[at + 3] << 8)
    payload = _decrypt(transport, meter_octets, data[at + 4 :], keys)
    return Telegram(link, extended, transport, payload, tuple(_records(payload)))


def _address(octets: bytes) -> Address:
    return Address(octets[0] | octets[1] << 8, octets[5:1:-1].hex().upper(), octets[6], octets[7])


def _decrypt(transport: Transport, meter: bytes, payload: bytes, keys: Mapping[bytes, bytes]) -> bytes:
    """Security mode 5: AES-CBC, IV of the address and eight times the access number."""
    mode = transport.configuration >> 8 & 0x1F
    if mode == 0:
        return payload
    if mode != 5:
        raise ValueError(f"mode {mode}")
    blocks = transport.configuration >> 4 & 0x0F
    length = len(payload) - len(payload) % 16 if blocks == 15 else 16 * blocks
    iv = meter + bytes((transport.access_number,)) * 8
    decryptor = Cipher(algorithms.AES(keys[meter]), modes.CBC(iv)).decryptor()
    plain = decryptor.update(payload[:length]) + decryptor.finalize() + payload[length:]
    if plain[:2] != b"\x2f\x2f":
        raise ValueError("wrong key")
    return plain


# -- records -----------------------------------------------------------------------------------------


def _records(octets: bytes) -> list[Record]:
    found, at = [], 0
    while at < len(octets):
        if octets[at] == FILLER:
            at += 1
            continue
        if octets[at] & 0x0F == 0x0F:
            break
        header, at = _header(octets, at)
        length = DATA_LENGTH[header.data_field]
        if length is None:
            length = octets[at]
            at += 1
            if length > 0xBF:
                raise ValueError("only text of variable length")
        raw = octets[at : at + length]
        if len(raw) < length:
            raise ValueError("the record is cut off")
        at += length
        found.append(Record(header, raw, _content(header, raw)))
    return found


def _header(octets: bytes, at: int) -> tuple[Header, int]:
    start, dif = at, octets[at]
    storage, tariff, subunit, place = dif >> 6 & 1, 0, 0, 0
    while octets[at] & 0x80:
        at += 1
        storage |= (octets[at] & 0x0F) << 1 + 4 * place
        tariff |= (octets[at] >> 4 & 3) << 2 * place
        subunit |= (octets[at] >> 6 & 1) << place
        place += 1
    at += 1
    entry, more, at = _value_information(octets, at)
    unit, exponent, qualifiers = entry.unit, entry.exponent, []
    while more:
        code, table = octets[at] & 0x7F, VIFE
        if code == 0x7C and octets[at] & 0x80:
            at += 1
            code, table = octets[at] & 0x7F, VIFE_FC
        extension = table[code]
        if extension is None:
            raise ValueError(f"VIFE {code:02X}")
        if extension.kind == "scale":
            exponent += extension.exponent
        else:
            unit += extension.unit
            qualifiers.append(extension.name)
        more = octets[at] & 0x80
        at += 1
    header = Header(
        octets[start:at], dif & 0x0F, FUNCTIONS[dif >> 4 & 3], storage, tariff, subunit,
        entry.quantity, unit, exponent, entry.data_type, tuple(qualifiers),
    )  # fmt: skip
    return header, at


def _value_information(octets: bytes, at: int) -> tuple[ValueInformation, int, int]:
    """The table row of a VIF, whether VIFEs follow, and the offset behind the VIF."""
    table, vif = VIF_MAIN, octets[at]
    if vif in (0xFB, 0xFD):
        table = VIF_FB if vif == 0xFB else VIF_FD
        at += 1
    entry = table[octets[at] & 0x7F]
    if entry is None:
        raise ValueError(f"VIF {octets[at]:02X}")
    return entry, octets[at] & 0x80, at + 1


def _content(header: Header, raw: bytes) -> int | float | Date | str | None:
    field = header.data_field
    if field == 13:
        return raw[::-1].decode("latin-1")
    if field in (0, 8):
        return None
    if field == 5:
        return float(struct.unpack("<f", raw)[0])
    if field >= 9:
        digits = raw[::-1].hex()
        if digits[0] == "f":
            return -int(digits[1:])
        return int(digits) if digits.isdecimal() else None
    if header.data_type == "date":
        return _date(raw)
    return int.from_bytes(raw, "little", signed=header.data_type not in UNSIGNED)


def _date(raw: bytes) -> Date | None:
    """Types G, F and I; None where the device marks the time invalid."""
    if len(raw) == 2:
        return Date(_year(raw[0], raw[1]), raw[1] & 0x0F, raw[0] & 0x1F)
    if len(raw) == 4:
        if raw[0] & 0x80:
            return None
        hundreds = raw[1] >> 5 & 3
        year = _year(raw[2], raw[3])
        year = 1900 + 100 * hundreds + year % 100 if hundreds else year
        return Date(year, raw[3] & 0x0F, raw[2] & 0x1F, raw[1] & 0x1F, raw[0] & 0x3F)
    if len(raw) == 6:
        if raw[1] & 0x80:
            return None
        return Date(_year(raw[3], raw[4]), raw[4] & 0x0F, raw[3] & 0x1F, raw[2] & 0x1F, raw[1] & 0x3F, raw[0] & 0x3F)
    raise ValueError(f"a date of {len(raw)} octets")


def _year(low: int, high: int) -> int:
    short = low >> 5 | (high >> 4) << 3
    return 2000 + short if short <= 80 else 1900 + short
