"""A wired line as a service: where it is, its machines in real time, one after the other.

    mbus:/dev/ttyUSB1?baud=2400&address=5          a converter on a serial line
    mbus+tcp://192.0.2.8:10001?secondary=12345678  a converter behind TCP

Options: baud, latency (what converter and network add to an answer), attempts, address or secondary (the slave).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec

from openmetering.protocol.events import Octets
from openmetering.protocol.machine import SansIO
from openmetering.protocol.wired.master import OutEvent, UseBaud, WiredMaster
from openmetering.protocol.wired.orders import Order, ReadPrimary, ReadSecondary, Target
from openmetering.protocol.wired.timing import LineTiming
from openmetering.services.pump import LinePort, LoopClock, drive
from openmetering.transport.links import Link, open_serial, open_tcp
from openmetering.transport.source_address import Options, parse_source, wrong
from openmetering.transport.wired_door import primary_addresses, secondary_selection

__all__ = ["WiredLine", "WiredPlace", "find_place", "open_line", "open_link"]

In = TypeVar("In")
Out = TypeVar("Out")

_TCP_LATENCY, _SERIAL_LATENCY = 0.5, 0.1
_SCHEMES = ("mbus", "mbus+tcp", "serial")


def _ignore(event: object) -> None:
    """Nobody wants to know."""


class WiredPlace(msgspec.Struct, frozen=True):
    """Where a line is, and how it is talked to. ``host`` is empty for a serial line; ``target`` the slave that was named."""

    name: str
    device: str
    host: str = ""
    port: int = 0
    baud: int = 2400
    latency: float = _SERIAL_LATENCY
    attempts: int = 3
    target: Target | None = None

    @property
    def timing(self) -> LineTiming:
        """The times of the line."""
        return LineTiming(self.baud, self.latency)


def find_place(text: str) -> WiredPlace:
    """The place that a source string names; a plain device is a converter there. Raises InputError (``input.source``)."""
    address = parse_source(text)
    if address.scheme not in _SCHEMES:
        raise wrong(f"{text!r} is no wired bus; write mbus:/dev/ttyUSB1 or mbus+tcp://HOST:PORT")
    options = Options(address)
    tcp = address.scheme == "mbus+tcp"
    primary, secondary = options.text("address"), options.text("secondary")
    place = WiredPlace(
        address.name,
        "" if tcp else address.target,
        address.target if tcp else "",
        address.port or 0,
        options.number("baud", 2400),
        options.seconds("latency", _TCP_LATENCY if tcp else _SERIAL_LATENCY) or 0.0,
        max(1, options.number("attempts", 3)),
        _target(primary, secondary),
    )
    options.done()
    if place.baud < 1:
        raise wrong(f"baud={place.baud} is no rate")
    return place


def _target(primary: str, secondary: str) -> Target | None:
    if primary and secondary:
        raise wrong("a slave has a primary or a secondary address here, not both: give address= or secondary=")
    if primary:
        addresses = primary_addresses(primary)
        if len(addresses) > 1:
            raise wrong(f"address={primary} names several slaves, one is meant")
        return ReadPrimary(addresses[0])
    return ReadSecondary(secondary_selection(secondary)) if secondary else None


async def open_link(place: WiredPlace) -> Link:
    """Open the line. Raises TransportError."""
    if place.host:
        return await open_tcp(place.host, place.port)
    return await open_serial(place.device, place.baud, parity="E")


class WiredLine:
    """An open line with a master on it."""

    __slots__ = ("_clock", "_port", "master", "place")

    def __init__(self, place: WiredPlace, port: LinePort) -> None:
        self.place = place
        self.master = WiredMaster(place.timing, attempts=place.attempts)
        self._port = port
        self._clock = LoopClock()

    async def order(self, order: Order, tell: Callable[[OutEvent], None] = _ignore) -> OutEvent:
        """Carry out an order of the master; ``tell`` gets everything it says, the last word is returned.

        Raises TransportError if the line fails; ProtocolError, OutOfRange or NotRepresentable for an order that makes no sense
        """
        said: list[OutEvent] = []

        def hear(event: OutEvent) -> None:
            said.append(event)
            tell(event)

        await drive(self.master, self._port, order, hear, clock=self._clock)
        return said[-1]

    async def use_baud(self, baud: int) -> None:
        """Go on at another rate. Raises TransportError."""
        await drive(self.master, self._port, UseBaud(baud), _ignore, clock=self._clock)

    async def run(self, machine: SansIO[In | Octets, Out], event: In, tell: Callable[[Out], None]) -> None:
        """Carry a search or a scan through. Raises TransportError."""
        await drive(machine, self._port, event, tell, clock=self._clock)


@contextlib.asynccontextmanager
async def open_line(place: WiredPlace) -> AsyncIterator[WiredLine]:
    """The line while the block runs. Raises TransportError."""
    port = LinePort(place.name, await open_link(place))
    try:
        yield WiredLine(place, port)
    finally:
        await port.close()
