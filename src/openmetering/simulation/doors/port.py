"""Where a door for radio receivers meets the radio world: a station that tells what it hears and sends what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

__all__ = ["AirFrame", "AirOrder", "Dialect", "RadioPort"]


class AirFrame(msgspec.Struct, frozen=True):
    """A frame that a station heard.

    ``frame``  octets from the L field on, L of frame format A, without CRCs
    ``rssi``   dBm, None where the world does not say
    ``mode``   radio mode: S, T or C
    ``time``   virtual seconds, end of the frame
    """

    frame: bytes
    rssi: float | None
    mode: str
    time: float


class AirOrder(msgspec.Struct, frozen=True):
    """A frame that the host of a stick wants on air: octets as in ``AirFrame``, radio mode."""

    frame: bytes
    mode: str


class RadioPort(Protocol):
    """A station of the radio world as doors see it."""

    def on_heard(self, heard: Callable[[AirFrame], None]) -> Callable[[], None]:
        """Have every frame told that the station hears; returns how to stop that."""
        ...

    def transmit(self, frame: bytes, mode: str) -> None:
        """Send a frame (from the L field on, without CRCs) in a mode: into the window of its addressee, if it has one."""
        ...


class Dialect(Protocol):
    """The host interface of a receiver: what it says to its host, and what it makes of what the host says."""

    def heard(self, frame: AirFrame) -> bytes:
        """The octets for the host; empty if the receiver does not report the frame."""
        ...

    def feed(self, octets: bytes) -> list[bytes | AirOrder]:
        """Octets of the host: answers and frames to send, in order."""
        ...

    def reset(self) -> None:
        """The host has gone: an unfinished message is forgotten."""
        ...
