"""Authentication and fragmentation layer, CI 90h.

    AFLL(1) FCL(2) [MCL(1)] [KI(2)] [MCR(4)] [MAC(n)] [ML(2)]

AFLL counts the octets behind it up to the end of the layer. Everything is little
endian but the MAC. Source: EN 13757-7 (AFL, clause to confirm); OMS Volume 2 Annex N.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from openmetering.errors import DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.wire import U8, U16, U32, BitField, Bits, Layer, When, layer

__all__ = ["CI", "AuthenticationFragmentation", "FragmentationControl", "KeyInformation", "MessageControl", "decode"]

CI = 0x90
_LAYER = "afl"


class FragmentationControl(BitField):
    """FCL: two octets; which fields are present in this fragment, and its number."""

    fragment_id = Bits(0, 8)
    key_information_present = Bits(9)
    mac_present = Bits(10)
    counter_present = Bits(11)
    length_present = Bits(12)
    control_present = Bits(13)
    more_fragments = Bits(14)


class MessageControl(BitField):
    """MCL: one octet; which fields the message has, and the authentication type."""

    authentication_type = Bits(0, 4)
    key_information = Bits(4)
    counter = Bits(5)
    length = Bits(6)


class KeyInformation(BitField):
    """KI: two octets; KeyID, key derivation, KeyVersion."""

    key_id = Bits(0, 4)
    key_derivation = Bits(4, 2)
    key_version = Bits(8, 8)


@layer
class Head(Layer, frozen=True):
    """The fields in front of the MAC."""

    layer_name = _LAYER
    length: Annotated[int, U8]
    fragmentation: Annotated[FragmentationControl, U16]
    message_control: Annotated[MessageControl | None, U8, When("fragmentation", FragmentationControl.control_present)] = None
    key_information: Annotated[
        KeyInformation | None, U16, When("fragmentation", FragmentationControl.key_information_present)
    ] = None
    counter: Annotated[int | None, U32, When("fragmentation", FragmentationControl.counter_present)] = None


class AuthenticationFragmentation(msgspec.Struct, frozen=True):
    """The layer of one frame: a whole message (fragment 0) or one fragment of it."""

    fragmentation: FragmentationControl
    message_control: MessageControl | None = None
    key_information: KeyInformation | None = None
    counter: int | None = None
    mac: bytes | None = None
    message_length: int | None = None

    @classmethod
    def build(
        cls,
        *,
        fragment_id: int = 0,
        more_fragments: bool = False,
        message_control: MessageControl | None = None,
        key_information: KeyInformation | None = None,
        counter: int | None = None,
        mac: bytes | None = None,
        message_length: int | None = None,
    ) -> AuthenticationFragmentation:
        """A layer whose presence bits follow from the fields given. Raises OutOfRange."""
        fragmentation = FragmentationControl.build(
            fragment_id=fragment_id,
            more_fragments=int(more_fragments),
            control_present=int(message_control is not None),
            key_information_present=int(key_information is not None),
            counter_present=int(counter is not None),
            mac_present=int(mac is not None),
            length_present=int(message_length is not None),
        )
        return cls(fragmentation, message_control, key_information, counter, mac, message_length)

    @property
    def fragmented(self) -> bool:
        """True if the frame carries one of several fragments."""
        return bool(self.fragmentation.fragment_id or self.fragmentation.more_fragments)

    def encode(self) -> bytes:
        """CI and the octets of the layer. Raises NotRepresentable, OutOfRange."""
        head = Head(0, self.fragmentation, self.message_control, self.key_information, self.counter).encode()
        flags = self.fragmentation
        if bool(flags.mac_present) != bool(self.mac) or bool(flags.length_present) != (self.message_length is not None):
            raise NotRepresentable("MAC, message length and their presence bits differ", field="fragmentation", value=int(flags))
        tail = self.mac or b""
        if self.message_length is not None:
            if not 0 <= self.message_length <= 0xFFFF:
                raise OutOfRange("the message length takes two octets", field="message_length", value=self.message_length)
            tail += self.message_length.to_bytes(2, "little")
        length = len(head) - 1 + len(tail)
        if length > 255:
            raise OutOfRange(f"AFLL would be {length}", field="mac", value=len(tail))
        return bytes((CI, length)) + head[1:] + tail


def decode(octets: bytes, offset: int) -> tuple[AuthenticationFragmentation, int]:
    """Read the layer behind its CI field; return it with the offset behind it.

    Octets   0     AFLL
             1..2  FCL
             3..   MCL, KI, MCR, MAC, ML as FCL says; the MAC fills what AFLL leaves
    Source   EN 13757-7; OMS Volume 2 5.0.1, Annex N.2.3 to N.5
    Raises   Truncated; DecodeError (afl.length) if AFLL does not fit the fields
    """
    start = offset
    head, offset = Head.decode(octets, offset)
    end = start + 1 + head.length
    if len(octets) < end:
        raise Truncated(f"AFLL announces {head.length} octets", layer=_LAYER, offset=start, octets=octets)
    fragmentation = head.fragmentation
    tail = 2 if fragmentation.length_present else 0
    mac_size = end - offset - tail
    if mac_size < 0 or (mac_size > 0) != bool(fragmentation.mac_present):
        raise DecodeError(
            f"AFLL = {head.length} does not fit the fields that FCL announces",
            layer=_LAYER,
            offset=start,
            octets=octets,
            code="afl.length",
        )
    mac = octets[offset : offset + mac_size] if fragmentation.mac_present else None
    length = int.from_bytes(octets[end - 2 : end], "little") if tail else None
    return (
        AuthenticationFragmentation(fragmentation, head.message_control, head.key_information, head.counter, mac, length),
        end,
    )
