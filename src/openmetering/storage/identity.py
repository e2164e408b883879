"""Which receptions are copies of one telegram.

Receivers give a frame with or without CRCs; repeaters set the hop bit (and change CRCs).
The identity leaves both out, so original and copy share it: same sender, access number
and payload. Source: OMS Volume 2 5.0.1, repeater (de-duplicate on address, access number
and content without H); hop bits in ELL and configuration field.
"""

from __future__ import annotations

from hashlib import blake2b

from openmetering.codec.link.wired import looks_wired
from openmetering.codec.link.wireless import HEADER, unframe
from openmetering.errors import DecodeError
from openmetering.tables import CONTROL_INFORMATION

__all__ = ["Identity", "identity"]

Identity = tuple[int, bool]  #: 64 bits (signed, as SQLite wants them); whether the frame came over a repeater

_REPEATED = frozenset((0x44, 0x46))  # repeaters pass on SND-NR and SND-IR only
_ELL_HOP, _ELL_REPEATED = 0x10, 0x02
_CF_HOP, _CF_REPEATED = 0x01, 0x02


def _kinds() -> tuple[tuple[bool, ...], tuple[int, ...]]:
    """For every CI: whether it is an ELL, and how far behind it the configuration field stands (0: none)."""
    ell, configuration = [], []
    for row in CONTROL_INFORMATION:
        ell.append(row is not None and row.layer == "ell")
        configuration.append({"short": 3, "long": 11}.get(row.header, 0) if row is not None and row.layer == "tpl" else 0)
    return tuple(ell), tuple(configuration)


_ELL, _CONFIGURATION = _kinds()


def _without_crc(octets: bytes, crc_removed: bool) -> bytes:
    if crc_removed and octets[:1] == bytes(((len(octets) - 1) & 0xFF,)):
        return octets
    try:
        link, _ = unframe(octets)
        return link.octets()
    except DecodeError:
        return octets


def identity(octets: bytes, *, crc_removed: bool = False) -> Identity:
    """The identity of a frame. ``crc_removed`` says that the receiver took the CRCs away, which saves looking for them."""
    repeated = False
    if not looks_wired(octets):
        octets = _without_crc(octets, crc_removed)
        if len(octets) > HEADER + 5 and octets[1] in _REPEATED:
            octets, repeated = _without_hop(octets)
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big", signed=True), repeated


def _without_hop(octets: bytes) -> tuple[bytes, bool]:
    ci = octets[HEADER]
    if _ELL[ci]:
        at, hop, clear = HEADER + 1, _ELL_HOP, _ELL_HOP | _ELL_REPEATED
    elif _CONFIGURATION[ci]:
        at, hop, clear = HEADER + _CONFIGURATION[ci], _CF_HOP, _CF_HOP | _CF_REPEATED
        # only modes 0 and 5 have the bits there
        if at + 1 >= len(octets) or octets[at + 1] & 0x1F not in (0, 5):
            return octets, False
    else:
        return octets, False
    octet = octets[at]
    if not octet & clear:
        return octets, False
    return octets[:at] + bytes((octet & ~clear,)) + octets[at + 1 :], bool(octet & hop)
