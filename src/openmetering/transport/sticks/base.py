"""What all sticks have in common: steps, answers, a buffer that finds its place again."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from openmetering.errors import InputError, TransportError
from openmetering.transport.reception import Reception

__all__ = ["Answer", "Measure", "Noise", "Step", "Stick", "StickEvent", "crc16_ccitt", "signed_rssi"]


class Step(msgspec.Struct, frozen=True):
    """Octets to send and the answer that must come: ``expect`` is an ``Answer.kind``, None for no answer."""

    send: bytes
    expect: str | None
    meaning: str
    timeout: float = 1.0
    attempts: int = 3


class Answer(msgspec.Struct, frozen=True):
    """What the stick says about itself; ``remark`` is text for people."""

    kind: str
    payload: bytes = b""
    remark: str = ""


class Noise(msgspec.Struct, frozen=True):
    """Octets that were thrown away to find the place again."""

    octets: bytes
    reason: str


StickEvent = Reception | Answer | Noise
Measure = int  #: octets of the unit at the start of the buffer; 0 more are needed, -1 none starts here


class Stick:
    """A stick protocol. Subclasses say how units are found (``measure``) and what they mean (``unit``).

    ``baud`` is the speed of the line, 8N1. ``modes`` are the names for ``mode=``.
    """

    name: ClassVar[str] = "stick"
    baud: ClassVar[int] = 9600
    default_mode: ClassVar[str] = "ct"
    modes: ClassVar[dict[str, int]] = {}
    can_send: ClassVar[bool] = True
    stall: ClassVar[float] = 2.0  #: seconds after which an unfinished unit is given up

    def __init__(self, source: str = "") -> None:
        self.source = source or self.name
        self.mode: str | None = None
        self._buffer = b""
        self._heard: float | None = None

    # -- the interface of the door -------------------------------------------------------

    def probe(self) -> Step:
        """The step whose answer proves that this stick is there."""
        raise TransportError(f"{self.name} cannot be detected; name it with stick=", code="transport.stick", layer="transport")

    def setup(self, mode: str | None = None) -> list[Step]:
        """The steps from power-up to receiving in a mode. Raises InputError (``input.mode``) for a mode it has not."""
        self.mode = self.mode_name(mode)
        return []

    def send(self, frame: bytes, mode: str) -> list[Step]:
        """The steps that send a frame without CRCs (L in format A counting) in a mode.

        Raises TransportError (``transport.send``) if the stick cannot send
        """
        raise TransportError(f"{self.name} cannot send", code="transport.send", layer="transport")

    def begin(self, step: Step) -> None:
        """The door says that the octets of a step go out now."""

    def feed(self, octets: bytes, now: float) -> list[StickEvent]:
        """Octets from the stick, at the time ``now``."""
        events: list[StickEvent] = []
        if self._buffer and self._heard is not None and now - self._heard > self.stall:
            self._drop(1, "unfinished unit", events)
            self._scan(now, events)
        self._heard = now
        self._buffer += octets
        self._scan(now, events)
        return events

    # -- for subclasses ------------------------------------------------------------------

    def measure(self, buffer: bytes) -> Measure:
        """Octets of the unit at the start of the buffer: 0 if more are needed, -1 if none starts there."""
        raise TransportError(f"{self.name} has no units", code="transport.stick", layer="transport")

    def unit(self, octets: bytes, now: float) -> StickEvent | None:
        """What one whole unit means; None for nothing worth telling."""
        raise TransportError(f"{self.name} has no units", code="transport.stick", layer="transport")

    def mode_name(self, mode: str | None) -> str:
        """The wanted mode, checked. Raises InputError (``input.mode``)."""
        wanted = (mode or self.default_mode).lower()
        if self.modes and wanted not in self.modes:
            raise InputError(
                f"{self.name} has no mode {wanted!r}; choose one of {', '.join(self.modes)}", code="input.mode", layer="input"
            )
        return wanted

    @property
    def radio_mode(self) -> str | None:
        """T, C, S or N where the set mode leaves no choice."""
        mode = (self.mode or "").upper()
        return mode[:1] if mode and mode not in ("CT", "ALL", "AUTO") else None

    def _scan(self, now: float, events: list[StickEvent]) -> None:
        junk = b""
        while self._buffer:
            size = self.measure(self._buffer)
            if size == 0:
                break
            if size < 0:
                junk += self._buffer[:1]
                self._buffer = self._buffer[1:]
                continue
            octets, self._buffer = self._buffer[:size], self._buffer[size:]
            if junk:
                events.append(Noise(junk, "no unit starts here"))
                junk = b""
            event = self.unit(octets, now)
            if event is not None:
                events.append(event)
        if junk:
            events.append(Noise(junk, "no unit starts here"))

    def _drop(self, count: int, reason: str, events: list[StickEvent]) -> None:
        events.append(Noise(self._buffer[:count], reason))
        self._buffer = self._buffer[count:]


def _ccitt_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CCITT = _ccitt_table()


def crc16_ccitt(octets: bytes) -> int:
    """CRC of the host interface of IMST sticks; sent least significant octet first.

    Polynomial 1021h reflected (8408h), start FFFFh, result inverted. This is not the CRC of EN 13757.
    """
    crc = 0xFFFF
    for octet in octets:
        crc = crc >> 8 ^ _CCITT[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFF


def signed_rssi(raw: int) -> float:
    """Level in dBm of the signed octet of a CC1101 receiver: value / 2 - 74."""
    return (raw - 256 if raw > 127 else raw) / 2 - 74
