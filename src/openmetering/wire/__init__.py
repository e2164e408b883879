"""How a layer is declared and compiled: fields, bit fields, data types, checksums."""

from openmetering.wire.crc import checksum, crc16, crc16_octets
from openmetering.wire.fields import (
    U8,
    U16,
    U24,
    U32,
    BitField,
    Bits,
    FieldLayout,
    Layer,
    LayerField,
    Octets,
    U16Big,
    U32Big,
    When,
    layer,
)

__all__ = [
    "U8",
    "U16",
    "U24",
    "U32",
    "BitField",
    "Bits",
    "FieldLayout",
    "Layer",
    "LayerField",
    "Octets",
    "U16Big",
    "U32Big",
    "When",
    "checksum",
    "crc16",
    "crc16_octets",
    "layer",
]
