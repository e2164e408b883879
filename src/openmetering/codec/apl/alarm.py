"""Alarm protocol, CI 71, 74, 75: one octet of flags whose meaning the maker defines."""

from __future__ import annotations

import msgspec

from openmetering.errors import OutOfRange, Truncated

__all__ = ["Alarm", "decode"]

_LAYER = "apl"


class Alarm(msgspec.Struct, frozen=True):
    """The alarm octet (type D); octets behind it are kept."""

    flags: int
    additional: bytes = b""

    @property
    def bits(self) -> tuple[int, ...]:
        """Numbers of the bits that are set, 0 to 7."""
        return tuple(bit for bit in range(8) if self.flags >> bit & 1)

    def encode(self) -> bytes:
        """The octets behind the transport header. Raises OutOfRange."""
        if not 0 <= self.flags <= 0xFF:
            raise OutOfRange(f"an alarm has eight flags, got {self.flags:#x}", field="flags", value=self.flags, layer=_LAYER)
        return bytes((self.flags,)) + self.additional


def decode(octets: bytes) -> Alarm:
    """Read an alarm.

    Octets   0    flags, bit 0 lowest, meaning manufacturer specific
             1..  not defined, kept
    Source   EN 13757-3, alarm protocol (clause to confirm)
    Units    none
    Raises   Truncated if there is no octet
    """
    if not octets:
        raise Truncated("an alarm has at least one octet", layer=_LAYER, offset=0, octets=octets)
    return Alarm(octets[0], octets[1:])
