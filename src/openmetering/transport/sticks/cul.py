"""CUL and nanoCUL (culfw, a-culfw): text lines.

    V              version                     br s|t|c       receive; answer SMODE, TMODE, CMODE
    X21            report LQI and RSSI         bss, bst HEX   send in S or T, CRCs included
    b HEX..        received, format A          bY HEX..       received, mode C format B

Source: a-culfw ``clib/rf_mbus.c``; FHEM.
"""

from __future__ import annotations

from typing import ClassVar

from openmetering.codec.link.wireless import frame as add_crc
from openmetering.errors import InputError
from openmetering.transport.lines import read_cul
from openmetering.transport.reception import Reception
from openmetering.transport.sticks.base import Answer, Measure, Noise, Step, Stick, StickEvent

__all__ = ["Cul"]

_LONGEST = 1200  #: octets of a line; what is longer is garbage


class Cul(Stick):
    """Everything is a line; lines that start with b are frames."""

    name: ClassVar[str] = "cul"
    baud: ClassVar[int] = 38_400
    default_mode: ClassVar[str] = "t"
    modes: ClassVar[dict[str, int]] = {"s": ord("s"), "t": ord("t"), "c": ord("c"), "ct": ord("c")}

    def probe(self) -> Step:
        """Ask for the version."""
        return Step(b"V\r\n", "V", "ask for the version", timeout=0.7)

    def setup(self, mode: str | None = None) -> list[Step]:
        """Version, receive mode (with ``c`` some firmware hears T as well), LQI and RSSI on."""
        self.mode = self.mode_name(mode)
        letter = chr(self.modes[self.mode])
        return [
            self.probe(),
            Step(f"br{letter}\r\n".encode(), f"{letter.upper()}MODE", f"receive in mode {self.mode}"),
            Step(b"X21\r\n", None, "report LQI and RSSI"),
        ]

    def send(self, frame: bytes, mode: str) -> list[Step]:
        """S and T only, in format A; the firmware adds no CRCs."""
        if mode.lower() not in ("s", "t"):
            return super().send(frame, mode)
        text = f"bs{mode.lower()}{add_crc(frame, 'A').hex().upper()}\r\n"
        return [Step(text.encode(), None, "send a frame", attempts=1)]

    def measure(self, buffer: bytes) -> Measure:
        """Up to the line end."""
        end = buffer.find(b"\n")
        if end >= 0:
            return end + 1
        return -1 if len(buffer) > _LONGEST else 0

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """A frame, an answer, or nothing for an empty line."""
        text = octets.decode("latin-1").strip("\r\n\x00 ")
        if not text:
            return None
        if text[0] != "b":
            return Answer(text.split()[0], text.encode("latin-1"), text if text[0] == "V" else "")
        try:
            heard = read_cul(text, self.source, now)
        except InputError as error:
            return Noise(octets, error.message)
        # the receiver in mode C hears T as well, and a line with format A does not tell which it was
        mode = heard.mode or (self.radio_mode if self.mode in ("s", "t") else None)
        return Reception(heard.frame, now, self.source, heard.rssi_dbm, heard.rssi_raw, mode, heard.frame_format)
