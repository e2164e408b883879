"""Frames of the wireless link as a gateway sees them: a glance at what was heard, and what it sends itself.

    heard   L C LLA | 8C CC ACC or 8E CC ACC ELLA | [90 AFL] | CI [ALA] ACC STS CF ...
    sent    L C LLA(gateway) | 8C CC ACC or 8E CC ACC ELLA(device or adapter) | sealed command, or 80 ALA ACC STS 0000

A glance looks at headers only, never fails, and costs little: most frames on air are nobody's answer.

Source: OMS Volume 2 5.0.1 clauses 3.1.3, 5 and 7; Annex N.2.4, N.3, N.7, N.8.2, N.10 to N.12.
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.codec.tpl import rssi_status
from openmetering.protocol.radio.datagram import ACCESSIBLE, BIDIRECTIONAL, FAST, HOP, datagram
from openmetering.tables import CONTROL_INFORMATION

__all__ = [
    "CNF_IR",
    "FCB",
    "GATEWAY_CC",
    "Glance",
    "REQ_UD1",
    "REQ_UD2",
    "SND_NKE",
    "SND_UD",
    "SND_UD2",
    "acknowledge",
    "confirm",
    "glance",
    "level",
    "pure",
    "with_link",
    "without_hop",
]

SND_NKE: Final = 0x40
SND_UD2: Final = 0x43
SND_UD: Final = 0x53
REQ_UD1: Final = 0x5A
REQ_UD2: Final = 0x5B
CNF_IR: Final = 0x06
FCB: Final = 0x20

GATEWAY_CC: Final = BIDIRECTIONAL | ACCESSIBLE  #: CC of a stationary gateway: it listens all the time, D = 0
_ACK_CC: Final = BIDIRECTIONAL  #: CC of the ACK to ACC-DMD as printed in Annex N.10
_PURE: Final = 0x80  #: CI: transport layer without application, long header
_PRM: Final = 0x40
_FROM_DEVICE: Final = frozenset((0x44, 0x46, 0x47, 0x48))
_ELL: Final = {0x8C: 3, 0x8D: 9, 0x8E: 11, 0x8F: 17}
_WITH_DESTINATION: Final = frozenset((0x8E, 0x8F))
_SEALED_ELL: Final = frozenset((0x8D, 0x8F))
_AFL: Final = 0x90
_HEADER: Final = 10


class Glance(msgspec.Struct, frozen=True, gc=False):
    """Addresses, numbers and link bits of a frame; addresses in link-layer order, None where the frame has none.

    ``control`` C field; ``cc`` link bits (of the ELL, else those of the configuration field in the same places);
    ``first_part`` False for fragments behind the first, which have no transport header.
    """

    control: int
    sender: bytes
    cc: int = 0
    link_access: int | None = None
    destination: bytes | None = None
    application: bytes | None = None
    transport_access: int | None = None
    status: int = 0

    @property
    def uplink(self) -> bool:
        """True for messages of devices (an ACK of another gateway looks like one of a device)."""
        return self.control in _FROM_DEVICE if self.control & _PRM else self.control != CNF_IR

    @property
    def answer(self) -> bool:
        """True for ACK, NACK and RSP-UD."""
        return not self.control & _PRM and self.control & 0x0F in (0x0, 0x1, 0x8)

    @property
    def function(self) -> int:
        """Bits 3..0 of the C field."""
        return self.control & 0x0F

    @property
    def window(self) -> bool:
        """True if the sender listens behind this datagram (B,A = 10 or 11) and sent it itself (H = 0)."""
        return bool(self.cc & BIDIRECTIONAL) and not self.cc & HOP and self.bits in (2, 3)

    @property
    def bits(self) -> int:
        """B,A as a number: 0 no access ever, 1 not now, 2 a window behind this datagram, 3 listens until the next."""
        return (self.cc >> 7 & 1) << 1 | self.cc >> 2 & 1

    @property
    def fast(self) -> bool:
        """The D bit: an answer is expected after the short delay."""
        return bool(self.cc & FAST)


def _configuration_bits(configuration: int) -> int:
    """Link bits of the configuration field of modes 0 and 5 in the places they have in CC: B, S, H, A."""
    if configuration >> 8 & 0x1F not in (0, 5):
        return 0
    bits = (configuration >> 15 & 1) << 7 | (configuration >> 13 & 1) << 5
    return bits | (configuration & 1) << 4 | (configuration >> 14 & 1) << 2


def glance(frame: bytes) -> Glance | None:
    """Look at the headers of a frame without CRCs; None if it has no link layer.

    Octets   0 L, 1 C, 2..9 LLA, 10.. ELL, AFL, CI and transport header as far as they are there
    Raises   nothing
    """
    if len(frame) < _HEADER:
        return None
    control, sender, at = frame[1], frame[2:10], _HEADER
    cc, link_access, destination, with_ell = 0, None, None, False
    ci = frame[at] if at < len(frame) else None
    if ci in _ELL and len(frame) >= at + _ELL[ci]:
        cc, link_access, with_ell = frame[at + 1], frame[at + 2], True
        if ci in _WITH_DESTINATION:
            destination = frame[at + 3 : at + 11]
        at += _ELL[ci]
        if ci in _SEALED_ELL:
            return Glance(control, sender, cc, link_access, destination)
    first = True
    if at + 3 < len(frame) and frame[at] == _AFL:
        first = frame[at + 2] <= 1
        at += 2 + frame[at + 1]
    info = CONTROL_INFORMATION[frame[at]] if first and at < len(frame) else None
    if info is None or info.layer != "tpl" or info.header == "none":
        return Glance(control, sender, cc, link_access, destination)
    application = None
    at += 1
    if info.header == "long":
        part = frame[at : at + 8]
        application = part[4:6] + part[:4] + part[6:]
        at += 8
    if len(frame) < at + 4:
        return Glance(control, sender, cc, link_access, destination)
    if not with_ell:
        cc = _configuration_bits(frame[at + 2] | frame[at + 3] << 8)
    return Glance(control, sender, cc, link_access, destination, application, frame[at], frame[at + 1])


def without_hop(frame: bytes) -> bytes:
    """A frame with its hop bit (and R) cleared: what a repeater sends on is the same as what it heard."""
    at = 11
    if len(frame) > at and frame[10] in _ELL:
        return frame[:at] + bytes((frame[at] & ~(HOP | 0x02) & 0xFF,)) + frame[at + 1 :]
    info = CONTROL_INFORMATION[frame[10]] if len(frame) > _HEADER else None
    if info is None or info.header == "none":
        return frame
    at += 10 if info.header == "long" else 2
    if len(frame) < at + 2 or frame[at + 1] & 0x1F not in (0, 5):
        return frame
    return frame[:at] + bytes((frame[at] & 0xFC,)) + frame[at + 1 :]


def level(rssi: float | None) -> int:
    """Status octet of a gateway for a reception level in dBm; 0 where the receiver does not tell."""
    return rssi_status(None if rssi is None else round(rssi))


def with_link(
    control: int,
    gateway: bytes,
    access_number: int | None,
    body: bytes,
    *,
    destination: bytes = b"",
    cc: int = GATEWAY_CC,
) -> bytes:
    """A frame of the gateway around the octets behind its ELL.

    ``access_number`` of the ELL, None leaves it out; ``destination`` is the ELLA (eight octets in link-layer order)
    or empty. Raises OutOfRange if it has more than 256 octets.
    """
    return datagram(control, gateway, body, cc, access_number, destination)


def pure(
    control: int,
    gateway: bytes,
    device: bytes,
    access_number: int | None,
    transport_access: int,
    status: int,
    *,
    destination: bytes = b"",
    cc: int = GATEWAY_CC,
) -> bytes:
    """A frame with a transport header and nothing else: REQ-UD1, REQ-UD2, SND-NKE, ACK, CNF-IR.

    Octets   0 CI 80h, 1..8 ALA in transport order, 9 access number, 10 status, 11..12 configuration 0000h
    """
    body = bytes((_PURE,)) + device[2:6] + device[:2] + device[6:] + bytes((transport_access, status, 0, 0))
    return with_link(control, gateway, access_number, body, destination=destination, cc=cc)


def acknowledge(gateway: bytes, device: bytes, heard: Glance, status: int, *, destination: bytes = b"") -> bytes:
    """The ACK to ACC-DMD: both access numbers are those of the device (Annex N.10)."""
    number = _number(heard)
    return pure(0x00, gateway, device, heard.link_access, number, status, destination=destination, cc=_ACK_CC)


def confirm(gateway: bytes, device: bytes, heard: Glance, status: int, *, destination: bytes = b"") -> bytes:
    """CNF-IR: both access numbers are those of the SND-IR (Annex N.7)."""
    return pure(CNF_IR, gateway, device, heard.link_access, _number(heard), status, destination=destination)


def _number(heard: Glance) -> int:
    found = heard.transport_access if heard.transport_access is not None else heard.link_access
    return 0 if found is None else found
