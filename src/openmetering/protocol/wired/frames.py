"""What the wired machines know of their frames: C fields, frame count bits, rates, and what an answer tells in the clear.

Source: EN 60870-5-2 and EN 13757-2 (FCB, FCV, CI B8..BF, clauses to confirm); OMS Volume 2 5.0.1 Tables 15, 16.
"""

from __future__ import annotations

from openmetering.codec import afl
from openmetering.codec.address import Address
from openmetering.codec.apl import records
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import unframe
from openmetering.errors import DecodeError
from openmetering.tables import BAUD_RATES, CONTROL_INFORMATION

__all__ = ["RATES", "REQ_UD1", "REQ_UD2", "RSP_UD", "SELECT", "SND_NKE", "SND_UD", "SND_UD2", "FrameCount", "address_of",
           "more_follows"]  # fmt: skip

SND_NKE, SND_UD, SND_UD2, REQ_UD1, REQ_UD2 = 0x40, 0x53, 0x43, 0x5A, 0x5B
RSP_UD = 0x08
SELECT = 0x52  #: CI of the secondary selection
_FCB = 0x20

#: baud -> CI of the control frame
RATES: dict[int, int] = {baud: code for code, baud in BAUD_RATES.items()}


class FrameCount:
    """The master's frame count bits of an address: what the next REQ and the next SND carry. 1 after SND-NKE and selection.

    Source   EN 60870-5-2 (FCB); The M-Bus: A Documentation, Rev. 4.8; OMS Volume 2 Annex N.4 (7B, 5B, 7B)
    """

    __slots__ = ("request", "send")

    def __init__(self) -> None:
        self.request = True
        self.send = True

    def requesting(self, control: int) -> ControlField:
        """The C field of a REQ."""
        return ControlField(control | (_FCB if self.request else 0))

    def sending(self, control: int) -> ControlField:
        """The C field of a SND."""
        return ControlField(control | (_FCB if self.send else 0))

    def requested(self) -> None:
        """A REQ was answered."""
        self.request = not self.request

    def sent(self) -> None:
        """A SND was answered."""
        self.send = not self.send


def more_follows(frame: bytes) -> bool:
    """True if the answer says that more telegrams follow: DIF 1Fh at the end of clear records, or AFL fragments.

    Encrypted records cannot be looked into here; whoever holds the key passes another
    function to the machine.
    Source   EN 13757-3 (DIF 1F, clause to confirm); EN 13757-7 (AFL)
    """
    try:
        data = unframe(frame)[0].data
    except DecodeError:
        return False
    if not data:
        return False
    if data[0] == afl.CI:
        return len(data) > 3 and bool(data[3] & 0x40)
    header = _HEADERS.get(data[0])
    if header is None:
        return False
    size, configuration = header
    if configuration is not None and len(data) > configuration and data[configuration] & 0x1F:
        return False
    return records.parse(data, size).more_follows


#: CI with records -> offset of the records, offset of the octet with the security mode
_HEADERS: dict[int, tuple[int, int | None]] = {0x72: (13, 12), 0x7A: (5, 4), 0x78: (1, None)}


def address_of(data: bytes) -> Address | None:
    """The address of the application device in an answer; None if it states none.

    Octets   0      CI with a long header (behind an AFL, if there is one)
             1..8   identification number, manufacturer, version, device type, little endian
    Source   EN 13757-7:2018, long header; OMS Volume 2 5.0.1 clause 3.1
    Raises   nothing
    """
    at = 0
    if data[:1] == bytes((afl.CI,)) and len(data) > 1:
        at = data[1] + 2
    if len(data) < at + 9:
        return None
    information = CONTROL_INFORMATION[data[at]]
    if information is None or information.layer != "tpl" or information.header != "long" or _fixed(data[at:]):
        return None
    return Address.from_transport(data[at + 1 : at + 9])


def _fixed(data: bytes) -> bool:
    """CI 73 with 16 octets is the fixed data structure of EN 1434-3, which has no such header."""
    return data[0] == 0x73 and len(data) == 17
