"""Extended link layer: CI 8C, 8D, 8E, 8F (86 is recognised, its layout is not public).

    8C  ELL-I    CC ACC
    8D  ELL-II   CC ACC SN(4) payload CRC(2)
    8E  ELL-III  CC ACC M2(2) A2(6)
    8F  ELL-IV   CC ACC M2(2) A2(6) SN(4) payload CRC(2)

Source: EN 13757-4 (extended link layer, clause to confirm); OMS Volume 2 5.0.1 Table 14.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import DecodeError, NotRepresentable
from openmetering.wire import U8, U16, U32, BitField, Bits, Layer, Octets, layer

__all__ = ["CommunicationControl", "ExtendedLink", "SessionNumber", "decode"]

_LAYER = "ell"


class CommunicationControl(BitField):
    """CC: one octet of link bits; they win over those of the TPL configuration field."""

    extended_delay = Bits(0)
    repeated_access = Bits(1)
    accessibility = Bits(2)
    priority = Bits(3)
    hop = Bits(4)
    synchronous = Bits(5)
    fast_response = Bits(6)
    bidirectional = Bits(7)


class SessionNumber(BitField):
    """SN: four octets, little endian; encryption 0 = none, 1 = AES-128-CTR."""

    session = Bits(0, 4)
    minutes = Bits(4, 25)
    encryption = Bits(29, 3)


@layer
class Short(Layer, frozen=True):
    """ELL-I."""

    layer_name = _LAYER
    communication_control: Annotated[CommunicationControl, U8]
    access_number: Annotated[int, U8]


@layer
class ShortSession(Layer, frozen=True):
    """ELL-II."""

    layer_name = _LAYER
    communication_control: Annotated[CommunicationControl, U8]
    access_number: Annotated[int, U8]
    session_number: Annotated[SessionNumber, U32]
    payload_crc: Annotated[int, U16]


@layer
class Long(Layer, frozen=True):
    """ELL-III."""

    layer_name = _LAYER
    communication_control: Annotated[CommunicationControl, U8]
    access_number: Annotated[int, U8]
    destination: Annotated[bytes, Octets(8)]


@layer
class LongSession(Layer, frozen=True):
    """ELL-IV."""

    layer_name = _LAYER
    communication_control: Annotated[CommunicationControl, U8]
    access_number: Annotated[int, U8]
    destination: Annotated[bytes, Octets(8)]
    session_number: Annotated[SessionNumber, U32]
    payload_crc: Annotated[int, U16]


KINDS: dict[int, type[Short | ShortSession | Long | LongSession]] = {
    0x8C: Short,
    0x8D: ShortSession,
    0x8E: Long,
    0x8F: LongSession,
}


class ExtendedLink(msgspec.Struct, frozen=True, gc=False):
    """The extended link layer of any kind; fields of another kind are None.

    ``payload_crc`` is as received: where the payload is encrypted, so is the CRC.
    """

    ci: int
    communication_control: CommunicationControl
    access_number: int
    destination: Address | None = None
    session_number: SessionNumber | None = None
    payload_crc: int | None = None

    def encode(self) -> bytes:
        """CI and the octets of the layer. Raises NotRepresentable, OutOfRange."""
        control, access = self.communication_control, self.access_number
        head = bytes((self.ci,))
        if self.ci == 0x8C:
            return head + Short(control, access).encode()
        if self.ci not in KINDS:
            raise NotRepresentable(f"CI {self.ci:02X}h is no extended link layer that can be sent", field="ci", value=self.ci)
        destination = b"" if self.destination is None else self.destination.link_octets()
        if self.ci == 0x8E:
            return head + Long(control, access, destination).encode()
        number, crc = self.session_number, self.payload_crc
        if number is None or crc is None:
            raise NotRepresentable("this layer needs a session number and a payload CRC", field="session_number", value=None)
        if self.ci == 0x8D:
            return head + ShortSession(control, access, number, crc).encode()
        return head + LongSession(control, access, destination, number, crc).encode()


def decode(octets: bytes, offset: int, ci: int) -> tuple[ExtendedLink, int]:
    """Read the layer behind its CI field; return it with the offset behind it.

    Octets   as in the table of this module, without the CI field
    Source   EN 13757-4; OMS Volume 2 5.0.1 clause 6
    Raises   Truncated; DecodeError (ell.unsupported) for CI 86
    """
    kind = KINDS.get(ci)
    if kind is None:
        raise DecodeError(
            f"extended link layer {ci:02X}h has no public layout",
            layer=_LAYER,
            offset=offset,
            octets=octets,
            code="ell.unsupported",
        )
    part, offset = kind.decode(octets, offset)
    destination = getattr(part, "destination", None)
    return (
        ExtendedLink(
            ci,
            part.communication_control,
            part.access_number,
            None if destination is None else Address.from_link(destination),
            getattr(part, "session_number", None),
            getattr(part, "payload_crc", None),
        ),
        offset,
    )
