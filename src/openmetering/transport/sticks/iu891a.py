"""IMST iU891A-XL: SLIP frames.

    C0  SAP  message  [status]  payload  CRC(2, little endian)  C0      escapes DB DC = C0, DB DD = DB

    SAP 1  device management: 01/02 ping, 03/04 device information, 05/06 firmware
    SAP 9  wM-Bus gateway: 01/02 and 03/04 get and set the active configuration, 20h received frame

Answers carry a status octet, indications do not. Source: wmbusmeters; CRC recomputed.
"""

from __future__ import annotations

from typing import ClassVar

from openmetering.transport.reception import Reception
from openmetering.transport.sticks.base import Answer, Measure, Noise, Step, Stick, StickEvent, crc16_ccitt

__all__ = ["Iu891a"]

_END, _ESCAPE, _ESCAPED_END, _ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
_DEVICE, _GATEWAY = 1, 9
_PING, _SET_CONFIGURATION, _HEARD = 0x01, 0x03, 0x20
_WAKE = bytes((_END,)) * 30
_LONGEST = 700
_RSSI_AT, _FRAME_AT = 7, 8


def slip(content: bytes) -> bytes:
    """A SLIP frame with its CRC."""
    content += crc16_ccitt(content).to_bytes(2, "little")
    body = content.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return bytes((_END,)) + body + bytes((_END,))


def unslip(body: bytes) -> bytes:
    """The octets between two C0, escapes undone."""
    return body.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")


class Iu891a(Stick):
    """Mode ct hears C and T at once. Sending is not documented publicly [?] and refused."""

    name: ClassVar[str] = "iu891a"
    baud: ClassVar[int] = 115_200
    modes: ClassVar[dict[str, int]] = {"s": 1, "t": 2, "ct": 3, "c": 5}
    can_send: ClassVar[bool] = False

    def probe(self) -> Step:
        """Wake the stick and ping it."""
        return Step(_WAKE + slip(bytes((_DEVICE, _PING))), "01.02", "wake up and ping", timeout=0.5)

    def setup(self, mode: str | None = None) -> list[Step]:
        """Ping, set the active configuration: mode, receive indication on, LEDs and recalibration off."""
        self.mode = self.mode_name(mode)
        options = (0x0002).to_bytes(2, "little")
        configuration = bytes((self.modes[self.mode],)) + options + bytes(8)
        content = bytes((_GATEWAY, _SET_CONFIGURATION)) + configuration
        return [self.probe(), Step(_WAKE + slip(content), "09.04", f"set mode {self.mode}")]

    def measure(self, buffer: bytes) -> Measure:
        """From one C0 to the next; C0 alone is idle."""
        if buffer[0] != _END:
            end = buffer.find(bytes((_END,)))
            return -1 if end >= 0 or len(buffer) > _LONGEST else 0
        end = buffer.find(bytes((_END,)), 1)
        if end == 1:
            return 1
        if end < 0:
            return -1 if len(buffer) > _LONGEST else 0
        return end  # the closing C0 stays: it may open the next frame

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """A received frame or an answer; a wrong CRC is noise."""
        content = unslip(octets[1:])
        if not content:
            return None
        if len(content) < 4 or crc16_ccitt(content[:-2]) != content[-2] | content[-1] << 8:
            return Noise(octets, "the CRC of the stick is wrong")
        sap, message, payload = content[0], content[1], content[2:-2]
        if (sap, message) == (_GATEWAY, _HEARD):
            return self._frame(payload, now) or Noise(octets, "too short for a frame")
        status = payload[:1]
        remark = f"the stick answers with status {status[0]:02X}h" if status and status[0] else ""
        return Answer(f"{sap:02X}.{message:02X}", payload, remark)

    def _frame(self, payload: bytes, now: float) -> Reception | None:
        """Octets 0..3 time stamp, 7 RSSI (signed, dBm), 8.. frame from L on without CRCs."""
        frame = payload[_FRAME_AT:]
        if len(frame) < 10:
            return None
        raw = payload[_RSSI_AT]
        level = float(raw - 256 if raw > 127 else raw)
        return Reception(frame, now, self.source, rssi_dbm=level, rssi_raw=raw, mode=self.radio_mode, crc=True)
