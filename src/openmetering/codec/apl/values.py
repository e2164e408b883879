"""Data octets of a record to its content and back, chosen once per header.

Content is what the octets say before scaling: an integer, a Decimal (type H), a
``MeterTime``, text, octets, or None where there is no value. ``number_text`` writes the
scaled decimal with exactly the digits of the telegram.
Source: EN 13757-3 (data fields, LVAR; clause to confirm).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal

from openmetering.codec.address import Address
from openmetering.codec.apl.header import LVAR, UNSIGNED_TYPES, RecordHeader
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.wire.types import (
    MeterTime,
    decode_bcd,
    decode_date,
    decode_real32,
    decode_type_m,
    encode_bcd,
    encode_date,
    encode_integer,
    encode_real32,
)

__all__ = [
    "Content",
    "converter",
    "decode_identification",
    "encode_content",
    "lvar_content",
    "lvar_length",
    "number_text",
    "scaled",
]

Content = int | Decimal | MeterTime | str | bytes | None

#: arithmetic of its own: more digits than any record carries, whatever the caller's decimal context
_EXACT = Context(prec=400)
_RAW_LVAR_TYPES = frozenset(("D", "K", "L", "raw"))


def _nothing(raw: bytes) -> Content:
    return None


def _signed(raw: bytes) -> Content:
    return int.from_bytes(raw, "little", signed=True)


def _unsigned(raw: bytes) -> Content:
    return int.from_bytes(raw, "little")


def decode_identification(raw: bytes) -> Content:
    """Enhanced identification (VIF 79h with eight octets): number, manufacturer, version, device type."""
    return str(Address.from_transport(raw))


_CONVERTERS: dict[str, Callable[[bytes], Content]] = {
    "address": decode_identification,
    "none": _nothing,
    "real": decode_real32,
    "bcd": decode_bcd,
    "date": decode_date,
    "unsigned": _unsigned,
    "signed": _signed,
}


def converter(header: RecordHeader) -> Callable[[bytes], Content]:
    """The function that reads the data octets of a header with fixed length."""
    return _CONVERTERS[header.kind]


def kind_of(header: RecordHeader) -> str:
    """How the data of a header are coded: none, real, bcd, date, unsigned, signed or variable."""
    return header.kind


# -- variable length ------------------------------------------------------------------------


def lvar_length(lvar: int) -> int | None:
    """Octets that follow an LVAR octet; None for reserved codes.

    00..BF text or raw, C0..C9 positive BCD, D0..D9 negative BCD, E0..EF binary,
    F0..F4 binary of 16 to 32 octets, F5 48 octets, F6 64 octets.
    """
    if lvar < 0xC0:
        return lvar
    low = lvar & 0x0F
    if lvar < 0xE0:
        return low if low < 10 else None
    if lvar < 0xF0:
        return low
    if lvar < 0xF5:
        return 4 * (lvar - 0xEC)
    return {0xF5: 48, 0xF6: 64}.get(lvar)


def lvar_content(header: RecordHeader, lvar: int, raw: bytes) -> Content:
    """Content of a record of variable length."""
    if lvar < 0xC0:
        if header.profile is not None or header.data_type in _RAW_LVAR_TYPES:
            return raw
        text = raw[::-1].decode("latin-1")
        return raw if header.quantity == "manufacturer" and not text.isprintable() else text
    if lvar < 0xE0:
        number = decode_bcd(raw) if raw else 0
        if number is None or number < 0:
            return None
        return number if lvar < 0xD0 else -number
    if header.data_type == "date":
        return decode_type_m(raw)
    if header.data_type in ("K", "L", "raw"):
        return raw
    return int.from_bytes(raw, "little", signed=header.data_type not in UNSIGNED_TYPES)


# -- numbers --------------------------------------------------------------------------------


def scaled(header: RecordHeader, content: int | Decimal) -> Decimal:
    """The number in the header's unit: content * 10**exponent * 2**scale2 + addend, exact."""
    value = Decimal(f"{content}E{header.exponent}") if isinstance(content, int) else content.scaleb(header.exponent, _EXACT)
    if header.scale2:
        value = _EXACT.divide(value, 1 << -header.scale2)
    if header.addend is not None:
        value = _EXACT.add(value, header.addend)
    return value


