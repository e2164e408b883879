"""Radiocrafts RC1180-MBUS and RC1701: frames from the length octet on.

With RSSI switched on (configuration octet 05) the last octet is the level, and the length
octet counts it. The stick has no command to change the mode for a while, only its
memory; set-up reads the memory and never writes it. Source: Radiocrafts MBUS user
manual; wmbusmeters.
"""

from __future__ import annotations

from typing import ClassVar

from openmetering.transport.reception import Reception, plausible_start
from openmetering.transport.sticks.base import Answer, Measure, Step, Stick, StickEvent

__all__ = ["Rc1180"]

_PROMPT = 0x3E
_MEMORY = 256
_RSSI = 0x05
_MBUS_MODE = 0x03
_UART = 0x30


class Rc1180(Stick):
    """``rssi`` is learned from the memory, True until then (as delivered with RSSI on by most sellers [?])."""

    name: ClassVar[str] = "rc1180"
    baud: ClassVar[int] = 19_200
    default_mode: ClassVar[str] = "t"
    modes: ClassVar[dict[str, int]] = {"s": 0, "t": 1}

    def __init__(self, source: str = "", *, rssi: bool = True) -> None:
        super().__init__(source)
        self.rssi = rssi
        self._awaiting: str | None = None

    def probe(self) -> Step:
        """Enter the configuration; the stick shows its prompt."""
        return Step(b"\x00", "prompt", "enter the configuration", timeout=0.5, attempts=2)

    def setup(self, mode: str | None = None) -> list[Step]:
        """Read the memory and leave the configuration."""
        self.mode = self.mode_name(mode)
        return [
            self.probe(),
            Step(b"0", "memory", "read the memory"),
            Step(b"X", None, "leave the configuration"),
        ]

    def begin(self, step: Step) -> None:
        """While a prompt or the memory is due, the octets are no frames."""
        self._awaiting = step.expect if step.expect in ("prompt", "memory") else None
        self._buffer = b""

    def measure(self, buffer: bytes) -> Measure:
        """The prompt, the memory with its prompt, or a frame."""
        if self._awaiting == "prompt":
            return 1 if buffer[0] == _PROMPT else -1
        if self._awaiting == "memory":
            if len(buffer) <= _MEMORY:
                return 0
            return _MEMORY + 1 if buffer[_MEMORY] == _PROMPT else -1
        length = buffer[0] - (1 if self.rssi else 0)
        if not plausible_start(bytes((max(length, 0),)) + buffer[1:4]):
            return -1
        size = buffer[0] + 1
        return size if len(buffer) >= size else 0

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """A prompt, the memory, or a received frame."""
        if self._awaiting == "prompt":
            self._awaiting = None
            return Answer("prompt")
        if self._awaiting == "memory":
            self._awaiting = None
            return Answer("memory", octets[:_MEMORY], self._learn(octets))
        content, raw = octets[1:], None
        if self.rssi:
            content, raw = content[:-1], content[-1]
        level = None if raw is None else -raw / 2
        frame = bytes((len(content),)) + content
        return Reception(frame, now, self.source, rssi_dbm=level, rssi_raw=raw, mode=self.radio_mode, crc=True)

    def _learn(self, memory: bytes) -> str:
        self.rssi = memory[_RSSI] != 0
        stored = "t" if memory[_MBUS_MODE] == 1 else "s"
        text = f"RC1180, RSSI {'on' if self.rssi else 'off'}, stored mode {stored.upper()}"
        if stored != self.mode:
            text += f"; mode {(self.mode or '').upper()} must be set in its memory with the maker's tool"
            self.mode = stored
        return text
