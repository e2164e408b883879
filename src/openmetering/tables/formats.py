"""Formats of compact frames that devices in the field use, by their signature.

Source   computed from full frames; the CRC of the headers is the signature, so every row proves itself
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import rows

__all__ = ["KNOWN_FORMATS", "KnownFormat"]


class KnownFormat(msgspec.Struct, frozen=True):
    """Signature and record headers (DIBs and VIBs in order), both in hexadecimal; ``source`` says who sends it."""

    signature: str
    headers: str
    source: str


KNOWN_FORMATS: tuple[KnownFormat, ...] = tuple(
    KnownFormat(row["signature"], row["headers"], row["device"]) for row in rows("known_formats.csv")
)
