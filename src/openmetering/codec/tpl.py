"""Transport layer: short and long header, configuration field of every security mode.

    short   ACC STS CF(2) [extension by mode]
    long    identification(4) manufacturer(2) version device type, then as short

    mode   bits 15..8          bits 7..0     extension
    0      B A S 00000         0000 CC R H   -
    5      B A S 00101         NNNN CC R H   -
    7      CC Z 00111          NNNN P III    CFE 0 V DD KKKK
    8      CC Z 01000          N             CFE as mode 7 (layout to confirm)
    9      R T O 01001         U E DD KKKK   LenE LenU counter(4, most significant first)
    10     CC Z 01010          N             CFE 0 V DD KKKK, 00 IIII OO; [key version] [counter(4)]
    13     CC 0 01101          FFh           CFE 0000 PPPP

Source: EN 13757-7 (transport layer, clause to confirm); OMS Volume 2 5.0.1 clause 7; mode 9: Dutch
P2 companion standard 5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import NotRepresentable, Truncated
from openmetering.wire import U8, U16, BitField, Bits, Layer, Octets, layer

__all__ = [
    "CONFIGURATIONS",
    "Configuration",
    "ConfigurationA",
    "ConfigurationB",
    "ConfigurationD",
    "ConfigurationDutch",
    "Extension",
    "ExtensionContent",
    "TransportHeader",
    "decode",
    "rssi_dbm",
    "rssi_status",
]

_LAYER = "tpl"


class Configuration(BitField):
    """CF: two octets, little endian; the mode stands in bits 12..8 of every layout."""

    mode = Bits(8, 5)


class ConfigurationA(Configuration):
    """Modes 0 to 5: link bits, number of encrypted 16-octet blocks (15 = all), content class."""

    hop = Bits(0)
    repeated_access = Bits(1)
    content = Bits(2, 2)
    blocks = Bits(4, 4)
    synchronous = Bits(13)
    accessibility = Bits(14)
    bidirectional = Bits(15)


class ConfigurationB(Configuration):
    """Mode 7: blocks, padding flag, content class and index."""

    content_index = Bits(0, 3)
    padding = Bits(3)
    blocks = Bits(4, 4)
    counter_present = Bits(13)
    content = Bits(14, 2)


class ConfigurationD(Configuration):
    """Modes 8, 10 and 13: number of encrypted octets (255 = all), content class."""

    octets = Bits(0, 8)
    counter_present = Bits(13)
    content = Bits(14, 2)


class ConfigurationDutch(Configuration):
    """Mode 9 as used in the Netherlands."""

    key_id = Bits(0, 4)
    key_derivation = Bits(4, 2)
    encrypted = Bits(6)
    unencrypted = Bits(7)
    two_octet_length = Bits(13)
    truncated = Bits(14)
    reserved = Bits(15)


CONFIGURATIONS: dict[int, type[Configuration]] = {
    **dict.fromkeys(range(32), ConfigurationA),
    7: ConfigurationB,
    8: ConfigurationD,
    9: ConfigurationDutch,
    10: ConfigurationD,
    13: ConfigurationD,
}


class Extension(BitField):
    """First octet of the configuration field extension of modes 7, 8 and 10."""

    key_id = Bits(0, 4)
    key_derivation = Bits(4, 2)
    version_present = Bits(6)


class ExtensionContent(BitField):
    """Second octet of the extension of mode 10: tag option and content index."""

    option = Bits(0, 2)
    content_index = Bits(2, 4)


@layer
class Short(Layer, frozen=True):
    """Short header."""

    layer_name = _LAYER
    access_number: Annotated[int, U8]
    status: Annotated[int, U8]
    configuration: Annotated[int, U16]


@layer
class Long(Layer, frozen=True):
    """Long header."""

    layer_name = _LAYER
    address: Annotated[bytes, Octets(8)]
    access_number: Annotated[int, U8]
    status: Annotated[int, U8]
    configuration: Annotated[int, U16]


class TransportHeader(msgspec.Struct, frozen=True, gc=False):
    """The transport layer of a message.

    ``header`` is none, short or long; ``address`` the application layer address of a long
    header. ``configuration`` has the layout of its mode. ``extension`` holds the octets
    between configuration field and payload; ``key_version``, ``counter`` and the mode 9
    lengths are read out of it.
    """

    ci: int
    header: str = "none"
    address: Address | None = None
    access_number: int | None = None
    status: int = 0
    configuration: Configuration = ConfigurationA(0)
    extension: bytes = b""

    @property
    def mode(self) -> int:
        """Security mode."""
        return int(self.configuration) >> 8 & 0x1F

    @property
    def key_id(self) -> int:
        """KeyID of the communication key; 0 where the mode names none."""
        if self.mode == 9:
            return int(self.configuration) & 0x0F
        return self.extension[0] & 0x0F if self.extension and self.mode in (7, 8, 10) else 0

    @property
    def key_version(self) -> int | None:
        """KeyVersion of mode 10, if the header carries it."""
        if self.mode == 10 and len(self.extension) > 2 and self.extension[0] & 0x40:
            return self.extension[2]
        return None

    @property
    def counter(self) -> int | None:
        """Message counter in the transport layer (modes 9 and 10)."""
        if self.mode == 10 and int(self.configuration) & 0x2000 and len(self.extension) >= 6:
            return int.from_bytes(self.extension[-4:], "little")
        if self.mode == 9 and len(self.extension) >= 6:
            return int.from_bytes(self.extension[-4:], "big")
        return None

    @property
    def content(self) -> int:
        """Content class CC: 0 standard, 1 additional, 2 static message."""
        configuration = self.configuration
        return int(getattr(configuration, "content", 0))

    @property
    def content_index(self) -> int:
        """Content index of profiles B (3 bits) and D (4 bits)."""
        if self.mode == 7:
            return int(self.configuration) & 7
        return self.extension[1] >> 2 & 0x0F if self.mode == 10 and len(self.extension) > 1 else 0

    def encode(self) -> bytes:
        """CI and the octets of the header. Raises NotRepresentable, OutOfRange."""
        head = bytes((self.ci,))
        if self.header == "none":
            return head
        if self.access_number is None:
            raise NotRepresentable("a transport header needs an access number", field="access_number", value=None)
        numbers = (self.access_number, self.status, int(self.configuration))
        if self.header == "short":
            return head + Short(*numbers).encode() + self.extension
        if self.address is None:
            raise NotRepresentable("a long header needs an address", field="address", value=None)
        return head + Long(self.address.transport_octets(), *numbers).encode() + self.extension


def _extension_7(octets: bytes, offset: int, configuration: int) -> int:
    return 1


def _extension_9(octets: bytes, offset: int, configuration: int) -> int:
    return 8 if configuration & 0x2000 and configuration & 0x4000 else 6


def _extension_10(octets: bytes, offset: int, configuration: int) -> int:
    version = 1 if offset < len(octets) and octets[offset] & 0x40 else 0
    return 2 + version + (4 if configuration & 0x2000 else 0)


_EXTENSION: dict[int, Callable[[bytes, int, int], int]] = {
    7: _extension_7,
    8: _extension_7,
    9: _extension_9,
    10: _extension_10,
    13: _extension_7,
}


def decode(octets: bytes, offset: int, ci: int, header: str) -> tuple[TransportHeader, int]:
    """Read the header behind its CI field; return it with the offset of the payload.

    Octets   0..7  identification, manufacturer, version, device type (long header only)
             +0    access number
             +1    status
             +2..3 configuration field, little endian
             +4..  extension by security mode
    Source   EN 13757-7; OMS Volume 2 5.0.1 clause 7.2
    Raises   Truncated
    """
    if header == "none":
        return TransportHeader(ci), offset
    address = None
    part: Short | Long
    if header == "long":
        part, offset = Long.decode(octets, offset)
        address = Address.from_transport(part.address)
    else:
        part, offset = Short.decode(octets, offset)
    mode = part.configuration >> 8 & 0x1F
    extension = b""
    measure = _EXTENSION.get(mode)
    if measure is not None:
        size = measure(octets, offset, part.configuration)
        extension = octets[offset : offset + size]
        if len(extension) < size:
            raise Truncated(f"the extension of mode {mode} needs {size} octets", layer=_LAYER, offset=offset, octets=octets)
        offset += size
    configuration = CONFIGURATIONS[mode](part.configuration)
    return TransportHeader(ci, header, address, part.access_number, part.status, configuration, extension), offset


def rssi_dbm(status: int) -> int | None:
    """Reception level in a gateway's status octet: -130 + 2 * bits 5..0 dBm; 0 means not available."""
    level = status & 0x3F
    return -130 + 2 * level if level else None


def rssi_status(dbm: int | None) -> int:
    """Status octet of a gateway for a reception level in dBm; saturates at 1 and 63."""
    return 0 if dbm is None else max(1, min(63, (dbm + 130) // 2))
