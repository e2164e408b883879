"""Hypothesis strategies made from the declarations of the layers and from the tables of record headers.

layers(Kind)        any declared layer: values by its coding, fields present by their bits
addresses()         hard and soft addresses;  patterns() with wildcards, selections()
wired_frames() wireless_frames() extended_links() fragmentations() transport_headers()
dibs() vibs() record_headers() record_octets() messages()
contents(header)    what a record of this header can carry;  meter_times()
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from openmetering.codec.address import Address, Selection
from openmetering.codec.afl import AuthenticationFragmentation, KeyInformation, MessageControl
from openmetering.codec.apl.header import LVAR, MAX_EXTENSIONS, RecordHeader, header_of
from openmetering.codec.apl.values import UNSIGNED_TYPES, lvar_length
from openmetering.codec.ell import KINDS, CommunicationControl, ExtendedLink, SessionNumber
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import CONFIGURATIONS, TransportHeader
from openmetering.tables import VIF_FB, VIF_FD, VIF_FDFD, VIF_MAIN
from openmetering.wire import BitField, Layer, LayerField
from openmetering.wire.types import EVERY, MeterTime, decode_real32

octet = st.integers(0, 0xFF)


def number(octets: int) -> st.SearchStrategy[int]:
    """An unsigned integer of a number of octets, its limits included often."""
    return st.integers(0, (1 << 8 * octets) - 1)


def bit_field(kind: type[BitField], octets: int) -> st.SearchStrategy[Any]:
    """Any value of a bit field, unnamed bits included."""
    return number(octets).map(kind)


# -- declared layers --------------------------------------------------------------------------


def field(row: LayerField) -> st.SearchStrategy[Any]:
    """Values of one row of a declaration."""
    if row.coding.raw:
        return st.binary(min_size=row.coding.size, max_size=row.coding.size)
    if row.bit_field is not None:
        return bit_field(row.bit_field, row.coding.size)
    return number(row.coding.size)


@st.composite
def layers(draw: st.DrawFn, kind: type[Layer]) -> Layer:
    """An instance of a declared layer; conditional fields are there exactly when their bits say so."""
    values: dict[str, Any] = {}
    for row in kind.fields_of():
        present = row.when is None or values[row.when.field] & row.when.bits.mask
        values[row.name] = draw(field(row)) if present else None
    return kind(**values)


# -- addresses --------------------------------------------------------------------------------


def digits(count: int, alphabet: str = "0123456789") -> st.SearchStrategy[str]:
    """A number of that many digits as text."""
    return st.text(alphabet=alphabet, min_size=count, max_size=count)


def addresses() -> st.SearchStrategy[Address]:
    """Addresses as devices have them: any 16-bit manufacturer (bit 15 = soft), decimal number."""
    return st.builds(Address, number(2), digits(8), octet, octet)


def patterns() -> st.SearchStrategy[Address]:
    """Address patterns: F digits, FFFFh, FFh and FFh are wildcards."""
    return st.builds(Address, number(2) | st.just(0xFFFF), digits(8, "0123456789F"), octet | st.just(0xFF), octet | st.just(0xFF))


def selections() -> st.SearchStrategy[Selection]:
    """Plain and enhanced secondary selections."""
    return st.builds(Selection, patterns(), st.none() | digits(8, "0123456789F"))


# -- frames and headers -----------------------------------------------------------------------


def control_fields() -> st.SearchStrategy[ControlField]:
    """Any C field."""
    return bit_field(ControlField, 1)


def wired_frames() -> st.SearchStrategy[WiredFrame]:
    """Wired frames of every kind."""
    return st.one_of(
        st.just(WiredFrame("single")),
        st.builds(WiredFrame.short, octet, octet),
        st.builds(WiredFrame.long, octet, octet, st.binary(min_size=1, max_size=253)),
    )


def wireless_frames(frame_format: str | None = "A", *, crc: bool = True) -> st.SearchStrategy[WirelessFrame]:
    """Wireless frames of one format up to its greatest length."""
    greatest = 242 if frame_format == "B" else 246
    return st.builds(
        WirelessFrame, control_fields(), addresses(), st.binary(max_size=greatest), st.just(frame_format), st.just(crc)
    )


@st.composite
def extended_links(draw: st.DrawFn) -> ExtendedLink:
    """The extended link layer of every kind that can be sent."""
    ci = draw(st.sampled_from(sorted(KINDS)))
    session = ci in (0x8D, 0x8F)
    return ExtendedLink(
        ci,
        draw(bit_field(CommunicationControl, 1)),
        draw(octet),
        draw(addresses()) if ci in (0x8E, 0x8F) else None,
        draw(bit_field(SessionNumber, 4)) if session else None,
        draw(number(2)) if session else None,
    )


def fragmentations() -> st.SearchStrategy[AuthenticationFragmentation]:
    """The authentication and fragmentation layer with any set of fields."""
    return st.builds(
        AuthenticationFragmentation.build,
        fragment_id=octet,
        more_fragments=st.booleans(),
        message_control=st.none() | bit_field(MessageControl, 1),
        key_information=st.none() | bit_field(KeyInformation, 2),
        counter=st.none() | number(4),
        mac=st.none() | st.binary(min_size=1, max_size=32),
        message_length=st.none() | number(2),
    )


def extension_size(mode: int, configuration: int, first: int) -> int:
    """Octets between configuration field and payload, told once more in words of the standard."""
    if mode == 10:
        return 2 + (first >> 6 & 1) + (4 if configuration & 0x2000 else 0)
    if mode == 9:
        return 8 if configuration & 0x6000 == 0x6000 else 6
    return 1 if mode in (7, 8, 13) else 0


@st.composite
def transport_headers(draw: st.DrawFn, ci: int = 0x7A) -> TransportHeader:
    """Transport headers of every kind and security mode."""
    kind = draw(st.sampled_from(["none", "short", "long"]))
    if kind == "none":
        return TransportHeader(ci)
    mode = draw(st.integers(0, 31))
    value = draw(number(2)) & ~0x1F00 | mode << 8
    first = draw(octet)
    size = extension_size(mode, value, first)
    extension = (bytes((first,)) + draw(st.binary(min_size=size - 1, max_size=size - 1))) if size else b""
    address = draw(addresses()) if kind == "long" else None
    return TransportHeader(ci, kind, address, draw(octet), draw(octet), CONFIGURATIONS[mode](value), extension)


# -- record headers ---------------------------------------------------------------------------


def chain(first: int, *behind: int) -> bytes:
    """Octets of a DIB or VIB: bit 7 is set in all but the last."""
    codes = (first, *behind)
    return bytes(code | 0x80 for code in codes[:-1]) + bytes((codes[-1] & 0x7F,))


@st.composite
def dibs(draw: st.DrawFn, data_fields: st.SearchStrategy[int] | None = None) -> bytes:
    """DIBs with any function and up to ten DIFEs; no special functions."""
    data_field = draw(data_fields if data_fields is not None else st.integers(0, 14))
    extensions = draw(st.lists(st.integers(0, 0x7F), max_size=MAX_EXTENSIONS) | st.just([]))
    return chain(data_field | draw(st.integers(0, 7)) << 4, *extensions)


_PLAIN = [code for code in range(0x80) if code not in (0x7B, 0x7C, 0x7D)]
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x100) if code < 0x7F or code >= 0xA0)


def _true_vifs() -> st.SearchStrategy[list[int]]:
    """The octets of a true VIF, bit 7 left to ``chain``."""
    return st.one_of(
        st.sampled_from([code for code in _PLAIN if VIF_MAIN[code] is not None]).map(lambda code: [code]),
        st.sampled_from([code for code in range(0x80) if VIF_FB[code] is not None]).map(lambda code: [0x7B, code]),
        st.sampled_from([code for code in range(0x80) if VIF_FD[code] is not None and code != 0x7D]).map(
            lambda code: [0x7D, code]
        ),
        st.sampled_from([code for code in range(0x80) if VIF_FDFD[code] is not None]).map(lambda code: [0x7D, 0x7D, code]),
        st.sampled_from(_PLAIN).map(lambda code: [code]),
        st.sampled_from([0x6C, 0x6D]).map(lambda code: [code]),
    )


@st.composite
def vibs(draw: st.DrawFn, *, plain_text: bool = True) -> tuple[bytes, str | None]:
    """A VIB of known and unknown codes with up to ten VIFEs, and its plain text if it has one."""
    if plain_text and draw(st.integers(0, 9)) == 0:
        text = draw(st.text(alphabet=_PRINTABLE, min_size=1, max_size=12))
        codes = chain(0x7C, *draw(st.lists(st.integers(0, 0x7F), max_size=4)))
        return codes + bytes((len(text),)) + text.encode("latin-1")[::-1], text
    true = draw(_true_vifs())
    extensions = draw(st.just([]) | st.lists(st.integers(0, 0x7F), max_size=MAX_EXTENSIONS + 1 - len(true)))
    return chain(*true, *extensions), None


@st.composite
def record_headers(draw: st.DrawFn, data_fields: st.SearchStrategy[int] | None = None, *, uplink: bool = True) -> RecordHeader:
    """Compiled headers of records."""
    vib, text = draw(vibs())
    return header_of(draw(dibs(data_fields)), vib, text, uplink=uplink)


# -- contents ---------------------------------------------------------------------------------


def singles() -> st.SearchStrategy[Decimal]:
    """Every finite 32-bit real, as the decimal the decoder gives."""
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return finite.map(lambda value: decode_real32(struct.pack("<f", value)) or Decimal(0))


@st.composite
def meter_times(draw: st.DrawFn, kind: str) -> MeterTime:
    """Valid dates and times of data types F, G, I, J and M, periodic ones included."""
    if kind == "M":
        return MeterTime("M", relative=draw(number(3) | number(6)))
    every = st.just(EVERY)
    if kind == "J":
        return MeterTime("J", hour=draw(st.integers(0, 23)), minute=draw(st.integers(0, 59)), second=draw(st.integers(0, 59)))
    latest = 2299 if kind == "F" else 2080
    month = draw(st.integers(1, 12))
    last = {2: 28, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31)
    values: dict[str, Any] = {
        "year": draw(st.integers(1981, latest) | every),
        "month": draw(st.just(month) | every),
        "day": draw(st.integers(1, last) | every),
    }
    if kind == "G":
        if values["year"] == values["month"] == EVERY and values["day"] == 31:  # these octets are the invalid mark
            values["day"] = 30
        return MeterTime("G", **values)
    values |= {"hour": draw(st.integers(0, 23) | every), "minute": draw(st.integers(0, 59) | every)}
    values["summer_time"] = draw(st.booleans())
    if kind == "F":
        return MeterTime("F", **values)
    # "every" is "not specified" in a date of type I; the date of an all-zero time must say something
    values |= {name: None if values[name] == EVERY else values[name] for name in ("year", "month", "day")}
    values["month"] = values["month"] or month
    values |= {"second": draw(st.integers(0, 59) | every), "leap_year": draw(st.booleans())}
    values |= {"day_of_week": draw(st.none() | st.integers(1, 7)), "week": draw(st.none() | st.integers(1, 53))}
    return MeterTime("I", **values, dst_deviation=draw(st.integers(-3, 3)))


_TYPE_OF_SIZE = {2: "G", 3: "J", 4: "F", 6: "I"}


def contents(header: RecordHeader) -> st.SearchStrategy[Any]:
    """What a record of this header can carry, apart from invalid marks."""
    size = header.length or 0
    kind = header.kind
    if kind == "none":
        return st.none()
    if kind == "real":
        return singles()
    if kind == "date":
        return meter_times(_TYPE_OF_SIZE[size])
    if kind == "bcd":
        return st.integers(1 - 10 ** (2 * size - 1), 10 ** (2 * size) - 1)
    if kind == "unsigned":
        return number(size)
    if kind == "signed":
        limit = 1 << 8 * size - 1
        return st.integers(1 - limit, limit - 1)
    return _variable_contents(header)


def _variable_contents(header: RecordHeader) -> st.SearchStrategy[Any]:
    if header.profile is not None or header.data_type in ("D", "K", "L", "raw"):
        return st.binary(max_size=60)
    if header.data_type == "date":
        return meter_times("M")
    numbers = number(12) if header.data_type in UNSIGNED_TYPES else st.integers(-(1 << 95), (1 << 95) - 1)
    return numbers | st.text(alphabet=_PRINTABLE, max_size=60)


# -- record octets ----------------------------------------------------------------------------

LVARS = [code for code in range(0x100) if lvar_length(code) is not None]


@st.composite
def record_octets(draw: st.DrawFn, *, uplink: bool = True) -> bytes:
    """One record with any data octets: valid and invalid values alike."""
    header = draw(record_headers(uplink=uplink))
    if header.data_field != LVAR:
        size = header.length or 0
        return header.octets + draw(st.binary(min_size=size, max_size=size))
    lvar = draw(st.integers(0, 40) | st.sampled_from(LVARS))
    size = lvar_length(lvar) or 0
    return header.octets + bytes((lvar,)) + draw(st.binary(min_size=size, max_size=size))


@st.composite
def messages(draw: st.DrawFn, *, uplink: bool = True) -> tuple[list[bytes], bytes]:
    """A message: its parts (records and fillers in order) and the manufacturer's block with its DIF, or nothing."""
    parts = draw(st.lists(record_octets(uplink=uplink) | st.integers(1, 4).map(lambda count: b"\x2f" * count), max_size=8))
    block = draw(st.just(b"") | st.tuples(st.sampled_from([b"\x0f", b"\x1f"]), st.binary(max_size=20)).map(b"".join))
    return parts, block
