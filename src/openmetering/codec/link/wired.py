"""Wired frames: FT1.2 of EN 60870-5-2 as used on M-Bus.

    single character  E5
    short             10 C A CS 16
    control           68 03 03 68 C A CI CS 16
    long              68 L  L  68 C A CI data CS 16

L counts from C to the last data octet (3..255); CS is the sum of the same octets.
Source: EN 13757-2; The M-Bus: A Documentation, Rev. 4.8; OMS Volume 2 Annex N examples.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.link.control import ControlField, message_name
from openmetering.errors import BadChecksum, DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.wire import checksum

__all__ = ["ACK", "BROADCAST", "SELECTED", "TEST", "WiredFrame", "looks_wired", "unframe"]

ACK = b"\xe5"
SELECTED = 253  #: the slave selected by secondary address
TEST = 254  #: every slave answers
BROADCAST = 255  #: every slave acts, none answers

_LAYER = "link"
_WIRELESS_68 = 0x69  #: octets of a wireless frame without CRCs whose L field is 68h


class WiredFrame(msgspec.Struct, frozen=True):
    """A frame of the wired link layer.

    ``kind`` is ``single``, ``short``, ``control`` or ``long``; ``data`` holds CI and user
    data. A single character has neither control nor address (both 0).
    """

    kind: str
    control: ControlField = ControlField(0)
    address: int = 0
    data: bytes = b""

    @property
    def message(self) -> str:
        """Name of the message; the single character is an ACK."""
        return "ACK" if self.kind == "single" else message_name(self.control)

    def encode(self) -> bytes:
        """The octets of the frame. Raises OutOfRange (more than 253 octets) or NotRepresentable."""
        if self.kind == "single":
            return ACK
        if not (0 <= self.control <= 255 and 0 <= self.address <= 255):
            raise OutOfRange("control and address take one octet each", field="control", value=int(self.control))
        body = bytes((self.control, self.address)) + self.data
        tail = bytes((checksum(body), 0x16))
        if (self.kind == "short") != (not self.data):
            raise NotRepresentable("a short frame has no user data, every other one has", field="data", value=self.data)
        if self.kind == "short":
            return b"\x10" + body + tail
        if len(body) > 255:
            raise OutOfRange(f"a wired frame holds 253 octets, got {len(self.data)}", field="data", value=len(self.data))
        length = len(body)
        return bytes((0x68, length, length, 0x68)) + body + tail

    @classmethod
    def short(cls, control: int, address: int) -> WiredFrame:
        """A short frame (SND-NKE, REQ-UD1, REQ-UD2)."""
        return cls("short", ControlField(control), address)

    @classmethod
    def long(cls, control: int, address: int, data: bytes) -> WiredFrame:
        """A long frame, or a control frame if ``data`` is a CI field alone."""
        return cls("control" if len(data) == 1 else "long", ControlField(control), address, data)


def looks_wired(octets: bytes) -> bool:
    """True if the octets are a wired frame by their start.

    A wireless frame may start 68 44 44 68 too (L = 68h, manufacturer ZBD): then the stop octet decides,
    and without it the length.
    """
    if octets[:1] == b"\x68":
        if len(octets) < 4 or octets[3] != 0x68 or octets[1] != octets[2]:
            return False
        end = octets[1] + 6
        return (len(octets) >= end and octets[end - 1] == 0x16) or len(octets) != _WIRELESS_68
    if octets[:1] == ACK:
        return len(octets) == 1
    return octets[:1] == b"\x10" and len(octets) == 5 and octets[4] == 0x16


def unframe(octets: bytes) -> tuple[WiredFrame, bytes]:
    """Check a wired frame and take it apart; return it with the octets that follow it.

    Octets   0     start 68h, 10h or E5h
             1..2  L twice (68h only), 3 second start
             4..5  C, A;  6.. CI and data;  then CS and stop 16h
    Source   EN 60870-5-2 FT1.2 as in EN 13757-2
    Raises   Truncated, BadChecksum (code frame.checksum), DecodeError (frame.start, frame.length, frame.stop)
    """
    if not octets:
        raise Truncated("an empty frame", layer=_LAYER, offset=0, octets=octets)
    start = octets[0]
    if start == 0xE5:
        return WiredFrame("single"), octets[1:]
    if start == 0x10:
        return _short(octets)
    if start != 0x68:
        raise DecodeError(f"no wired frame starts with {start:02X}h", layer=_LAYER, offset=0, octets=octets, code="frame.start")
    return _long(octets)


def _check(body: bytes, octets: bytes, end: int) -> None:
    if octets[end - 1] != 0x16:
        raise DecodeError("the stop octet is not 16h", layer=_LAYER, offset=end - 1, octets=octets, code="frame.stop")
    if checksum(body) != octets[end - 2]:
        raise BadChecksum(
            f"checksum {octets[end - 2]:02X}h, computed {checksum(body):02X}h",
            layer=_LAYER,
            offset=end - 2,
            octets=octets,
            code="frame.checksum",
        )


def _short(octets: bytes) -> tuple[WiredFrame, bytes]:
    if len(octets) < 5:
        raise Truncated(f"a short frame has 5 octets, got {len(octets)}", layer=_LAYER, offset=len(octets), octets=octets)
    _check(octets[1:3], octets, 5)
    return WiredFrame("short", ControlField(octets[1]), octets[2]), octets[5:]


def _long(octets: bytes) -> tuple[WiredFrame, bytes]:
    if len(octets) < 9:
        raise Truncated(f"a long frame has at least 9 octets, got {len(octets)}", layer=_LAYER, offset=len(octets), octets=octets)
    length = octets[1]
    if octets[2] != length or octets[3] != 0x68 or length < 3:
        raise DecodeError(
            "the two L fields or the second start differ", layer=_LAYER, offset=1, octets=octets, code="frame.length"
        )
    end = length + 6
    if len(octets) < end:
        raise Truncated(f"L announces {end} octets, {len(octets)} are there", layer=_LAYER, offset=len(octets), octets=octets)
    body = octets[4 : 4 + length]
    _check(body, octets, end)
    kind = "control" if length == 3 else "long"
    return WiredFrame(kind, ControlField(body[0]), body[1], body[2:]), octets[end:]
