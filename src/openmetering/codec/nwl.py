"""Network layer of EN 13757-5 (CI 81h).

The layout of the relaying fields is not public. The layer is recognised; its length is
unknown, so everything behind the CI field stays raw and no layer above is read.
"""

from __future__ import annotations

import msgspec

__all__ = ["CI", "NetworkLayer", "decode"]

CI = 0x81


class NetworkLayer(msgspec.Struct, frozen=True):
    """CI 81h and the raw octets behind it."""

    octets: bytes

    def encode(self) -> bytes:
        """CI and the raw octets."""
        return bytes((CI,)) + self.octets


def decode(octets: bytes, offset: int) -> tuple[NetworkLayer, int]:
    """Take everything behind the CI field as it is; return it with the offset behind it."""
    return NetworkLayer(octets[offset:]), len(octets)
