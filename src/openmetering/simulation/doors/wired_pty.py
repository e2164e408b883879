"""A simulated wired segment for a foreign master, behind a pseudo-terminal or a TCP port.

    program --octets--> RequestGate --whole requests--> segment (virtual time, line pace)
    program <--octets-- characters as they end on the wire

The program's octets go onto the wire at line pace from the moment they are a whole frame, or nothing more has
come for a while: what a program writes in pieces has no gaps on the wire (a converter does the same). The rate is
the one that the program has set (a pseudo-terminal has such a thing), else the rate of the segment.

Neither a pseudo-terminal nor TCP can carry parity errors: disturbed characters come as they read, and a break
(collision) as 00, which is what programs on a serial line get without parity checking.
"""

from __future__ import annotations

import asyncio

from openmetering.protocol.events import Octets
from openmetering.protocol.wired.timing import LineTiming
from openmetering.simulation.doors.outlets import Outlet
from openmetering.simulation.doors.pacer import Pacer
from openmetering.simulation.wired_bus import WiredBus

__all__ = ["RequestGate", "WiredSegmentDoor"]

_QUIET = 0.02  #: real seconds without octets after which an unfinished request goes onto the wire as it is
_AWAKE = 3.0  #: virtual seconds after which slaves that have just got power listen


class RequestGate:
    """Holds back the octets of a master until a frame is whole."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, octets: bytes) -> bytes:
        """Octets as they come; returns those that make whole frames (and what stands before them)."""
        self._held += octets
        at = 0
        while (size := _frame_size(self._held[at:])) and at + size <= len(self._held):
            at += size
        whole, self._held = self._held[:at], self._held[at:]
        return whole

    def flush(self) -> bytes:
        """What is held: nothing more comes."""
        held, self._held = self._held, b""
        return held

    @property
    def holding(self) -> bool:
        """True while octets wait."""
        return bool(self._held)


def _frame_size(octets: bytes) -> int:
    """Octets of the frame that begins here; 0 if that is not known, or no frame begins here."""
    if octets[:1] == b"\x10":
        return 5
    if octets[:1] == b"\x68" and len(octets) >= 4 and octets[1] == octets[2] and octets[3] == 0x68:
        return octets[1] + 6
    return 0


class WiredSegmentDoor:
    """Ties the master's end of a segment to an outlet while ``run`` is under way.

    A pseudo-terminal or converter gives the octets of an answer at line pace; with ON_REQUEST at once.
    """

    def __init__(self, bus: WiredBus, pacer: Pacer, outlet: Outlet) -> None:
        self.bus = bus
        self.pacer = pacer
        self.outlet = outlet
        self.ready = asyncio.Event()
        self._baud = bus.master.baud
        self._gate = RequestGate()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve until cancelled. ``ready`` is set when ``outlet.name`` can be told. Raises TransportError."""
        await self.outlet.open(self._receive, self._changed)
        lump, self.bus.master.lump = self.bus.master.lump, 0.0
        silence = self.bus.master.listen(self._heard)
        self.pacer.do(lambda: self.pacer.allow(self.bus.kernel.now + _AWAKE))
        self.ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            silence()
            self.bus.master.lump = lump
            self._stop_timer()
            self.ready.clear()
            await self.outlet.close()

    # -- from the program to the wire -----------------------------------------------------------

    def _receive(self, octets: bytes) -> None:
        self._stop_timer()
        whole = self._gate.feed(octets)
        if whole:
            self._send(whole)
        if self._gate.holding:
            self._timer = asyncio.get_running_loop().call_later(_QUIET, self._quiet)

    def _quiet(self) -> None:
        self._timer = None
        self._send(self._gate.flush())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, octets: bytes) -> None:
        baud = self.outlet.baud or self._baud
        self.pacer.do(lambda: self._onto_the_wire(octets, baud))

    def _onto_the_wire(self, octets: bytes, baud: int) -> None:
        master = self.bus.master
        master.baud = baud
        timing = LineTiming(master.baud, latency=0.0)
        self.pacer.allow(master.send(octets) + timing.answer + timing.idle)

    def _changed(self, present: bool) -> None:
        if not present:
            self._stop_timer()
            self._gate.flush()

    # -- from the wire to the program -----------------------------------------------------------

    def _heard(self, event: Octets, now: float) -> None:
        self.outlet.write(event.octets)
        self.pacer.allow(max(now, self.bus.quiet_at) + LineTiming(self.bus.master.baud).idle)
