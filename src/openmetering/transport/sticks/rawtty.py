"""Serial lines without a protocol of their own: raw frames, or text lines of a receiver."""

from __future__ import annotations

from typing import ClassVar

from openmetering.transport.lines import LineReader
from openmetering.transport.raw import RawReader
from openmetering.transport.reception import BadLine, Reception
from openmetering.transport.sticks.base import Noise, Stick, StickEvent

__all__ = ["RawTty", "RtlWmbus"]


def _events(items: list[Reception | BadLine]) -> list[StickEvent]:
    return [item if isinstance(item, Reception) else Noise(item.line.encode(), item.error.message) for item in items]


class RawTty(Stick):
    """Frames from L on (or wired frames), nothing else."""

    name: ClassVar[str] = "rawtty"
    baud: ClassVar[int] = 9600
    default_mode: ClassVar[str] = "auto"
    can_send: ClassVar[bool] = False

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        self._reader = RawReader(self.source)

    def feed(self, octets: bytes, now: float) -> list[StickEvent]:
        """Octets from the line."""
        return _events(self._reader.feed(octets, now))


class RtlWmbus(Stick):
    """Lines of rtl_wmbus, of an ESPHome receiver, or of any other known text format."""

    name: ClassVar[str] = "rtlwmbus"
    baud: ClassVar[int] = 115_200
    default_mode: ClassVar[str] = "auto"
    can_send: ClassVar[bool] = False

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        self._reader = LineReader("auto", self.source)

    def feed(self, octets: bytes, now: float) -> list[StickEvent]:
        """Octets from the line."""
        return _events(self._reader.feed(octets, now))
