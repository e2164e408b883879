"""The two check sums of M-Bus: the EN 13757 CRC and the FT1.2 octet sum.

The CRC works on 16-bit words through one table of 65 536 entries (an ``array``,
so that it stays in the cache): half the look-ups of an octet table.
Source: EN 13757-4 (CRC polynomial, clause to confirm); EN 60870-5-2 FT1.2 (sum).
"""

from __future__ import annotations

import struct
from array import array
from functools import cache

__all__ = ["checksum", "crc16", "crc16_octets"]

POLYNOMIAL = 0x3D65  # x^16+x^13+x^12+x^11+x^10+x^8+x^6+x^5+x^2+1


def _octet_table() -> list[int]:
    table = []
    for octet in range(256):
        register = octet << 8
        for _ in range(8):
            register = (register << 1) ^ POLYNOMIAL if register & 0x8000 else register << 1
        table.append(register & 0xFFFF)
    return table


_OCTETS = _octet_table()


@cache
def _word_table() -> array[int]:
    """Register after shifting a 16-bit word through: index = register xor word."""
    table = array("H", bytes(2 * 65536))
    octets = _OCTETS
    for high in range(256):
        first = octets[high]
        base = high << 8
        first_high = first >> 8
        first_low = (first & 0xFF) << 8
        for low in range(256):
            table[base | low] = octets[low ^ first_high] ^ first_low
    return table


def crc16(octets: bytes) -> int:
    """Return the EN 13757 CRC of the octets.

    Polynomial 3D65h, start value 0, no reflection, final complement;
    ``crc16(b"123456789") == 0xC2B7``. On air the link layer sends it most significant
    octet first; ELL payload CRC and format signatures least significant octet first.
    """
    length = len(octets)
    register = 0
    table = _word_table()
    for word in struct.unpack_from(f">{length >> 1}H", octets):
        register = table[register ^ word]
    if length & 1:
        register = ((register << 8) & 0xFFFF) ^ _OCTETS[(register >> 8) ^ octets[-1]]
    return register ^ 0xFFFF


def crc16_octets(octets: bytes) -> bytes:
    """The CRC as the link layer sends it: two octets, most significant first."""
    return crc16(octets).to_bytes(2, "big")


def checksum(octets: bytes) -> int:
    """The FT1.2 checksum: sum of the octets modulo 256 (EN 60870-5-2, frame format FT1.2)."""
    return sum(octets) & 0xFF