def number_text(mantissa: int, exponent: int) -> str:
    """mantissa * 10**exponent as plain decimal text with all its digits, e.g. (2850427, -2) -> 28504.27."""
    if exponent >= 0:
        return str(mantissa) + "0" * exponent if mantissa else "0"
    digits = str(mantissa)
    sign = ""
    if mantissa < 0:
        sign, digits = "-", digits[1:]
    point = len(digits) + exponent
    if point > 0:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    return f"{sign}0.{'0' * -point}{digits}"


def unscaled(header: RecordHeader, value: Decimal) -> int | Decimal:
    """The content for a number in the header's unit.

    Raises NotRepresentable if the number has more digits than the exponent allows, OutOfRange if it is beyond all data fields.
    """
    if not value.is_finite() or abs(value.adjusted()) > _EXACT.prec // 2:
        raise OutOfRange(f"{value} fits no record", field="value", value=value)
    if header.addend is not None:
        value = _EXACT.subtract(value, header.addend)
    if header.scale2:
        value = _EXACT.multiply(value, 1 << -header.scale2)
    shifted = value.scaleb(-header.exponent, _EXACT)
    if header.data_field == 5:
        return shifted
    number = int(shifted)
    if number != shifted:
        raise NotRepresentable(
            f"{value} {header.unit} is finer than the resolution 10^{header.exponent} of the record", field="value", value=value
        )
    return number


# -- encoding -------------------------------------------------------------------------------


def _integer(content: Content) -> int:
    if not isinstance(content, int):
        raise NotRepresentable(f"the data field takes an integer, got {content!r}", field="value", value=content)
    return content


def _encode_lvar(header: RecordHeader, content: Content) -> tuple[int, bytes]:
    if isinstance(content, str):
        try:
            raw = content.encode("latin-1")[::-1]
        except UnicodeEncodeError:
            raise NotRepresentable("text is limited to ISO 8859-1", field="value", value=content) from None
    elif isinstance(content, bytes):
        raw = content
    elif isinstance(content, MeterTime):
        raw = encode_date(content)
        return 0xE0 + len(raw), raw
    else:
        number = _integer(content)
        signed = header.data_type not in UNSIGNED_TYPES
        size = max(1, (number.bit_length() + (8 if signed else 7)) // 8)
        if size > 15:
            raise OutOfRange(f"{number} does not fit 15 octets", field="value", value=number)
        return 0xE0 + size, encode_integer(number, size, signed=signed)
    if len(raw) >= 0xC0:
        raise OutOfRange(f"a record holds 191 octets of text, got {len(raw)}", field="value", value=len(raw))
    return len(raw), raw


def encode_content(header: RecordHeader, content: Content) -> tuple[int | None, bytes]:
    """LVAR octet (None for fixed length) and data octets of a content. Raises EncodeError."""
    if header.data_field == LVAR:
        return _encode_lvar(header, content)
    kind, size = header.kind, header.length or 0
    if kind == "none":
        if content is not None:
            raise NotRepresentable("the data field carries no data", field="value", value=content)
        return None, b""
    if content is None:
        return None, _invalid_octets(header, kind, size)
    if kind == "real":
        if not isinstance(content, int | Decimal):
            raise NotRepresentable(f"the data field takes a number, got {content!r}", field="value", value=content)
        return None, encode_real32(Decimal(content))
    if kind == "date":
        if not isinstance(content, MeterTime):
            raise NotRepresentable(f"the data field takes a date, got {content!r}", field="value", value=content)
        raw = encode_date(content)
        if len(raw) != size:
            raise NotRepresentable(f"data type {content.type} does not fit {size} octets", field="value", value=content.type)
        return None, raw
    if kind == "address" and isinstance(content, str):
        return None, Address.parse(content).transport_octets()
    if kind == "bcd":
        return None, encode_bcd(_integer(content), size)
    return None, encode_integer(_integer(content), size, signed=kind == "signed")


def _invalid_octets(header: RecordHeader, kind: str, size: int) -> bytes:
    if kind == "signed":
        return b"\x00" * (size - 1) + b"\x80"
    if kind == "date" and size == 4:
        return b"\x80\x00\x00\x00"
    if kind == "date" and size == 6:
        return b"\x00\x80\x00\x00\x00\x00"
    if kind == "real":
        return b"\x00\x00\xc0\x7f"
    return b"\xff" * size
