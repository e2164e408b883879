"""Amber/Wuerth AMB8465 (868 MHz), AMB8665 and AMB3665 (169 MHz), Metis-II.

    FF  command  length  payload  XOR        commands and answers (answer = request | 80h)
    length  C ...  [RSSI]                    received frames in transparent output; length counts the RSSI octet

Which of the two forms is used, and whether RSSI is appended, stands in the parameter
block that set-up reads. Source: FHEM and wmbusmeters; Wuerth manuals.
"""

from __future__ import annotations

from typing import ClassVar

from openmetering.transport.reception import Reception, plausible_start
from openmetering.transport.sticks.base import Answer, Measure, Step, Stick, StickEvent, signed_rssi

__all__ = ["Amb8465"]

_START = 0xFF
_SEND, _HEARD, _SET_MODE, _GET = 0x00, 0x03, 0x04, 0x0A
_KNOWN = frozenset(
    (0x00, 0x03, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x90, 0x91, 0xB0, 0xB1, 0xD0, 0xD1, 0xD2)
)
_PARAMETER_COMMAND_OUTPUT = 5
_PARAMETER_RSSI = 69
_MODES_868 = {
    "s1": 0x01,
    "s-m": 0x02,
    "s": 0x03,
    "s2": 0x03,
    "t1-meter": 0x05,
    "t1": 0x06,
    "t2-meter": 0x07,
    "t": 0x08,
    "ct": 0x09,
    "c1-meter": 0x0C,
    "c2-meter": 0x0D,
    "c": 0x0E,
}
_MODES_169 = {f"n{direction}{channel}": 2 * at + direction for at, channel in enumerate("abcdef") for direction in (1, 2)} | {
    "n2g": 0x0D
}
_BLOCK_868, _BLOCK_169 = 0x78, 0x80
_SEND_MODES = {"s": "s1", "s2": "s2", "t": "t1-meter", "t2": "t", "c": "c1-meter", "c2": "c"}


def _xor(octets: bytes) -> int:
    result = 0
    for octet in octets:
        result ^= octet
    return result


def _command(command: int, payload: bytes = b"") -> bytes:
    octets = bytes((_START, command, len(payload))) + payload
    return octets + bytes((_xor(octets),))


class Amb8465(Stick):
    """``rssi`` and ``command_output`` are learned from the parameter block; None as long as it is unknown."""

    name: ClassVar[str] = "amb8465"
    baud: ClassVar[int] = 9600
    modes: ClassVar[dict[str, int]] = _MODES_868 | _MODES_169

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        self.rssi: bool | None = None
        self.command_output: bool | None = None

    def probe(self) -> Step:
        """Read all parameters."""
        return Step(_command(_GET, b"\x00\x80"), "8A", "read the parameters")

    def setup(self, mode: str | None = None) -> list[Step]:
        """Read the parameters, set the mode (volatile)."""
        self.mode = self.mode_name(mode)
        return [self.probe(), self._mode_step(self.mode)]

    def _mode_step(self, mode: str) -> Step:
        return Step(_command(_SET_MODE, bytes((self.modes[mode],))), "84", f"set mode {mode}")

    def send(self, frame: bytes, mode: str) -> list[Step]:
        """Set the sending mode, send from the C field on, set the mode back.

        That the payload starts at the C field, as in received frames, is not documented publicly [?].
        """
        wanted = _SEND_MODES.get(mode.lower()) or self.mode_name(mode)
        step = Step(_command(_SEND, frame[1:]), "80", "send a frame", attempts=1)
        back = [self._mode_step(self.mode)] if self.mode else []
        return [self._mode_step(wanted), step, *back]

    def measure(self, buffer: bytes) -> Measure:
        """A command frame with a right XOR, else a frame in transparent output."""
        if buffer[0] == _START:
            return _measure_command(buffer)
        if self.command_output:
            return -1
        extra = 1 if self.rssi else 0
        length = buffer[0] - extra
        if not plausible_start(bytes((max(length, 0),)) + buffer[1:4]):
            return -1
        size = buffer[0] + 1
        return size if len(buffer) >= size else 0

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """A received frame or an answer; the parameter block teaches the output form."""
        if octets[0] != _START:
            return self._heard_frame(octets[1:], now)
        command, payload = octets[1], octets[3:-1]
        if command == _HEARD:
            return self._heard_frame(payload, now)
        remark = self._learn(payload) if command == _GET | 0x80 else ""
        return Answer(f"{command:02X}", payload, remark)

    def _heard_frame(self, content: bytes, now: float) -> Reception:
        raw = None
        if self.rssi:
            content, raw = content[:-1], content[-1]
        level = None if raw is None else signed_rssi(raw)
        frame = bytes((len(content),)) + content
        return Reception(frame, now, self.source, rssi_dbm=level, rssi_raw=raw, mode=self.radio_mode, crc=True)

    def _learn(self, payload: bytes) -> str:
        """Payload of the answer: first parameter, number of parameters, their octets."""
        parameters = payload[2:]
        if payload[:1] != b"\x00" or len(parameters) <= _PARAMETER_RSSI:
            return ""
        self.rssi = parameters[_PARAMETER_RSSI] != 0
        self.command_output = parameters[_PARAMETER_COMMAND_OUTPUT] != 0
        kind = {_BLOCK_868: "AMB8465", _BLOCK_169: "AMB3665"}.get(payload[1], "Amber stick")
        return f"{kind}, {'command' if self.command_output else 'transparent'} output, RSSI {'on' if self.rssi else 'off'}"


def _measure_command(buffer: bytes) -> Measure:
    if len(buffer) < 3:
        return 0 if len(buffer) == 1 or buffer[1] in _KNOWN else -1
    if buffer[1] not in _KNOWN:
        return -1
    size = buffer[2] + 4
    if len(buffer) < size:
        return 0
    return size if _xor(buffer[: size - 1]) == buffer[size - 1] else -1
