"""A radio stick as the port of a gateway: telegrams in, frames for the stick out.

    serial:/dev/ttyUSB0?stick=im871a&mode=c     a stick at a serial line
    tcp://192.0.2.7:4001?stick=im871a&mode=c    the same behind TCP (a device server, a simulated one)

**Windows.** A device listens for a millisecond or two, some time after its telegram (100 ms or 1 s in mode C).
No program on a host keeps that: the stick must. So a frame goes to the stick as soon as it is known
(``window=stick``), and the stick sends it into the window. A stick that sends whatever it gets at once needs
``window=host``: then the frame is held back until its time less ``lead``, and what the system is late is lost.
A frame is kept back no longer than its time: after that it is dropped, and comes again with the next telegram.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from openmetering.codec.link.wireless import unframe
from openmetering.errors import DecodeError, TransportError
from openmetering.protocol.events import Heard, Transmit
from openmetering.services.pump import Inbox
from openmetering.transport.links import Link, open_serial, open_tcp
from openmetering.transport.reception import Item, Notice, Reception
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import Options, SourceAddress, wrong

__all__ = ["RadioPlace", "StickPort", "radio_place"]

_READY = 10.0  #: seconds until a stick must have answered


class RadioPlace:
    """Where a stick is: its door, its radio mode, who keeps the windows."""

    __slots__ = ("door", "held", "lead", "mode", "name")

    def __init__(self, address: SourceAddress, clock: Callable[[], float]) -> None:
        options = Options(address)
        window = options.text("window", "stick")
        if window not in ("stick", "host"):
            raise wrong(f"window={window}: windows are kept by the stick or by the host")
        self.held = window == "host"
        self.lead = options.seconds("lead", 0.0) or 0.0
        self.mode = options.text("mode", "c").lower()
        if self.mode[:1] not in ("s", "t", "c") or self.mode == "ct":
            raise wrong(f"mode={self.mode}: a gateway that sends needs one mode, c, t or s")
        self.name = address.name
        rest = {name: value for name, value in address.options.items() if name not in ("window", "lead")}
        rest.setdefault("mode", self.mode)
        target = address.target if address.port is None else f"{address.target}:{address.port}"
        self.door = SerialDoor(SourceAddress(address.text, "serial", target, None, rest), clock=clock, opener=_opener(address))


def radio_place(address: SourceAddress, clock: Callable[[], float]) -> RadioPlace:
    """The place of a source string. Raises InputError (``input.source``, ``input.mode``)."""
    if address.scheme == "tcp" and "stick" not in address.options:
        raise wrong(f"{address.text!r} needs the kind of stick: add ?stick=im871a")
    return RadioPlace(address, clock)


def _opener(address: SourceAddress) -> Callable[[str, int], Awaitable[Link]]:
    async def serial(device: str, baud: int) -> Link:
        return await open_serial(device, baud)

    async def tcp(device: str, baud: int) -> Link:
        return await open_tcp(address.target, address.port or 0)

    return serial if address.port is None else tcp


class StickPort:
    """The door of a stick while it is open. ``notice`` gets its news."""

    __slots__ = ("_door", "_inbox", "_place", "_task", "name", "notice")

    def __init__(self, place: RadioPlace, notice: Callable[[Notice], None]) -> None:
        self.name = place.name
        self.notice = notice
        self._place = place
        self._door = place.door
        self._inbox: Inbox[Heard] = Inbox()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the line and set the stick up. Raises TransportError."""
        self._task = asyncio.ensure_future(self._door.run(self._emit))
        self._task.add_done_callback(self._ended)
        deadline = asyncio.get_running_loop().time() + _READY
        while self._door.stick is None and not self._task.done():
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.01)
        if self._door.stick is None:
            await self.close()
            if self._task.done() and not self._task.cancelled() and self._task.exception() is not None:
                self._task.result()
            raise TransportError(f"{self.name}: the stick does not answer", code="transport.setup", layer="transport")

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._inbox.fail(error or TransportError(f"{self.name} is gone", code="transport.lost", layer="transport"))

    async def _emit(self, item: Item) -> None:
        if isinstance(item, Reception):
            heard = _heard(item)
            if heard is not None:
                self._inbox.put(heard)
        elif isinstance(item, Notice):
            self.notice(item)

    async def wait(self, seconds: float | None) -> Sequence[Heard]:
        """Telegrams that were heard. Raises TransportError if the stick is gone."""
        return await self._inbox.take(seconds)

    async def send(self, transmit: Transmit, now: float) -> None:
        """Hand a frame to the stick. Raises TransportError if the stick does not take it."""
        place = self._place
        if place.held:
            pause = transmit.not_before - place.lead - now
            if pause > 0:
                await asyncio.sleep(pause)
        elif transmit.not_after is not None and now > transmit.not_after:
            return
        try:
            await asyncio.wait_for(self._door.send(transmit.frame, place.mode), _READY)
        except TimeoutError:
            raise TransportError(
                f"{self.name}: the stick does not take a frame", code="transport.send", layer="transport"
            ) from None

    async def retune(self, baud: int) -> None:
        """Radio has no such rate."""

    async def close(self) -> None:
        """Close the door."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TransportError):
                await self._task


def _heard(item: Reception) -> Heard | None:
    """The frame without CRCs; None where a CRC is wrong."""
    frame = item.frame
    if item.frame_format is not None or item.crc is None:
        try:
            frame = unframe(frame, item.frame_format)[0].octets()
        except DecodeError:
            return None
    return Heard(frame, item.received_at, item.rssi_dbm)
