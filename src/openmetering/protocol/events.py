"""The events that machines of different kinds share, on the radio and on the wire.

Into a machine: ``PowerUp``, ``Heard`` and ``Sent`` (radio), ``Octets`` (wire).
Out of a machine: ``Transmit``. Everything else is named by the machine it belongs to.
"""

from __future__ import annotations

import msgspec

__all__ = ["Heard", "Octets", "PowerUp", "Sent", "Transmit"]


class PowerUp(msgspec.Struct, frozen=True):
    """Power came (back): what stood in volatile memory is gone, what is persistent stays."""


class Heard(msgspec.Struct, frozen=True):
    """A wireless frame ended just now (``now``), CRCs checked and taken off.

    ``frame``    octets from the L field on, L of frame format A
    ``started``  seconds, first chip of its preamble
    ``rssi``     dBm, None where the receiver does not tell
    """

    frame: bytes
    started: float
    rssi: float | None = None


class Sent(msgspec.Struct, frozen=True):
    """An own wireless frame left the antenna: its last chip ended just now (``now``)."""

    frame: bytes
    started: float


class Octets(msgspec.Struct, frozen=True):
    """Octets from the wire, as they come; ``disturbed`` marks parity or framing errors among them."""

    octets: bytes
    disturbed: bool = False


class Transmit(msgspec.Struct, frozen=True):
    """Send octets.

    ``frame``       radio: from the L field on, without CRCs; wire: the whole frame
    ``not_before``  seconds, earliest start of the first chip or bit
    ``not_after``   seconds, latest start; None without limit. Who cannot keep it drops the frame and
                    tells nobody: to the machine it is a frame that was lost
    ``downlink``    radio: True for frames to end-devices (they go out on the downlink channel)
    """

    frame: bytes
    not_before: float
    not_after: float | None = None
    downlink: bool = False
