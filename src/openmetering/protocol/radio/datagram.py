"""Datagrams of the wireless link as devices see them: what comes down is read, what goes up is put together.

    L C M A(LLA of the sender) | ELL: 8C CC ACC  or  8E CC ACC ELLA | [AFL] | [TPL with ALA] ...

    LLA    always the sender
    ELLA   always the destination
    ALA    always the application device, in both directions

Source: OMS Volume 2 5.0.1 clause 3.1.3, Tables 14 to 16; link bits: Table 14.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.codec import afl, ell, tpl
from openmetering.codec.address import Address
from openmetering.codec.link.control import message_name
from openmetering.codec.link.wireless import HEADER, unframe
from openmetering.errors import OutOfRange, UnknownControlInformation
from openmetering.tables import CONTROL_INFORMATION, ControlInformation

__all__ = [
    "ACC_DMD",
    "ACC_NR",
    "ACK",
    "BIDIRECTIONAL",
    "ACCESSIBLE",
    "FAST",
    "HOP",
    "NACK",
    "REPEATED",
    "RSP_UD",
    "SND_IR",
    "SND_NR",
    "SYNCHRONOUS",
    "WINDOWS",
    "Datagram",
    "Mode",
    "Window",
    "datagram",
    "read",
]

SND_NR: Final = 0x44
SND_IR: Final = 0x46
ACC_NR: Final = 0x47
ACC_DMD: Final = 0x48
ACK: Final = 0x00
NACK: Final = 0x01
RSP_UD: Final = 0x08

# bits of CC
BIDIRECTIONAL: Final = 0x80
FAST: Final = 0x40
SYNCHRONOUS: Final = 0x20
HOP: Final = 0x10
ACCESSIBLE: Final = 0x04
REPEATED: Final = 0x02

Mode = Literal["S", "T", "C"]

_ELL_SHORT, _ELL_LONG = 0x8C, 0x8E


class Window(msgspec.Struct, frozen=True):
    """When an answer starts: seconds from the last chip of a datagram to the first chip of the answer."""

    earliest: float
    latest: float


#: (mode, D bit) -> t_RO, which is t_RM as well. D counts in mode C only
WINDOWS: Final[dict[tuple[Mode, bool], Window]] = {
    ("S", False): Window(0.003, 0.050),
    ("S", True): Window(0.003, 0.050),
    ("T", False): Window(0.002, 0.003),
    ("T", True): Window(0.002, 0.003),
    ("C", False): Window(0.9995, 1.0005),
    ("C", True): Window(0.0995, 0.1005),
}


class Datagram(msgspec.Struct, frozen=True):
    """The addresses and numbers of a wireless datagram; nothing of its content.

    ``sender`` LLA, ``destination`` ELLA, ``application`` ALA (from a long header); ``link_access`` of the ELL;
    ``transport_access`` and ``status`` of the transport header; ``control`` CC, 0 without ELL.
    """

    c_field: int
    message: str
    sender: Address
    destination: Address | None = None
    application: Address | None = None
    control: int = 0
    link_access: int | None = None
    transport_access: int | None = None
    status: int = 0
    ell: bool = False

    @property
    def access_number(self) -> int | None:
        """That of the ELL, else that of the transport layer."""
        return self.transport_access if self.link_access is None else self.link_access


def read(frame: bytes) -> Datagram:
    """Read the headers of a wireless frame without CRCs.

    Octets   0 L, 1 C, 2..9 LLA, 10.. ELL (8C, 8E), AFL (90), transport header
    Source   OMS Volume 2 5.0.1 clauses 5 to 7
    Raises   DecodeError for what no device of OMS sends: other extended layers, network layer, unknown CI
    """
    link, _ = unframe(frame, crc=False)
    data, name, control = link.data, message_name(link.control), int(link.control)
    part = None
    offset = 0
    if data and data[0] in (_ELL_SHORT, _ELL_LONG):
        part, offset = ell.decode(data, 1, data[0])
    following, offset = _layer(data, offset)
    if following is not None and following.protocol == "afl":
        fragments, offset = afl.decode(data, offset)
        following, offset = (None, offset) if int(fragments.fragmentation.fragment_id) > 1 else _layer(data, offset)
    header = tpl.TransportHeader(0)
    if following is not None:
        if following.layer != "tpl":
            raise UnknownControlInformation(
                f"CI {following.code:02X}h is not used here", layer="link", offset=HEADER + offset - 1
            )
        header, _ = tpl.decode(data, offset, following.code, following.header)
    return Datagram(
        control,
        name,
        link.address,
        None if part is None else part.destination,
        header.address,
        0 if part is None else int(part.communication_control),
        None if part is None else part.access_number,
        header.access_number,
        header.status,
        part is not None,
    )


def _layer(data: bytes, offset: int) -> tuple[ControlInformation | None, int]:
    """What the CI field at ``offset`` announces, and the offset behind it; None at the end and for a reserved code."""
    if offset >= len(data):
        return None, offset
    return CONTROL_INFORMATION[data[offset]], offset + 1


def datagram(c_field: int, sender: bytes, body: bytes, control: int = 0, access_number: int | None = None,
             destination: bytes = b"") -> bytes:  # fmt: skip
    """Put a wireless frame together, without CRCs.

    Octets   L C LLA | 8C CC ACC (8E CC ACC ELLA with a ``destination``) | body
    ``sender``, ``destination``  eight octets in link order; ``access_number`` None: no ELL, ``control`` is not sent
    Raises   OutOfRange if it has more than 256 octets
    """
    if access_number is None:
        head = b""
    elif destination:
        head = bytes((_ELL_LONG, control, access_number)) + destination
    else:
        head = bytes((_ELL_SHORT, control, access_number))
    length = 9 + len(head) + len(body)
    if length > 255:
        raise OutOfRange(f"a wireless frame holds 256 octets, this would be {length + 1}", field="body", value=len(body))
    return bytes((length, c_field)) + sender + head + body
