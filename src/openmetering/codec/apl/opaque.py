"""Protocols that are carried and not read here: DLMS, SML, network management, TLS, makers' own.

Their octets stay intact in both directions; whoever knows the protocol finds them whole.
Source: EN 13757-7:2018, CI field table (clause to confirm).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

__all__ = ["Opaque", "opaque"]


class Opaque(msgspec.Struct, frozen=True):
    """The octets of another protocol; ``protocol`` is its name in ``CONTROL_INFORMATION``."""

    protocol: str
    octets: bytes

    def encode(self) -> bytes:
        """The octets, unchanged."""
        return self.octets


def opaque(protocol: str) -> Callable[[bytes], Opaque]:
    """The reader of one protocol.

    Octets   0..  kept as they are
    Source   EN 13757-7:2018, CI field table (clause to confirm)
    Units    none
    Raises   nothing
    """

    def decode(octets: bytes) -> Opaque:
        return Opaque(protocol, octets)

    return decode
