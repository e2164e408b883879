"""Looking into the world from outside: recordings of what a station hears, and ports for doors.

Recorder    lines of rtl_wmbus or JSON lines, one for each frame a station hears
WorldPort   a station as ``doors.port.RadioPort``: every frame told, frames sent into the window of their addressee
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import DecodeError
from openmetering.protocol.events import Heard, Transmit
from openmetering.protocol.radio.datagram import FAST, WINDOWS, Mode, read
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.doors.port import AirFrame
from openmetering.simulation.doors.rtl_wmbus import line
from openmetering.simulation.post import addressee
from openmetering.simulation.radio import Station

__all__ = ["FORMATS", "Recorder", "WorldPort"]

Format = Literal["rtl_wmbus", "jsonl"]
FORMATS: tuple[Format, ...] = ("rtl_wmbus", "jsonl")
_KEPT = 4  #: frames that wait for a window of one device


class Recorder:
    """Writes what stations hear. ``write`` takes a line without its end; ``start`` is civil time of second 0."""

    __slots__ = ("_epoch", "_format", "_start", "_write", "lines")

    def __init__(self, write: Callable[[str], object], start: dt.datetime, format: Format = "rtl_wmbus") -> None:
        self._write, self._start, self._format = write, start, format
        self._epoch = start.timestamp()
        self.lines = 0

    def attach(self, station: Station) -> Callable[[], None]:
        """Record a station from now on; returns how to stop."""

        def heard(event: Heard, air: AirInterface) -> None:
            self.lines += 1
            self._write(self._line(event, air, station))

        station.taps.append(heard)
        return lambda: station.taps.remove(heard)

    def _line(self, heard: Heard, air: AirInterface, station: Station) -> str:
        now = station.channel.kernel.now
        mode = air.mode[0]
        if self._format == "rtl_wmbus":
            return line(AirFrame(heard.frame, heard.rssi, mode, now), self._epoch)
        moment = (self._start + dt.timedelta(seconds=now)).isoformat(sep=" ", timespec="milliseconds")
        row = {
            "telegram": heard.frame.hex().upper(),
            "received_at": moment,
            "mode": mode,
            "rssi": heard.rssi,
            "station": station.name,
        }
        return msgspec.json.encode(row).decode()


class WorldPort:
    """A station for a foreign program.

    A frame to a device goes out in its next window: when the device was heard by this station with B, A = 10, or at
    once where the device listens all the time or the frame names nobody. ``listening`` asks the world.
    """

    __slots__ = ("_listening", "_modes", "_waiting", "_windows", "station")

    def __init__(self, station: Station, listening: Callable[[Address, float], bool]) -> None:
        self.station = station
        self._listening = listening
        self._modes: dict[bytes, str] = {}
        self._waiting: dict[bytes, list[tuple[bytes, str]]] = {}
        self._windows: dict[bytes, tuple[float, float]] = {}  #: device -> its last window
        station.taps.append(self._window)
        station.mode_of = self._mode_of

    def on_heard(self, heard: Callable[[AirFrame], None]) -> Callable[[], None]:
        """Have every frame told that the station hears; returns how to stop that."""

        def tap(event: Heard, air: AirInterface) -> None:
            heard(AirFrame(event.frame, event.rssi, air.mode[0], self.station.channel.kernel.now))

        self.station.taps.append(tap)
        return lambda: self.station.taps.remove(tap)

    def transmit(self, frame: bytes, mode: str) -> None:
        """Send a frame in a mode: into the window of its addressee, at once if that listens or is nobody known.

        The window is the one that is still to come after the last telegram of the addressee, else that of its next one.
        """
        now = self.station.channel.kernel.now
        self._modes[frame] = mode
        target = addressee(frame)
        if target is None or self._listening(target, now):
            self.station.transmit(Transmit(frame, now, None, downlink=True))
            return
        name = target.link_octets()
        opens, closes = self._windows.get(name, (now, -1.0))
        if now <= closes:
            self.station.transmit(Transmit(frame, max(now, (opens + closes) / 2), closes, downlink=True))
            return
        waiting = self._waiting.setdefault(name, [])
        waiting.append((frame, mode))
        del waiting[:-_KEPT]

    def _mode_of(self, event: Transmit) -> str:
        return self._modes.pop(event.frame, self.station.antenna.mode)

    def _window(self, heard: Heard, air: AirInterface) -> None:
        """A device was heard: what waits for it goes out in the middle of its window."""
        try:
            datagram = read(heard.frame)
        except DecodeError:
            return
        kind: Mode = "S" if air.mode[0] == "S" else "T" if air.mode[0] == "T" else "C"
        delay = WINDOWS[kind, bool(datagram.control & FAST)]
        now = self.station.channel.kernel.now
        opens, closes = now + delay.earliest, now + delay.latest
        names = [address.link_octets() for address in (datagram.application, datagram.sender) if address is not None]
        self._windows.update((name, (opens, closes)) for name in names)
        name = next((one for one in names if one in self._waiting), None)
        if name is None:
            return
        frame, _ = self._waiting[name].pop(0)
        if not self._waiting[name]:
            del self._waiting[name]
        self.station.transmit(Transmit(frame, (opens + closes) / 2, closes, downlink=True))
