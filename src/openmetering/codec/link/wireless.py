"""Wireless frames: formats A and B of EN 13757-4, with and without CRCs.

    format A   L C M M A A A A A A | CRC | 16 octets | CRC | 16 octets | CRC ...   L without CRCs
    format B   L C M M A A A A A A   up to 116 octets | CRC | up to 126 octets | CRC   L with CRCs
    no CRCs    L C M M A A A A A A   data                                        L as in format A

Source: EN 13757-4 (frame formats, clause to confirm); OMS Volume 2 5.0.1 clause 5.2; Annex N.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.link.control import ControlField, message_name
from openmetering.errors import BadChecksum, DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.wire import crc16_octets

__all__ = ["FORMATS", "WirelessFrame", "frame", "strip_crc", "unframe"]

FORMATS = ("A", "B")
HEADER = 10  #: octets of the first block: L, C, M, A
_LAYER = "link"
_HEADLESS = "A-"  #: format A without the CRC of its first block, as some receivers deliver it
_SHIFTED = "A+"  #: format A with its last CRC alone and L two too small, as rtl_433 delivers it
_FIRST_B = 126  #: octets of blocks 1 and 2 of format B that share a CRC


class WirelessFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame of the wireless link layer, CRCs gone.

    ``data`` starts with the CI field. ``frame_format`` is A, B or None where the octets came
    without CRCs; ``crc`` says whether CRCs were checked.
    """

    control: ControlField
    address: Address
    data: bytes
    frame_format: str | None = None
    crc: bool = False

    @property
    def message(self) -> str:
        """Name of the message, e.g. SND-NR."""
        return message_name(self.control)

    def octets(self) -> bytes:
        """The frame without CRCs: L (format A counting), C, M, A, data. Raises OutOfRange."""
        length = HEADER - 1 + len(self.data)
        if self.control > 255:
            raise OutOfRange("the control field takes one octet", field="control", value=int(self.control))
        if length > 255:
            raise OutOfRange(
                f"a wireless frame holds 246 octets behind the address, got {len(self.data)}", field="data", value=length
            )
        return bytes((length, self.control)) + self.address.link_octets() + self.data

    def encode(self) -> bytes:
        """The octets as on air if the frame has a format and CRCs, else without CRCs."""
        plain = self.octets()
        return frame(plain, self.frame_format or "A") if self.crc else plain


def frame(plain: bytes, frame_format: str = "A") -> bytes:
    """Add the CRCs of a frame format to a frame without CRCs; L is rewritten for format B.

    Raises OutOfRange if the frame does not fit, NotRepresentable for an unknown format.
    """
    if frame_format == "A":
        blocks = [plain[:HEADER], *(plain[at : at + 16] for at in range(HEADER, len(plain), 16))]
        return b"".join(block + crc16_octets(block) for block in blocks)
    if frame_format != "B":
        raise NotRepresentable(f"frame format is A or B, got {frame_format!r}", field="frame_format", value=frame_format)
    length = plain[0] + (2 if len(plain) <= _FIRST_B else 4)
    if length > 255:
        raise OutOfRange(f"L would be {length} in format B", field="length", value=length)
    plain = bytes((length,)) + plain[1:]
    first, second = plain[:_FIRST_B], plain[_FIRST_B:]
    octets = first + crc16_octets(first)
    return octets + second + crc16_octets(second) if second else octets


