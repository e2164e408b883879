"""IMST iM871A (868 MHz) and iM170A (169 MHz): WM-Bus HCI.

    A5  flags|endpoint  message  N  payload(N)  [timestamp 4]  [RSSI 1]  [CRC 2, little endian]

    flags      80h CRC, 40h RSSI, 20h timestamp present; 10h must be 0
    endpoint   1 device management, 2 radio link, 3 radio link test, 4 hardware test

Source: IMST WM-Bus HCI; wmbusmeters; CRC recomputed.
"""

from __future__ import annotations

from typing import ClassVar

from openmetering.transport.reception import Reception
from openmetering.transport.sticks.base import Answer, Measure, Step, Stick, StickEvent, crc16_ccitt

__all__ = ["Im871a"]

_START = 0xA5
_DEVICE, _RADIO = 1, 2
_PING, _SET_CONFIG, _DEVICE_INFO = 0x01, 0x03, 0x0F
_SEND, _HEARD = 0x01, 0x03
_LARGEST = 250  #: octets that one request can send
_MODES_868 = {"s": 0, "s-m": 1, "s2": 2, "t": 3, "t2": 4, "r2": 5, "c": 6, "c-b": 7, "c2": 8, "c2-b": 9, "ct": 10}
_MODES_169 = {
    f"n{direction}{channel}": 10 + 2 * at + direction - 1 for at, channel in enumerate("abcdef") for direction in (1, 2)
}
_MODULES = {0x33: "iM871A", 0x36: "iM170A"}


def _command(endpoint: int, message: int, payload: bytes = b"") -> bytes:
    return bytes((_START, endpoint, message, len(payload))) + payload


class Im871a(Stick):
    """The stick answers every request with the message number one higher."""

    name: ClassVar[str] = "im871a"
    baud: ClassVar[int] = 57_600
    modes: ClassVar[dict[str, int]] = _MODES_868 | _MODES_169

    def probe(self) -> Step:
        """Ping; the answer is fixed."""
        return Step(_command(_DEVICE, _PING), "01.02", "ping", timeout=0.5)

    def setup(self, mode: str | None = None) -> list[Step]:
        """Ping, ask what it is, set the link mode (not stored) and switch RSSI on, time stamps off."""
        self.mode = self.mode_name(mode)
        return [
            self.probe(),
            Step(_command(_DEVICE, _DEVICE_INFO), "01.10", "ask for the kind of device"),
            self._mode_step(self.mode),
        ]

    def _mode_step(self, mode: str) -> Step:
        # store 0, flags 1: link mode given, mode, flags 2: RSSI (10h) and time stamp (20h) given, RSSI on, time stamp off
        payload = bytes((0, 0x02, self.modes[mode], 0x30, 1, 0))
        return Step(_command(_DEVICE, _SET_CONFIG, payload), "01.04", f"set link mode {mode}")

    def send(self, frame: bytes, mode: str) -> list[Step]:
        """Set the mode if it differs, send from the C field on (the stick adds L and CRCs), set the mode back."""
        wanted = self.mode_name(mode)
        if len(frame) - 1 > _LARGEST:
            return super().send(frame, mode)
        step = Step(_command(_RADIO, _SEND, frame[1:]), "02.02", "send a frame", attempts=1)
        if wanted == self.mode:
            return [step]
        back = [self._mode_step(self.mode)] if self.mode else []
        return [self._mode_step(wanted), step, *back]

    def measure(self, buffer: bytes) -> Measure:
        """A5, known flags and endpoint, CRC if announced."""
        if buffer[0] != _START:
            return -1
        if len(buffer) < 4:
            return 0 if len(buffer) < 2 or _plausible(buffer[1]) else -1
        flags = buffer[1]
        if not _plausible(flags):
            return -1
        size = 4 + buffer[3] + (4 if flags & 0x20 else 0) + (1 if flags & 0x40 else 0) + (2 if flags & 0x80 else 0)
        if len(buffer) < size:
            return 0
        if flags & 0x80 and crc16_ccitt(buffer[1 : size - 2]) != buffer[size - 2] | buffer[size - 1] << 8:
            return -1
        return size

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """A received frame (payload from the C field, CRCs removed) or an answer."""
        flags, message, length = octets[1], octets[2], octets[3]
        endpoint, payload = flags & 0x0F, octets[4 : 4 + length]
        if endpoint == _RADIO and message == _HEARD:
            raw = octets[4 + length + (4 if flags & 0x20 else 0)] if flags & 0x40 else None
            return Reception(
                bytes((length,)) + payload,
                now,
                self.source,
                rssi_dbm=None if raw is None else _level(raw),
                rssi_raw=raw,
                mode=self.radio_mode,
                crc=True,
            )
        return Answer(f"{endpoint:02X}.{message:02X}", payload, _remark(endpoint, message, payload))


def _plausible(flags: int) -> bool:
    return not flags & 0x10 and 1 <= flags & 0x0F <= 4


def _level(raw: int) -> float:
    """RSSI in dBm: -100 + (raw - 45) / 2; saturates at 0 from 230 on."""
    return 0.0 if raw >= 230 else -100 + 0.5 * (raw - 45)


def _remark(endpoint: int, message: int, payload: bytes) -> str:
    if endpoint == _DEVICE and message == _DEVICE_INFO + 1 and len(payload) >= 8:
        module = _MODULES.get(payload[0], f"module {payload[0]:02X}h")
        return f"{module}, firmware {payload[2]:02X}h, number {payload[7:3:-1].hex().upper()}"
    return ""
