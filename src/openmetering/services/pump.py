"""Machines in real time: a port brings events and takes frames, the clock of the loop keeps the deadlines.

    port --events--> machine --Transmit--> port
                     machine --anything else--> tell

One coroutine does it all, so a machine is never entered twice. The time that machines see counts seconds since
1970 and never goes back while the program runs; it goes on over a restart, as access numbers want it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from openmetering.errors import TransportError
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.machine import SansIO
from openmetering.protocol.wired.timing import LineRate
from openmetering.transport.links import Link

__all__ = ["Inbox", "LinePort", "LoopClock", "Port", "drive", "keep"]

In = TypeVar("In")
Out = TypeVar("Out")
Came = TypeVar("Came")
Came_co = TypeVar("Came_co", covariant=True)


class LoopClock:
    """Seconds since 1970 at the first look, from then on as the clock of the event loop counts them."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - asyncio.get_running_loop().time()

    def __call__(self) -> float:
        """Now."""
        return asyncio.get_running_loop().time() + self._offset


class Inbox(Generic[Came]):
    """What came in and was not looked at yet; nothing is lost when waiting for it is given up."""

    __slots__ = ("_arrived", "_error", "_items")

    def __init__(self) -> None:
        self._items: deque[Came] = deque()
        self._error: BaseException | None = None
        self._arrived = asyncio.Event()

    def put(self, item: Came) -> None:
        """Something came."""
        self._items.append(item)
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Nothing more comes; who waits gets the error behind what came before."""
        self._error = error
        self._arrived.set()

    async def take(self, seconds: float | None) -> list[Came]:
        """Everything that came, or, after some seconds without anything, nothing. Raises what ``fail`` was given."""
        if not self._items and self._error is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), seconds)
        if not self._items and self._error is not None:
            raise self._error
        self._arrived.clear()
        if self._error is not None:
            self._arrived.set()
        taken = list(self._items)
        self._items.clear()
        return taken


class Port(Protocol[Came_co]):
    """Where events for a machine come from and its frames go to. Every method may raise TransportError."""

    name: str

    async def wait(self, seconds: float | None) -> Sequence[Came_co]:
        """The events that came; after some seconds without any, none."""
        ...

    async def send(self, transmit: Transmit, now: float) -> None:
        """Let a frame leave at its time; one whose time is over is dropped."""
        ...

    async def retune(self, baud: int) -> None:
        """Talk and listen at another rate, in bit/s; what was sent before is not touched."""
        ...

    async def close(self) -> None:
        """Give the door back."""
        ...


class LinePort:
    """A wired line behind a converter."""

    __slots__ = ("_inbox", "_link", "_reader", "name")

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self._link = link
        self._inbox: Inbox[Octets] = Inbox()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while octets := await self._link.read():
                self._inbox.put(Octets(octets))
        except TransportError as error:
            self._inbox.fail(error)
        else:
            self._inbox.fail(TransportError(f"{self.name} is gone", code="transport.lost", layer="transport"))

    async def wait(self, seconds: float | None) -> Sequence[Octets]:
        """Octets that came. Raises TransportError if the line is gone."""
        return await self._inbox.take(seconds)

    async def send(self, transmit: Transmit, now: float) -> None:
        """Wait for the time of a frame and write it."""
        if transmit.not_before > now:
            await asyncio.sleep(transmit.not_before - now)
        await self._link.write(transmit.frame)

    async def retune(self, baud: int) -> None:
        """Set the rate of the serial line; a converter behind TCP has its rate set elsewhere and is left as it is."""
        await self._link.retune(baud)

    async def close(self) -> None:
        """Stop reading and close the link."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self._link.close()


async def drive(
    machine: SansIO[In | Came, Out],
    port: Port[Came],
    event: In,
    tell: Callable[[Out], None],
    *,
    clock: Callable[[], float],
    until: Callable[[], bool] | None = None,
) -> None:
    """Give a machine an event and keep it running until ``until`` holds, or, without it, while it has a deadline.

    ``tell`` gets what the machine puts out, in order, frames and rates excepted: those go to the port.
    Raises TransportError if the port fails, and what the machine raises
    """
    await _carry(machine.receive(event, clock()), port, tell, clock)
    await keep(machine, port, tell, clock=clock, until=until)


async def keep(
    machine: SansIO[Came, Out],
    port: Port[Came],
    tell: Callable[[Out], None],
    *,
    clock: Callable[[], float],
    until: Callable[[], bool] | None = None,
    end: float = math.inf,
) -> None:
    """As ``drive`` without an event; ``end`` is a time at which it is left as it is."""

    def over() -> bool:
        return clock() >= end or (machine.deadline is None if until is None else until())

    while not over():
        times = [when for when in (machine.deadline, end) if when is not None and when < math.inf]
        pause = max(0.0, min(times) - clock()) if times else None
        for came in await port.wait(pause):
            await _carry(machine.receive(came, clock()), port, tell, clock)
        await _carry(machine.timeout(clock()), port, tell, clock)


async def _carry(events: Sequence[Out], port: Port[Came], tell: Callable[[Out], None], clock: Callable[[], float]) -> None:
    for event in events:
        if isinstance(event, Transmit):
            await port.send(event, clock())
        elif isinstance(event, LineRate):
            await port.retune(event.baud)
        else:
            tell(event)