def _size_a(length: int) -> int:
    return length + 1 + 2 * (1 + max(0, (length - 9 + 15) // 16))


def _strip_a(octets: bytes) -> bytes:
    length = octets[0]
    size = _size_a(length)
    if len(octets) < size:
        raise Truncated(f"format A needs {size} octets, {len(octets)} are there", layer=_LAYER, offset=len(octets), octets=octets)
    parts, at, left = [], 0, length + 1
    take = HEADER
    while left > 0:
        take = min(take, left)
        block = octets[at : at + take]
        _verify(block, octets, at + take)
        parts.append(block)
        at += take + 2
        left -= take
        take = 16
    return b"".join(parts)


def _strip_headless(octets: bytes) -> bytes:
    return _strip_a(octets[:HEADER] + crc16_octets(octets[:HEADER]) + octets[HEADER:])


def _strip_b(octets: bytes) -> bytes:
    length = octets[0]
    size = length + 1
    if len(octets) < size:
        raise Truncated(f"format B needs {size} octets, {len(octets)} are there", layer=_LAYER, offset=len(octets), octets=octets)
    if size < HEADER + 2 or _FIRST_B + 2 < size < _FIRST_B + 5:  # a second block has data
        raise DecodeError(f"L = {length} is not possible in format B", layer=_LAYER, offset=0, octets=octets, code="frame.length")
    first_end = min(size - 2, _FIRST_B)
    first = octets[:first_end]
    _verify(first, octets, first_end)
    plain = first
    if size > _FIRST_B + 2:
        second = octets[_FIRST_B + 2 : size - 2]
        _verify(second, octets, size - 2)
        plain += second
    return bytes((len(plain) - 1,)) + plain[1:]


def _verify(block: bytes, octets: bytes, at: int) -> None:
    if crc16_octets(block) != octets[at : at + 2]:
        raise BadChecksum(
            f"CRC {octets[at : at + 2].hex().upper()}h, computed {crc16_octets(block).hex().upper()}h",
            layer=_LAYER,
            offset=at,
            octets=octets,
        )


def _strip_shifted(octets: bytes) -> bytes:
    return bytes((len(octets) - 3,)) + octets[1:-2]


_STRIP = {"A": _strip_a, "B": _strip_b, _HEADLESS: _strip_headless, _SHIFTED: _strip_shifted}


def strip_crc(octets: bytes, frame_format: str) -> bytes:
    """Check and remove the CRCs of a known format; L is given back in format A counting.

    Raises BadChecksum, Truncated, DecodeError, NotRepresentable.
    """
    strip = _STRIP.get(frame_format)
    if strip is None:
        raise NotRepresentable(f"frame format is A or B, got {frame_format!r}", field="frame_format", value=frame_format)
    return strip(octets)


def _is_cut(octets: bytes) -> bool:
    """True for format A that ends early, False where CI and access number are like the first CRC by chance (1 in 65 536)."""
    start, end = HEADER + 2, HEADER + 18
    return len(octets) < end + 2 or crc16_octets(octets[start:end]) == octets[end : end + 2]


def _is_headless(octets: bytes, size_a: int) -> bool:
    """True for format A whose first CRC a receiver took away while it left the others."""
    end = min(HEADER + 16, octets[0] + 1)
    return len(octets) == size_a - 2 and size_a > 14 and crc16_octets(octets[HEADER:end]) == octets[end : end + 2]


def _last_block(length: int) -> int:
    """Offset of the last block of format A in a frame without CRCs whose L field is ``length``."""
    return HEADER + (length - HEADER) // 16 * 16


def _is_shifted(octets: bytes) -> bool:
    """True where a receiver counted L two too small and left the CRC of the last block in place.

    rtl_433 gives frames so: L + 5 octets. The CRC proves it.
    """
    length = len(octets) - 3
    if octets[0] != length - 2 or length < HEADER:
        return False
    return crc16_octets(octets[_last_block(length) : -2]) == octets[-2:]


def _detect(octets: bytes) -> tuple[str | None, int]:
    """Frame format (None: no CRCs) and size in octets of what stands there."""
    length = octets[0]
    plain = length + 1
    size_a = _size_a(length)
    fits_plain = len(octets) == plain < size_a
    first_crc = len(octets) >= 12 and crc16_octets(octets[:HEADER]) == octets[HEADER : HEADER + 2]
    if first_crc and not fits_plain:
        return "A", size_a
    if plain >= HEADER + 2 and len(octets) >= plain:
        end = min(plain - 2, _FIRST_B)
        if crc16_octets(octets[:end]) == octets[end : end + 2]:
            return "B", plain
    if not first_crc and _is_shifted(octets):
        return _SHIFTED, len(octets)
    if len(octets) == size_a or (first_crc and _is_cut(octets)):
        return "A", size_a
    if _is_headless(octets, size_a):
        return _HEADLESS, size_a - 2
    return None, plain


def unframe(octets: bytes, frame_format: str | None = None, *, crc: bool | None = None) -> tuple[WirelessFrame, bytes]:
    """Check a wireless frame and take it apart; return it with the octets that follow it.

    Octets   0     L
             1     C
             2..3  manufacturer, little endian
             4..9  identification number, version, device type
             10..  CI and data, CRCs by frame format
    ``frame_format`` and ``crc`` name what stands there; left out, they are found by trying the
    CRCs (a frame without CRCs passes as format B by chance once in 65 536).
    Source   EN 13757-4; OMS Volume 2 5.0.1 clause 5.2
    Raises   Truncated, BadChecksum, DecodeError (frame.length)
    """
    if len(octets) < HEADER:
        raise Truncated(
            f"a wireless frame has at least 10 octets, got {len(octets)}", layer=_LAYER, offset=len(octets), octets=octets
        )
    if octets[0] < HEADER - 1:
        raise DecodeError(
            f"L = {octets[0]} does not cover the address", layer=_LAYER, offset=0, octets=octets, code="frame.length"
        )
    if frame_format is None and crc is not False:
        frame_format, size = _detect(octets)
    else:
        size = _size_a(octets[0]) if frame_format == "A" and crc is not False else octets[0] + 1
    if frame_format is None or crc is False:
        if len(octets) < size:
            raise Truncated(
                f"L announces {size} octets, {len(octets)} are there", layer=_LAYER, offset=len(octets), octets=octets
            )
        plain, checked = octets[:size], False
    else:
        plain, checked = strip_crc(octets, frame_format), True
    name = "A" if frame_format in (_HEADLESS, _SHIFTED) else frame_format
    return WirelessFrame(ControlField(plain[1]), Address.from_link(plain, 2), plain[HEADER:], name, checked), octets[size:]
