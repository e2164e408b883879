"""Containers: a record that carries a frame of another meter or another protocol.

FD 3B holds a wireless M-Bus frame from its L field on, without link CRCs; FD 76 octets of a
maker's own protocol. Both are raw octets in natural order, up to 191 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import Record
from openmetering.errors import NotRepresentable, OutOfRange

__all__ = ["Container", "containers", "decode"]

_LAYER = "apl"
_CODES = {0x3B: "wireless", 0x76: "manufacturer"}
_BY_KIND = {kind: code for code, kind in _CODES.items()}
_MAX_OCTETS = 0xBF
_DIF = b"\x0d"


class Container(msgspec.Struct, frozen=True):
    """The octets inside; ``kind`` is wireless or manufacturer."""

    kind: str
    octets: bytes

    @property
    def complete(self) -> bool:
        """True if a wireless frame is as long as its L field says."""
        return self.kind == "wireless" and bool(self.octets) and len(self.octets) == self.octets[0] + 1

    def encode(self) -> bytes:
        """The octets inside, unchanged."""
        return self.octets

    def record(self, dib: bytes = _DIF) -> Record:
        """The record that carries them. Raises OutOfRange above 191 octets, NotRepresentable."""
        code = _BY_KIND.get(self.kind)
        if code is None or dib[0] & 0x0F != 0x0D:
            raise NotRepresentable(
                f"{self.kind!r} in DIF {dib[0]:02X}h is no container", field="kind", value=self.kind, layer=_LAYER
            )
        if len(self.octets) > _MAX_OCTETS:
            raise OutOfRange(
                f"a container holds 191 octets, got {len(self.octets)}", field="octets", value=len(self.octets), layer=_LAYER
            )
        return Record(header_of(dib, bytes((0xFD, code))), self.octets, self.octets, len(self.octets))


def decode(octets: bytes) -> Container:
    """Read the data of a wireless container.

    Octets   0    L field; 1.. frame without link CRCs
    Source   EN 13757-3, VIF FD 3B (clause to confirm)
    Units    none
    Raises   nothing: ``complete`` tells whether the L field fits
    """
    return Container("wireless", octets)


def containers(records: Sequence[Record]) -> tuple[Container, ...]:
    """All containers of a message, in its order. Records of other coding than raw octets are none."""
    found = []
    for record in records:
        vib = record.header.vib
        kind = _CODES.get(vib[1] & 0x7F) if len(vib) > 1 and vib[0] == 0xFD else None
        if kind is not None and record.lvar is not None and record.lvar <= _MAX_OCTETS:
            found.append(Container(kind, record.raw))
    return tuple(found)
