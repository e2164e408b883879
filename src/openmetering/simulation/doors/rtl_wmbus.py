"""Lines as the program rtl_wmbus prints them, of a simulated receiver.

    MODE;CRC_OK;3OF6_OK;TIME;PACKET_RSSI;CURRENT_RSSI;ID;0xHEX

MODE is S1, T1 or C1, TIME local time with milliseconds, ID the identification number with the most significant digit
first, HEX the frame without CRCs. The two levels count magnitude of the samples, not dBm.
"""

from __future__ import annotations

from datetime import datetime

from openmetering.simulation.doors.port import AirFrame, AirOrder

__all__ = ["RtlWmbusLines", "line"]

_FULL_SCALE = -30.0  #: dBm that fill the range of the samples; depends on the gain of a receiver
_LARGEST = 181  #: magnitude of two full 8-bit samples, 128 * sqrt(2)


def magnitude(rssi: float) -> int:
    """The level in counts: 181 at full scale, a factor 10 less for 20 dB less, 1 at least."""
    return max(1, min(_LARGEST, round(_LARGEST * 10 ** ((rssi - _FULL_SCALE) / 20))))


def line(frame: AirFrame, epoch: float) -> str:
    """The line of a frame; ``epoch`` is the time (seconds since 1970) at virtual second 0."""
    moment = datetime.fromtimestamp(epoch + frame.time).isoformat(sep=" ", timespec="milliseconds")
    level = "" if frame.rssi is None else str(magnitude(frame.rssi))
    number = frame.frame[4:8][::-1].hex().upper()
    return f"{frame.mode}1;1;1;{moment};{level};{level};{number};0x{frame.frame.hex().upper()}"


class RtlWmbusLines:
    """A receiver that prints lines; it cannot send and does not listen to its host.

    ``modes``  letters of the radio modes it hears
    ``epoch``  seconds since 1970 at virtual second 0
    """

    def __init__(self, epoch: float, modes: str = "STC") -> None:
        self.epoch = epoch
        self.modes = modes

    def heard(self, frame: AirFrame) -> bytes:
        """The line of a frame, with its end."""
        return f"{line(frame, self.epoch)}\n".encode() if frame.mode in self.modes else b""

    def feed(self, octets: bytes) -> list[bytes | AirOrder]:
        """What the host says does not matter."""
        return []

    def reset(self) -> None:
        """There is nothing to forget."""
